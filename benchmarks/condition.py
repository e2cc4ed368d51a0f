"""Does the L²M condition predict who falls behind full attention, and where? Read from the Santa Fe studies.

Run: python benchmarks/condition.py [reports/santa-fe-07 ...]. A design has fallen behind at a length where its late
excess over Bayes is more than LIMIT bits a fact above full attention, by 95% confidence over seeds (paired). Beside it
stands what the condition says: does its state grow fast enough, and how far does it reach at so many nats an element.
"falls" is how much further behind it is at the longest length than at the shortest, with its standard error over seeds:
what a rate of growth can predict, whatever the size of the state.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.laws import PowerLaw
from l2m_design.terms import Terms, read_capacity

HERE = Path(__file__).parent.parent
LIMIT = 0.02
MEASURED = HERE / "reports" / "calibration" / "eta.yaml"


def behind(own: list[float], reference: list[float]) -> tuple[float, float]:
    """Mean difference in bits a fact over paired seeds, and its lower 95% bound (one-sided)."""
    difference = np.array(own) - np.array(reference)
    if len(difference) < 2:
        return float(difference.mean()), -np.inf
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(difference.mean() - stats.t.ppf(0.95, len(difference) - 1) * error)


def falls(own: dict[str, list[float]], full: dict[str, list[float]], ends: tuple[str, str]) -> tuple[float, float]:
    """By how many bits a fact a design falls further behind from the shortest to the longest length, and the error."""
    count = min(len(losses[at]) for losses in (own, full) for at in ends)
    gaps = [np.array(own[at][:count]) - np.array(full[at][:count]) for at in ends]
    change = gaps[1] - gaps[0]
    return float(change.mean()), float(change.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan


def verdicts(row: dict[str, Any], law: PowerLaw, terms: Terms) -> list[str]:
    """Growth, and reach in tokens at the capacity of the study and at the measured one."""
    state = Architecture.parse(row["architecture"], row["name"]).state
    said = []
    for own in (terms, Terms.parse(terms.plain() | read_capacity(MEASURED), str(MEASURED))):
        reach = Demand(law, own).judge(state).reach_effective
        said.append("no end" if reach is None else f"{reach:,}")
    return [f"t^{row['growth_exponent']:.2f} " + ("met" if row["meets_growth"] else "not met"), *said]


def excesses(row: dict[str, Any]) -> dict[str, list[float]]:
    """Late excess in bits a fact, by length and seed."""
    return {at: found["late_excess_bits_by_seed"] for at, found in row["lengths"].items()}


def table(summary: dict[str, Any]) -> None:
    """One line a design: by length the difference to full attention, where it falls behind, and the verdicts."""
    law = PowerLaw.of_plain(summary["demand"]["law"])
    terms = Terms.parse({**summary["demand"]["terms"], "shortest": 16}, "terms")
    rows = {row["name"]: row for row in summary["finalists"]}
    full = rows["all attention"]["lengths"]
    lengths = sorted(full, key=int)
    print(f"\n{summary['study']}: bits a fact above full attention, paired by seed; full attention's own excess:")
    print("  " + ", ".join(f"{at}: {full[at]['late_excess_bits']:.4f} ({full[at]['seeds']} seeds)" for at in lengths))
    head = "".join(f"{at:>9}" for at in lengths)
    print(
        f"{'design':<24} {'layers':<7}{head} {'falls':>18} {'behind at':>10} {'growth':>15} {'reach, given':>12} "
        f"{'measured':>12}"
    )
    ends = lengths[0], lengths[-1]
    found = []
    for name, row in rows.items():
        by_length = {}
        for at in lengths:
            if at in row["lengths"]:
                own = row["lengths"][at]["late_excess_bits_by_seed"]
                count = min(len(own), len(full[at]["late_excess_bits_by_seed"]))
                by_length[at] = behind(own[:count], full[at]["late_excess_bits_by_seed"][:count])
        late = next((at for at in lengths if at in by_length and by_length[at][1] > LIMIT), "-")
        shown = "".join(f"{by_length[at][0]:>+9.4f}" if at in by_length else f"{'':>9}" for at in lengths)
        growth, assumed, measured = verdicts(row, law, terms)
        further, error = np.nan, np.nan
        if set(ends) <= set(by_length):
            further, error = falls(excesses(row), excesses(rows["all attention"]), ends)
            found.append((row["growth_exponent"], row["state_bytes"], by_length[lengths[-1]][0], further))
        fall = f"{further:+.4f} ({error:.4f})"
        print(f"{name:<24} {row['picture']:<7}{shown} {fall:>18} {late:>10} {growth:>15} {assumed:>12} {measured:>12}")
    gamma, size, excess, further_ = (np.array(column) for column in zip(*found, strict=True))
    for word, by in (("growth exponent", gamma), ("state bytes at the target", size)):
        for what, lost in ((f"what is lost at {lengths[-1]} tokens", excess), ("how much further it falls", further_)):
            print(f"rank correlation of {word} with {what}: {stats.spearmanr(by, lost).statistic:+.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", type=Path)
    for study in parser.parse_args().studies or sorted((HERE / "reports").glob("santa-fe-0*")):
        table(json.loads((study / "study.json").read_text()))


if __name__ == "__main__":
    main()
