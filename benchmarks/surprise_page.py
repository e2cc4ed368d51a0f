"""The page of the study of sparse caches, from what benchmarks/surprise.py and sparse.py found.

Run: python benchmarks/surprise_page.py. Reads and writes reports/surprise-kv/; the words are in surprise_page.html.
"""

import html
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
from sheet import table, write
from surprise import jobs, kept_rows

from l2m_design.report.figures.style import LINES, STYLE, as_svg, figure

REPORT = Path(__file__).parents[1] / "reports" / "surprise-kv"
Row = dict[str, Any]


def rows() -> list[Row]:
    """What is found of the jobs of the plan."""
    plan = jobs()
    return [row for row in kept_rows(REPORT / "trained.jsonl") if row["job"] in plan]


def grouped(found: list[Row], *fields: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows that differ by seed alone."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in found:
        groups[tuple(row["job"][field] for field in fields)].append(row["found"])
    return groups


def excess(found: list[Row], field: str = "late_excess") -> str:
    """Mean over seeds, and each."""
    values = [row[field] for row in found]
    return f"{statistics.mean(values):.4f} <small>({' '.join(f'{z:.4f}' for z in values)})</small>"


def choices(found: list[Row], source: str) -> str:
    """Late excess of every choice at 1.5 V slots."""
    here = [row for row in found if row["job"]["source"] == source and row["job"]["layers"] == "S"]
    here = [row for row in here if row["job"]["tokens"] == 512 and row["job"]["slots"] in (None, 1.5)]
    groups = grouped(here, "choose", "steps")
    best = statistics.mean(row["late_excess"] for row in groups["oracle", 400])
    lines = []
    for (choose, steps), ones in sorted(groups.items(), key=lambda z: statistics.mean(r["late_excess"] for r in z[1])):
        name = choose if steps == 400 else f"{choose}, {steps} steps"
        gap = statistics.mean(row["late_excess"] for row in ones) - best
        known, new = excess(ones, "late_excess_known"), excess(ones, "late_excess_new")
        lines.append(
            [name, excess(ones), f"{gap:+.4f}", known.split(" <")[0], new.split(" <")[0], f"{ones[0]['state']:,}"]
        )
    head = [
        "choice",
        "late excess, bits a fact (seeds)",
        "to the oracle",
        "known facts",
        "new facts",
        "state, elements",
    ]
    return table(head, lines)


def slots_svg(found: list[Row]) -> str:
    """Excess over slots / V on one axis."""
    with matplotlib.rc_context(STYLE):
        sheet, axes = figure(height=4.2)
        series = [("value", "beta=0.5,keys=256"), ("value", "beta=0.7,keys=256"), ("value", "beta=0.8,keys=256")]
        series += [("oracle", "beta=0.7,keys=256"), ("value", "beta=0.7,keys=256,noise=0.5")]
        for index, (choose, source) in enumerate(series):
            plain = [r for r in found if r["job"]["source"] == source and r["job"]["gamma"] is None]
            plain = [r for r in plain if r["job"]["layers"] == "S" and r["job"]["choose"] == choose]
            points = grouped(plain, "slots")
            x = sorted(key[0] for key in points)
            mean = [statistics.mean(row["late_excess"] for row in points[z,]) for z in x]
            name = f"{choose}, {source.removesuffix(',keys=256').replace(',keys=256', '')}"
            axes.plot(x, mean, "o-" if choose == "value" else "s--", color=LINES[index], label=name, lw=1.4)
            for z in x:
                values = [row["late_excess"] for row in points[z,]]
                axes.plot([z] * len(values), values, ".", color=LINES[index], ms=4)
        full = [r["found"]["late_excess"] for r in found if r["job"]["name"] == "converged"]
        axes.axhline(statistics.mean(full), color="#6b7680", lw=1, ls=":", label="full attention, 1,200 steps")
        axes.axvline(1, color="#6b7680", lw=1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("old tokens kept / facts that the context shows, V(n)")
        axes.set_ylabel("late excess, bits a fact")
        axes.legend()
        return as_svg(sheet)


def length_svg(found: list[Row]) -> str:
    """Excess by context for budgets that grow slower than, and as fast as, the source."""
    with matplotlib.rc_context(STYLE):
        sheet, axes = figure(height=3.8)
        names = {
            ("full", None): "full attention",
            ("value", 0.2): "value, t^0.2",
            ("value", 0.7): "value, t^0.7 = beta",
        }
        here = [row for row in found if row["job"]["name"] == "length"]
        for index, (key, name) in enumerate(names.items()):
            points = grouped([r for r in here if (r["job"]["choose"], r["job"]["gamma"]) == key], "tokens")
            x = sorted(z[0] for z in points)
            axes.plot(
                x,
                [statistics.mean(r["late_excess"] for r in points[z,]) for z in x],
                "o-",
                color=LINES[index],
                label=name,
            )
            for z in x:
                axes.plot([z] * len(points[z,]), [r["late_excess"] for r in points[z,]], ".", color=LINES[index])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("context, tokens")
        axes.set_ylabel("late excess, bits a fact")
        axes.legend()
        return as_svg(sheet)


def depths(found: list[Row]) -> str:
    here = [row for row in found if row["job"]["name"] in ("depth", "deeper")]
    groups = grouped(here, "layers", "choose")
    return table(
        ["layers", "choice", "late excess, bits a fact (seeds)", "state, elements"],
        [[layers, choose, excess(ones), f"{ones[0]['state']:,}"] for (layers, choose), ones in groups.items()],
    )


def recurrent(found: list[Row]) -> str:
    groups = grouped([row for row in found if row["job"]["name"] == "recurrent"], "choose")
    return table(
        ["layer", "late excess, bits a fact (seeds)", "state, elements"],
        [[choose, excess(ones), f"{ones[0]['state']:,}"] for (choose,), ones in groups.items()],
    )


def by_slots(found: list[Row]) -> str:
    """Mean late excess of every choice by slots over V, one layer, beta 0.7."""
    here = [row for row in found if row["job"]["source"] == "beta=0.7,keys=256" and row["job"]["layers"] == "S"]
    points = grouped([row for row in here if row["job"]["slots"] is not None], "choose", "slots")
    columns = sorted({slots for _, slots in points})
    lines = []
    means = {place: _mean(rows) for place, rows in points.items()}
    best = {choose: min(mean for (other, _), mean in means.items() if other == choose) for choose, _ in means}
    for choose in sorted(best, key=lambda z: best[z]):
        lines.append([choose, *(f"{means[choose, s]:.4f}" if (choose, s) in means else "" for s in columns)])
    return table(["choice", *(f"{slots:g} V" for slots in columns)], lines)


def _mean(found: list[Row]) -> float:
    return statistics.mean([row["late_excess"] for row in found]) if found else float("inf")


def main() -> None:
    found = rows()
    parts = {
        "choices": choices(found, "beta=0.7,keys=256"),
        "noise": choices(found, "beta=0.7,keys=256,noise=0.5"),
        "slots": slots_svg(found),
        "by slots": by_slots(found),
        "length": length_svg(found),
        "depth": depths(found),
        "recurrent": recurrent(found),
        "sparse": html.escape((REPORT / "sparse.txt").read_text().strip()),
    }
    write(Path(__file__).with_suffix(".html"), parts, REPORT / "index.html")
    print(f"{len(found)} of {len(jobs())} jobs on the page")


if __name__ == "__main__":
    main()
