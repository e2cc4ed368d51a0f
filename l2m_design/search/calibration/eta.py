"""Eta by kind: from the runs of a calibration to nats per element, with what is a bound said, and the files of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from l2m_design.search.calibration.calibrate import CalibrationSettings, Row
from l2m_design.settings import to_json, to_yaml, write_atomically

SATURATED = 0.9  # of the exact information: from here on the source is the limit, not the state
LEVEL = 0.95


@dataclass(frozen=True)
class Size:
    """A kind at one state size, at its best learning rate (by the mean over seeds).

    elements: held at n tokens. captured: nats of I(n;n), a value for each seed. failed: runs without a finite loss, of
    all rates.
    """

    kind: str
    size: str
    elements: int
    exact: float
    rate: float | None
    captured: tuple[float, ...]
    failed: int

    @property
    def eta(self) -> float:
        """Nats per element, the mean over seeds; 0 where nothing was captured."""
        return max(0.0, float(np.mean(self.captured))) / self.elements if self.captured else 0.0

    @property
    def share(self) -> float:
        """Captured share of the exact information, the mean over seeds."""
        return float(np.mean(self.captured)) / self.exact if self.captured else 0.0

    @property
    def saturated(self) -> bool:
        """Was the source the limit, not the state?"""
        return self.share >= SATURATED

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's interval of the mean of eta over seeds; none from one seed."""
        if len(self.captured) < 2:
            return None
        values = np.array(self.captured) / self.elements
        half = float(student.ppf(0.5 + LEVEL / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        return max(0.0, self.eta - half), self.eta + half


@dataclass(frozen=True)
class Eta:
    """Nats per element of a kind, and the size that it was taken at.

    low, high: over seeds, none from one seed. bound: `lower` where the source was the limit, so that an element may
    hold more; `none` where the state was (or training: no run shows that more could not be learned).
    """

    eta: float
    low: float | None
    high: float | None
    level: float
    bound: Literal["none", "lower"]
    size: str
    elements: int
    captured_nats: float
    exact_nats: float
    rate: float
    seeds: int


def sizes_of(rows: list[Row]) -> list[Size]:
    """Kinds and sizes in the order of the rows; at each the learning rate whose mean over seeds captured most."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.job["kind"], row.job["size"]), []).append(row)
    return [_size(kind, size, group) for (kind, size), group in groups.items()]


def _size(kind: str, size: str, rows: list[Row]) -> Size:
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
        size=size,
        elements=rows[0].found["elements"],
        exact=done[0].found["exact_nats"] if done else 0.0,
        rate=best,
        captured=tuple(by_rate[best]) if best is not None else (),
        failed=len(rows) - len(done),
    )


def eta_of(sizes: list[Size]) -> dict[str, Eta]:
    """Eta by kind; a kind that captured nothing at any size has none.

    The largest mean over sizes where the state was the limit. Where none was, or one that captured nearly everything
    shows more, the largest over those is a lower bound.
    """
    found = {}
    for kind in dict.fromkeys(size.kind for size in sizes):
        own = [size for size in sizes if size.kind == kind and size.eta > 0]
        if own:
            found[kind] = _eta(max(own, key=lambda size: size.eta))
    return found


def _eta(size: Size) -> Eta:
    low, high = size.interval or (None, None)
    assert size.rate is not None  # it captured something
    return Eta(
        eta=size.eta,
        low=low,
        high=high,
        level=LEVEL,
        bound="lower" if size.saturated else "none",
        size=size.size,
        elements=size.elements,
        captured_nats=float(np.mean(size.captured)),
        exact_nats=size.exact,
        rate=size.rate,
        seeds=len(size.captured),
    )


def summary_of(settings: CalibrationSettings, rows: list[Row], command: str) -> dict[str, Any]:
    """JSON-ready: eta by kind as a study takes it (four digits), the same with all that is said of it, every run."""
    found = eta_of(sizes_of(rows))
    return {
        "nats_by_kind": {kind: float(f"{eta.eta:.4g}") for kind, eta in found.items()},
        "kinds": {kind: asdict(eta) for kind, eta in found.items()},
        "captured_nothing": [kind for kind in settings.kinds if kind not in found],
        "n": settings.n,
        "exact_nats": settings.source.information(settings.n),
        "settings": settings.plain(),
        "command": command,
        "rows": [row.plain() for row in rows],
    }


def write_eta(summary: dict[str, Any], path: Path) -> list[str]:
    """Write the YAML that studies (under `condition`) and `l2m check --eta` take, and beside it the table as JSON."""
    table = path.with_suffix(".json")
    lines = [*provenance(summary), to_yaml({"nats_by_kind": summary["nats_by_kind"]})]
    write_atomically(path, "\n".join(lines))
    write_atomically(table, to_json(summary))
    return [str(path), str(table)]


def provenance(summary: dict[str, Any]) -> list[str]:
    """Comment lines: what eta is, how it was measured, and a line for each kind."""
    settings = summary["settings"]
    steps = max((row["found"].get("steps", 0) for row in summary["rows"]), default=0)
    return [
        "# Nats per state element by kind of layer, measured: paste under `condition` of a study, or l2m check --eta.",
        f"# {summary['command']}",
        f"# One layer of a small model, Santa Fe beta {settings['beta']:g} with {settings['bits']}-bit facts, "
        f"{summary['n']} + {summary['n']} tokens, exact I(n;n) {summary['exact_nats']:.2f} nats;",
        f"# {steps} steps of {settings['batch_tokens']:,} tokens, best of the rates {settings['rates']}, "
        f"largest over sizes, {settings['seeds']} seed(s). "
        "What other data and longer training would show is not known.",
        *(f"# {line}" for line in sentences(summary)),
    ]


def sentences(summary: dict[str, Any]) -> list[str]:
    """A line for each kind."""
    said = []
    for kind, eta in summary["kinds"].items():
        over = "one seed" if eta["low"] is None else f"{eta['low']:.2g} .. {eta['high']:.2g} over {eta['seeds']} seeds"
        share = eta["captured_nats"] / eta["exact_nats"]
        bound = "; a LOWER bound: the source was the limit" if eta["bound"] == "lower" else ""
        said.append(
            f"{kind}: {eta['eta']:.3g} ({over}) at {eta['size']}, {eta['elements']:,} elements, "
            f"{eta['captured_nats']:.2f} nats ({share:.0%}){bound}"
        )
    said += [f"{kind}: captured nothing at any size; left out" for kind in summary["captured_nothing"]]
    return said
