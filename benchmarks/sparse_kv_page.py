"""The page of the study of sparse caches in SmolLM2, from what benchmarks/sparse_kv.py found.

Run: python benchmarks/sparse_kv_page.py. Reads the results of configs/sparse-kv.yaml, reports/sparse-kv/adopted.jsonl,
and those of sparse_trained.py, trained.jsonl, and writes adopted.txt and index.html beside them; the words are in
sparse_kv_page.html.
"""

import html
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from sheet import write
from sparse_kv_settings import CONFIG, Arm, SparseStudy
from sparse_kv_texts import CORPORA
from sparse_trained import RESULTS as TRAINED
from sparse_trained import pooled
from surprise import kept_rows

from l2m_design.estimates import Estimate
from l2m_design.report.figures.style import GREY, INK, LINES, STYLE, as_svg, figure
from l2m_design.training.result import REPLICATES, paired_difference

STUDY = SparseStudy.load_study(CONFIG)
RESULTS = Path(STUDY.results).resolve()
PLAN = list(dict.fromkeys([*STUDY.plan("final"), *STUDY.plan("first")]))
MAIN = Arm("window", STUDY.growing_to, STUDY.length)  # the budget that the figure is about
Losses = dict[Arm, dict[tuple[str, str], dict[str, Any]]]
ALL = "all"
CELL = 25  # letters of a corpus' column
GOAL = 0.5  # of the window's loss
ENOUGH = 0.05  # nats that a window must lose before a choice among tokens can be judged


def losses() -> Losses:
    """By arm and (corpus, document), what is found."""
    found: Losses = {}
    for row in kept_rows(RESULTS):
        arm = Arm(*(row[name] for name in Arm._fields))
        found.setdefault(arm, {})[row["corpus"], row["document"]] = row
    return found


def whole(found: Losses, length: int) -> dict[tuple[str, str], dict[str, Any]]:
    """What the full cache finds on windows of this length."""
    rows = (rows for arm, rows in found.items() if (arm.cache, arm.length, arm.task) == ("full", length, "late"))
    return next(rows, {})


def excess(found: Losses, arm: Arm, corpus: str, part: str = "") -> dict[str, float]:
    """By document of a corpus, or of all, late loss above the full cache's, nats a token."""
    full = whole(found, arm.length)
    return {
        document: row["late"] - full[name, document]["late"]
        for (name, document), row in found.get(arm, {}).items()
        if corpus in (name, ALL) and (name, document) in full and part in ("", row["part"])
    }


def ratio(ours: dict[str, float], theirs: dict[str, float]) -> Estimate:
    """Mean of ours over mean of theirs, with the interval of resampled documents."""
    pairs = np.array([(ours[name], theirs[name]) for name in ours if name in theirs])
    draws = np.random.default_rng(0).choice(pairs, size=(REPLICATES, len(pairs))).mean(axis=1)
    return Estimate.of_draws(pairs[:, 0].mean() / pairs[:, 1].mean(), draws[:, 0] / draws[:, 1], 0.95)


def above(lost: dict[str, float]) -> str:
    """Mean loss above the full cache's with its interval, which one text does not tell."""
    estimate = paired_difference(list(lost.values()), [0.0] * len(lost))
    return f"{estimate.value:.3f}" + (f" [{estimate.low:.3f}, {estimate.high:.3f}]" if len(lost) > 1 else "")


def gains(found: Losses) -> list[str]:
    """What a window loses to the full cache, by corpus and part: where it is little, no choice can be judged."""
    lines = ["late loss of the full cache, nats a token, and what a window of the same slots loses to it"]
    for length in sorted({arm.length for arm in found}, reverse=True):
        for corpus in CORPORA:
            for part in ("first", "final"):
                lost = excess(found, MAIN._replace(length=length), corpus, part)
                full = whole(found, length)
                late = [row["late"] for (name, _), row in full.items() if name == corpus and row["part"] == part]
                if lost:
                    verdict = "" if np.mean(list(lost.values())) >= ENOUGH else "  too little to judge"
                    lines.append(
                        f"{length:5} {corpus:7}{part:6} {len(lost)} texts  full {np.mean(late):.3f}"
                        f"  window {above(lost)}{verdict}"
                    )
    return lines


def arms(found: Losses, part: str) -> list[str]:
    """Late loss above the full cache's, and its ratio to the window's at the same budget; of all texts, of arms that
    read texts of more than one part.
    """
    name = {"": "all texts", "first": "first texts", "final": "final texts"}[part]
    lines = [
        f"{name}: late loss above the full cache's, nats a token; ratio to the window's on the same texts, with 95%",
        " " * 27 + "texts  " + "  ".join(f"{corpus:{CELL}}" for corpus in (*CORPORA, ALL)).rstrip(),
    ]
    for arm in (arm for arm in PLAN if arm.task == "late" and arm.cache != "full"):
        ours = excess(found, arm, ALL, part)
        parts = {row["part"] for row in found.get(arm, {}).values()}
        if not ours or (part == "" and len(parts) < 2):
            continue
        cells = [f"{cell(found, arm, corpus, part):{CELL}}" for corpus in (*CORPORA, ALL)]
        lines.append(f"{arm.length:5} {arm.budget:7}{arm.cache:14}{len(ours):4}  " + "  ".join(cells).rstrip())
    return lines[2:] and lines


