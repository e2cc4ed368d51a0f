"""Capacity by kind: from the runs of a calibration to nats a state element, with an interval, and the files of it.

Of each kind and length three numbers. Where loss departs from full: the smallest state that captured ENOUGH of the
exact amount, and the next smaller one, which did not; the capacity is the exact amount divided by their geometric mean.
Low: the exact amount by the smallest state that was enough, since more elements than that lost nothing. High: the most
that any state held an element, however much it lost. Over lengths the lowest, the geometric mean and the highest.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from l2m_design.calibration.calibrate import CalibrationSettings, Row
from l2m_design.settings import Json, to_json, to_yaml, write_atomically

ENOUGH = 0.95  # of the exact amount: less is a loss
OTHER = "other"  # kinds that were not measured


@dataclass(frozen=True)
class Size:
    """A kind at one length and state size, at its best learning rate (by the mean over seeds).

    elements: held between the halves. captured: nats, a value for each seed. failed: runs without a finite loss, of all
    rates.
    """

    kind: str
    size: str
    elements: int
    exact: float
    rate: float | None
    captured: tuple[float, ...]
    failed: int
    length: int = 0

    @property
    def eta(self) -> float:
        """Nats per element, the mean over seeds; 0 where nothing was captured."""
        return max(0.0, float(np.mean(self.captured))) / self.elements if self.captured else 0.0

    @property
    def share(self) -> float:
        """Captured share of the exact information, the mean over seeds."""
        return float(np.mean(self.captured)) / self.exact if self.captured else 0.0

    @property
    def enough(self) -> bool:
        """Did it capture all that there is, but for what ENOUGH leaves?"""
        return self.share >= ENOUGH


@dataclass(frozen=True)
class Capacity:
    """Nats per element of a kind: see the module. full: whether at every length some state lost nothing, without which
    value and low are of states that lost something. sizes: the smallest of each length that was enough, or the largest;
    seeds: of these, most: of any.
    """

    value: float
    low: float
    high: float
    full: bool
    sizes: tuple[str, ...]
    seeds: int
    most: int


def sizes_of(rows: list[Row]) -> list[Size]:
    """Kinds, lengths and sizes in the order of the rows; each at the learning rate that captured most, over seeds."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.job["kind"], row.job["length"], row.job["size"]), []).append(row)
    return [_size(*key, group) for key, group in groups.items()]


def _size(kind: str, length: int, size: str, rows: list[Row]) -> Size:
    done = [row for row in rows if "failed" not in row.found]
    by_rate: dict[float, list[float]] = {}
    for row in done:
        nats = min(row.found["captured_nats"], row.found["exact_nats"])  # more than there is were early mistakes
        by_rate.setdefault(row.job["rate"], []).append(nats)
    most = max(map(len, by_rate.values()), default=0)  # a rate at which a seed failed is no choice, where one is whole
    means = {rate: float(np.mean(values)) for rate, values in by_rate.items() if len(values) == most}
    best = max(means, key=means.__getitem__, default=None)
    return Size(
        kind=kind,
        length=length,
        size=size,
        elements=rows[0].found["elements"],
        exact=done[0].found["exact_nats"] if done else 0.0,
        rate=best,
        captured=tuple(by_rate[best]) if best is not None else (),
        failed=len(rows) - len(done),
    )


def capacities(sizes: list[Size], wanted: tuple[int, ...] = ()) -> dict[str, Capacity]:
    """Capacity by kind over the wanted lengths, all that there are by default.

    A kind that captured nothing at some length, or was tried at one size alone, has none.
    """
    found = {}
    for kind in dict.fromkeys(size.kind for size in sizes):
        lengths = wanted or tuple(dict.fromkeys(size.length for size in sizes))
        each = [_at([size for size in sizes if (size.kind, size.length) == (kind, length)]) for length in lengths]
        if all(one is not None for one in each):
            found[kind] = _over([one for one in each if one is not None])
    return found


def _at(sizes: list[Size]) -> Capacity | None:
    """Of one kind at one length."""
    own = sorted((size for size in sizes if size.eta > 0), key=lambda size: size.elements)
    if len(own) < 2:
        return None
    enough = next((size for size in own if size.enough), None)
    high = max(max(size.captured) / size.elements for size in own)
    seeds = max(len(size.captured) for size in own)
    if enough is None:
        most = max(own, key=lambda size: size.share)
        return Capacity(most.eta, most.eta, high, False, (f"{most.length}: {most.size}",), len(most.captured), seeds)
    smaller = [size.elements for size in own if size.elements < enough.elements]
    departs = math.sqrt(enough.elements * max(smaller, default=enough.elements))
    named = (f"{enough.length}: {enough.size}",)
    least = enough.exact / enough.elements
    return Capacity(enough.exact / departs, least, high, True, named, len(enough.captured), seeds)


