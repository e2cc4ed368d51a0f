"""The page of the study of sparse caches in SmolLM2, from what benchmarks/sparse_kv.py found.

Run: python benchmarks/sparse_kv_page.py. Reads reports/sparse-kv/adopted.jsonl and writes adopted.txt and index.html
beside it; the words are in sparse_kv_page.html.
"""

import html
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from sheet import write
from sparse_kv import LENGTH, RESULTS, SHARES, Arm, plan
from sparse_kv_texts import CORPORA
from surprise import kept_rows

from l2m_design.estimates import Estimate
from l2m_design.report.figures.style import LINES, STYLE, as_svg, figure
from l2m_design.training.result import REPLICATES, paired_difference

Losses = dict[Arm, dict[tuple[str, str], dict[str, Any]]]
CELL = 46  # letters of a corpus' column
ENOUGH = 0.05  # nats that a window must lose before a choice among tokens can be judged


def losses() -> Losses:
    """By arm and (corpus, document), what is found."""
    found: Losses = {}
    for row in kept_rows(RESULTS):
        arm = Arm(*(row[name] for name in Arm._fields))
        found.setdefault(arm, {})[row["corpus"], row["document"]] = row
    return found


def excess(found: Losses, arm: Arm, corpus: str, part: str = "") -> dict[str, float]:
    """By document of a corpus, late loss above the full cache's, nats a token."""
    full = found.get(Arm("full", length=arm.length), {})
    return {
        document: row["late"] - full[name, document]["late"]
        for (name, document), row in found.get(arm, {}).items()
        if name == corpus and (name, document) in full and part in ("", row["part"])
    }


def ratio(ours: dict[str, float], theirs: dict[str, float]) -> Estimate:
    """Mean of ours over mean of theirs, with the interval of resampled documents."""
    pairs = np.array([(ours[name], theirs[name]) for name in ours if name in theirs])
    draws = np.random.default_rng(0).choice(pairs, size=(REPLICATES, len(pairs))).mean(axis=1)
    return Estimate.of_draws(pairs[:, 0].mean() / pairs[:, 1].mean(), draws[:, 0] / draws[:, 1], 0.95)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Value and interval."""
    return f"{estimate.value:+.{digits}f} [{estimate.low:+.{digits}f}, {estimate.high:+.{digits}f}]"


def gains(found: Losses) -> list[str]:
    """What a window loses to the full cache, by corpus and part: where it is little, no choice can be judged."""
    lines = ["late loss of the full cache, nats a token, and what a window of the same slots loses to it"]
    for length in sorted({arm.length for arm in found}, reverse=True):
        for corpus in CORPORA:
            for part in ("first", "final"):
                lost = excess(found, Arm("window", length=length), corpus, part)
                full = found.get(Arm("full", length=length), {})
                late = [row["late"] for (name, _), row in full.items() if name == corpus and row["part"] == part]
                if lost:
                    estimate = paired_difference(list(lost.values()), [0.0] * len(lost))
                    verdict = "" if estimate.value >= ENOUGH else "  too little to judge"
                    lines.append(
                        f"{length:5} {corpus:7}{part:6} {len(lost)} texts  full {np.mean(late):.3f}"
                        f"  window {shown(estimate)}{verdict}"
                    )
    return lines


def arms(found: Losses, part: str) -> list[str]:
    """Late loss above the full cache's, and its ratio to the window's at the same budget."""
    name = {"": "all texts", "first": "first texts", "final": "final texts"}[part]
    lines = [
        f"{name}: late loss above the full cache's, nats a token; ratio to the window's, each with 95%",
        " " * 27 + "  ".join(f"{corpus:{CELL}}" for corpus in CORPORA).rstrip(),
    ]
    for arm in plan():
        if arm.task != "late" or arm.cache == "full" or not any(excess(found, arm, corpus, part) for corpus in CORPORA):
            continue
        cells = []
        for corpus in CORPORA:
            ours = excess(found, arm, corpus, part)
            theirs = excess(found, arm._replace(cache="window"), corpus, part)
            if ours:
                cell = shown(paired_difference(list(ours.values()), [0.0] * len(ours)))
                if arm.cache != "window" and theirs.keys() & ours.keys():
                    cell += f"  {shown(ratio(ours, theirs), 2)}"
                cells.append(f"{cell:{CELL}}")
            else:
                cells.append(" " * CELL)
        lines.append(f"{arm.length:5} {arm.budget:7}{arm.cache:14} " + "  ".join(cells).rstrip())
    return lines[2:] and lines


def recall(found: Losses) -> list[str]:
    """Share of the digits right and nats a digit, of the needle and the keys."""
    lines = ["recall: digits right, and nats a digit; chance is 10% and 2.3 nats"]
    for arm in plan():
        rows = list(found.get(arm, {}).values())
        if arm.task == "recall" and rows:
            cells = [
                f"{what} {np.mean([row[f'{what} right'] for row in rows]):4.0%} "
                f"{np.mean([row[f'{what} nats'] for row in rows]):5.2f} nats"
                for what in ("needle", "keys")
            ]
            lines.append(f"{arm.length:5} {arm.budget:6}{arm.cache:12} {len(rows)} texts  " + "   ".join(cells))
    return lines


def budgets_svg(found: Losses) -> str:
    """Excess over the slots at the end of the window, one panel a corpus."""
    with matplotlib.rc_context(STYLE):
        sheet, first = figure(height=3.4, width=9.5)
        first.remove()
        panels = sheet.subplots(1, len(CORPORA), sharey=True)
        shares = sorted(SHARES, key=lambda name: SHARES[name])
        caches = [arm.cache for arm in plan() if arm.task == "late" and arm.budget == "1/8" and arm.length == LENGTH]
        for axes, corpus in zip(panels, CORPORA, strict=True):
            for index, cache in enumerate(cache for cache in caches if cache != "full"):
                points = [(SHARES[share], excess(found, Arm(cache, share), corpus)) for share in shares]
                there = [(share, np.mean(list(lost.values()))) for share, lost in points if lost]
                if there:
                    style = "o-" if len(there) > 1 else "_"
                    axes.plot(
                        *zip(*there, strict=True),
                        style,
                        color=LINES[index],
                        label=cache,
                        ms=5 if len(there) > 1 else 14,
                    )
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_title(corpus)
            axes.set_xticks([SHARES[share] for share in shares], shares)
            axes.set_xlabel("slots, share of the window")
        panels[0].set_ylabel("late loss above the full cache's, nats")
        panels[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        return as_svg(sheet)


def main() -> None:
    found = losses()
    parts_judged = sorted({row["part"] for rows in found.values() for row in rows.values()})
    shown_parts = ["", *parts_judged] if len(parts_judged) > 1 else parts_judged
    blocks = [gains(found), *(arms(found, part) for part in shown_parts), recall(found)]
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    print(text)
    RESULTS.with_suffix(".txt").write_text(text + "\n")
    parts = {"budgets": budgets_svg(found), "tables": f"<pre>{html.escape(text)}</pre>"}
    write(Path(__file__).with_suffix(".html"), parts, RESULTS.with_name("index.html"))


if __name__ == "__main__":
    main()