def cell(found: Losses, arm: Arm, corpus: str, part: str) -> str:
    """What an arm loses on a corpus, and its ratio to the window's loss; of the window, its interval."""
    ours, theirs = (excess(found, z, corpus, part) for z in (arm, arm._replace(cache="window")))
    if arm.cache == "window" or not theirs.keys() & ours.keys():
        return above(ours) if ours else ""
    share = ratio(ours, theirs)
    interval = f" [{share.low:.2f}, {share.high:.2f}]" * (len(ours) > 1)
    return f"{np.mean(list(ours.values())):.3f}  {share.value:.2f}{interval}"


def recall(found: Losses) -> list[str]:
    """Share of the digits right and nats a digit, of the needle and the keys."""
    lines = ["recall: digits right, and nats a digit; chance is 10% and 2.3 nats"]
    for arm in PLAN:
        rows = list(found.get(arm, {}).values())
        if arm.task == "recall" and rows:
            cells = [
                f"{what} {np.mean([row[f'{what} right'] for row in rows]):4.0%} "
                f"{np.mean([row[f'{what} nats'] for row in rows]):5.2f} nats"
                for what in ("needle", "keys")
            ]
            lines.append(f"{arm.length:5} {arm.budget:6}{arm.cache:12} {len(rows)} texts  " + "   ".join(cells))
    return lines[1:] and lines


def ratios_svg(found: Losses) -> str:
    """Late loss above the full cache's over the window's on the same texts, at one budget, by text and of all texts."""
    caches = [
        arm.cache
        for arm in PLAN
        if arm == MAIN._replace(cache=arm.cache) and arm in found and arm.cache not in ("full", "window")
    ]
    window = {corpus: excess(found, MAIN, corpus) for corpus in (*CORPORA, ALL)}
    pooled = {cache: ratio(excess(found, MAIN._replace(cache=cache), ALL), window[ALL]).value for cache in caches}
    rows = sorted(caches, key=lambda cache: -pooled[cache])
    with matplotlib.rc_context(STYLE):
        sheet, axes = figure(height=0.34 * len(rows) + 1.4)
        for index, corpus in enumerate(CORPORA):
            points = [
                (lost / window[corpus][name], row + 0.18 * (index - 1))
                for row, cache in enumerate(rows)
                for name, lost in excess(found, MAIN._replace(cache=cache), corpus).items()
            ]
            axes.plot(*zip(*points, strict=True), "o", color=LINES[index], ms=4.5, label=f"{corpus}, a text each")
        axes.plot([pooled[cache] for cache in rows], range(len(rows)), "|", color=INK, ms=15, mew=2, label="all texts")
        axes.axvline(1, color=GREY, lw=1)
        axes.axvline(GOAL, color=GREY, lw=1, ls="--")
        axes.set_xscale("log", base=2)
        axes.set_xticks(
            [2.0**power for power in range(-6, 4)], [*(f"1/{2**power}" for power in range(6, 0, -1)), *"1248"]
        )
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(-0.5, len(rows) - 0.4)
        axes.set_xlabel("late loss above the full cache's, over that of a window of as many slots")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1 + 0.8 / len(rows)), ncols=4, fontsize=8)
        return as_svg(sheet)


def recall_svg(found: Losses) -> str:
    """Share of the digits right by the share of tokens that are cached, of needle and keys."""
    shares = {"all": 1.0, "1/2": 1 / 2, "1/4": 1 / 4, "1/8": 1 / 8, "1/16": 1 / 16}
    with matplotlib.rc_context(STYLE):
        sheet, axes = figure(height=2.8)
        for colour, cache in zip(LINES, ("use/model", "window"), strict=False):
            for what, line in (("needle", "-"), ("keys", "--")):
                points = [
                    (shares[arm.budget], np.mean([row[f"{what} right"] for row in rows.values()]))
                    for arm, rows in found.items()
                    if (arm.cache, arm.task) == (cache, "recall")
                ]
                axes.plot(*zip(*sorted(points), strict=True), f"o{line}", color=colour, ms=4, label=f"{cache}, {what}")
        axes.axhline(0.1, color=GREY, lw=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(shares.values()), list(shares))
        axes.set_yticks([0.0, 0.5, 1.0], ["0%", "50%", "100%"])
        axes.set_xlabel(f"share of {STUDY.length:,} tokens that is cached; the line is chance")
        axes.set_ylabel("digits right")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        return as_svg(sheet)


def main() -> None:
    found = losses()
    parts_judged = sorted({row["part"] for rows in found.values() for row in rows.values()})
    shown_parts = ["", *parts_judged] if len(parts_judged) > 1 else parts_judged
    blocks = [gains(found), *(arms(found, part) for part in shown_parts), recall(found)]
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    print(text)
    RESULTS.with_suffix(".txt").write_text(text + "\n")
    trained = "\n".join(pooled([json.loads(line) for line in TRAINED.read_text().splitlines()]))
    parts = {"ratios": ratios_svg(found), "recall": recall_svg(found)}
    parts |= {"trained": f"<pre>{html.escape(trained)}</pre>", "tables": f"<pre>{html.escape(text)}</pre>"}
    write(Path(__file__).with_suffix(".html"), parts, RESULTS.with_name("index.html"))


if __name__ == "__main__":
    main()