def _over(each: list[Capacity]) -> Capacity:
    """Over lengths, or kinds."""
    return Capacity(
        value=math.exp(sum(math.log(one.value) for one in each) / len(each)),
        low=min(one.low for one in each),
        high=max(max(one.high, one.value) for one in each),
        full=all(one.full for one in each),
        sizes=tuple(size for one in each for size in one.sizes),
        seeds=min(one.seeds for one in each),
        most=max(one.most for one in each),
    )


class KindRow(TypedDict):
    """A Capacity, as JSON."""

    value: float
    low: float
    high: float
    full: bool
    sizes: list[str]
    seeds: int
    most: int


class Table(TypedDict):
    """The answer of a calibration, as JSON: capacities as a study takes them, with all details."""

    nats_per_element: float | None
    nats_by_kind: dict[str, float]
    nats_range: dict[str, list[float]]
    kinds: dict[str, KindRow]
    captured_nothing: list[str]
    exact_nats: dict[str, float]
    settings: Json
    command: str
    rows: list[Json]


def summary_of(settings: CalibrationSettings, rows: list[Row], command: str) -> Table:
    """JSON-ready: what a study takes (three digits), the same with all details, every run."""
    found = capacities(sizes_of(rows), settings.lengths)
    both = found | ({OTHER: _over(list(found.values()))} if found else {})
    return {
        "nats_per_element": _short(both[OTHER].value) if found else None,
        "nats_by_kind": {kind: _short(one.value) for kind, one in found.items()},
        "nats_range": {kind: [_short(one.low), _short(one.high)] for kind, one in both.items()},
        "kinds": {kind: _row(one) for kind, one in found.items()},
        "captured_nothing": [kind for kind in settings.kinds if kind not in found],
        "exact_nats": {str(length): settings.exact(length) for length in settings.lengths},
        "settings": settings.plain(),
        "command": command,
        "rows": [row.plain() for row in rows],
    }


def _row(one: Capacity) -> KindRow:
    return {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "full": one.full,
        "sizes": list(one.sizes),
        "seeds": one.seeds,
        "most": one.most,
    }


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def write_eta(summary: Table, path: Path) -> list[str]:
    """Write the YAML that studies (under `condition`) and `l2m check --eta` take, and beside it the table as JSON."""
    table = path.with_suffix(".json")
    taken: Json = {key: summary[key] for key in ("nats_per_element", "nats_by_kind", "nats_range") if summary[key]}
    write_atomically(path, "\n".join([*provenance(summary), to_yaml(taken)]))
    write_atomically(table, to_json(summary))
    return [str(path), str(table)]


def provenance(summary: Table) -> list[str]:
    """Comment lines: what capacity is, how it was measured, and a line for each kind."""
    settings = CalibrationSettings.parse(summary["settings"], "calibrate")
    counts = {count for one in summary["kinds"].values() for count in (one["seeds"], one["most"])}
    seeds = " to ".join(map(str, sorted(counts)))
    exact = ", ".join(f"{nats:.4g} nats at {length} tokens" for length, nats in summary["exact_nats"].items())
    return [
        "# Capacity per state element by mixer type, nats: paste under `condition` in a study, or use l2m check --eta.",
        f"# {summary['command']}",
        f"# One-layer models on the Santa Fe source, beta {settings.beta:g}, {settings.bits}-bit facts, {exact};",
        f"# {settings.steps} steps of {settings.batch_tokens:,} tokens, best of the learning rates "
        f"{list(settings.rates)}, "
        f"{seeds} seed(s). Not known for other data, more layers or longer training.",
        *(f"# {line}" for line in sentences(summary)),
    ]


def sentences(summary: Table) -> list[str]:
    """A line for each kind."""
    sentences = []
    for kind, one in summary["kinds"].items():
        lost = "" if one["full"] else "; at some length every state captured less than 95%"
        sentences.append(
            f"{kind}: {one['value']:.3g} [{one['low']:.3g}, {one['high']:.3g}] (tokens: size: "
            f"{', '.join(one['sizes'])}; seeds: {one['seeds']}){lost}"
        )
    why = "left out: captured nothing at some length, or fewer than two sizes were trained"
    sentences += [f"{kind}: {why}" for kind in summary["captured_nothing"]]
    return sentences
