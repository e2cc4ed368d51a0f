"""Acceptance of this project on a GPU: one command, a table and JSON; exit 1 on any wrong value.

Run: python benchmarks/accept_gpu.py [--out FILE] [--budget 570] [--only machine values ...]; without a GPU
`--rehearse` walks through every section at tiny sizes, those of THERE on the device of elsewhere.py, so that forms that
only run off the CPU are run too. Sections, in order of worth: machine, values (torch's forms),
kernels (each candidate in a process of its own; values again with those that passed), recipe, path (a search: killed
and resumed, out of memory, two workers), flex (FlexAttention, likewise), decoding, compiled (the recipe again), layers.
What follows `kernels` and `flex` uses what passed there. A section may take the seconds of LEAST and SHARE of what no
section needs so, the last one all that is left. Each row is printed and written at once; a failed check is a row with
its reason, and the others go on. The last line names what there was no time for. Where a CUDA error leaves the process
without its device, the remaining sections run in a fresh one.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from accept_path import path_checks
from accept_speed import Sizes, compiled_checks, decoding_checks, layer_checks, recipe_checks

from l2m_design.architecture import Architecture
from l2m_design.errors import first_line
from l2m_design.model.acceptance import Check, Found, Late, Row, Skipped, alive, built, judge, machine_checks
from l2m_design.model.acceptance_values import mixer_types, value_checks
from l2m_design.model.backends import keep_freed_memory
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.kernels import Kernels
from l2m_design.model.probed_sizes import sizes_of
from l2m_design.model.probes import LIMIT as PROBING
from l2m_design.model.probes import SIDE_BY_SIDE, Apart, chosen, side_by_side
from l2m_design.model.probing import Probe

SMALL = Sizes(
    width=64, values=256, counted=128, layer=256, decoding=64, decoding_layers=1, parameters=300_000, batch_tokens=256,
    length=64, warm=1, steps=2, vocabularies=(512,), types=mixer_types(heads=4, head_dim=16, chunk=16, window=32),
)  # fmt: skip
REAL = Sizes(types=mixer_types())
LIMIT = {"kernels": PROBING, "flex": PROBING, "recipe": 40, "layers": 40, "decoding": 40, "compiled": 120, "path": 240}
BUDGET = 570  # seconds: below ten minutes
LEAST = {  # seconds that a section may always take: about what it took on an H200, or was counted to take
    "machine": 10, "values": 60, "kernels": 90, "recipe": 45, "path": 130, "flex": 100, "decoding": 20, "compiled": 60,
    "layers": 45,
}  # fmt: skip
THERE = ("values", "recipe")  # not `decoding`: the device has no inference mode; nor `layers`, which values cover
SHARE = 0.4  # of the time beyond that a section may take while others wait


@dataclass
class Journal:
    """Rows so far: printed at once, and written at once where a file is named."""

    out: Path | None
    rows: list[dict[str, object]]
    began: float

    def add(self, row: Row) -> None:
        self.rows.append(row.plain())
        marks = {True: "ok", False: "FAILED", None: "-"}
        print(f"{row.section:9} {row.what:28} {marks[row.works]:6} {row.seconds:6.1f} s  {row.found}", flush=True)
        if self.out:
            part = self.out.with_suffix(".part")
            part.write_text(json.dumps(self.summary(), indent=1, default=str))
            part.replace(self.out)

    def summary(self) -> dict[str, object]:
        works = [row["works"] for row in self.rows]
        counts = {"passed": works.count(True), "failed": works.count(False), "skipped": works.count(None)}
        seconds = time.time() - self.began
        return {**counts, "seconds": seconds, "not_verified": self.not_verified(), "rows": self.rows}

    def not_verified(self) -> list[str]:
        """Sections that there was no time for, with their checks in brackets where others of them were made."""
        late: dict[str, list[str]] = {}
        for row in self.rows:
            if row["late"]:
                late.setdefault(str(row["section"]), []).append(str(row["what"]))
        made = {row["section"] for row in self.rows if not row["late"]}
        return [f"{name} ({'; '.join(what)})" if name in made else name for name, what in late.items()]


@dataclass
class Bench:
    """Where sections take what they need from. until: when the section that runs must have ended, by the clock."""

    device: torch.device
    sizes: Sizes
    small: bool
    journal: Journal
    until: float = math.inf

    def passed(self) -> tuple[Kernels, tuple[Probe, ...]]:
        """The kernels that passed so far, in this process or in an earlier one that lost its device."""
        rows = (row for row in self.journal.rows if row["section"] in ("kernels", "flex") and row["works"])
        numbers: list[Any] = [row["numbers"] for row in rows]
        return chosen(Probe(**found) for found in numbers if found.get("used"))

    def served(self, candidates: list[Candidate]) -> dict[str, dict[str, Any]]:
        """A layer of every mixer type that candidates which passed compute."""
        used = {(probe.name, probe.field) for probe in self.passed()[1]}
        fields = {candidate.field for candidate in candidates if (candidate.name, candidate.field) in used}
        return {n: layer for n, layer in self.sizes.types.items() if fields & calls(layer, self.sizes.width)}


def calls(layer: dict[str, Any], width: int) -> set[str]:
    """The fields of Kernels that a layer may call."""
    drawn = Architecture.parse({"vocabulary": 256, "width": width, "layers": [layer]}, "acceptance")
    return {field for field, _ in sizes_of(drawn)}


def kernel_checks(bench: Bench, flex: bool) -> Iterator[Check]:
    """A row for each candidate, FlexAttention or the others: used, or why not; then values with those that passed."""
    candidates = sorted(
        (c for c in CANDIDATES if (c.name == "FlexAttention") is flex),
        key=lambda c: (find_spec(c.library) is None, c.library != "fla"),
    )
    for at in range(0, len(candidates), SIDE_BY_SIDE):
        limit = max(0.0, min(PROBING, bench.until - time.time()))
        with side_by_side(candidates[at : at + SIDE_BY_SIDE], bench.device, limit) as begun:
            for apart in begun:
                c = apart.candidate
                yield f"{c.field} {str(c.dtype).removeprefix('torch.')} {c.name}", partial(probe_found, apart)
    sizes, types = bench.sizes, bench.served(candidates)
    if types:
        yield from value_checks(types, sizes.width, sizes.values, bench.device, bench.passed()[0])


def probe_found(apart: Apart) -> Found:
    """What a candidate did: skipped where nothing was compared, and right where it agrees with torch but is slower."""
    probe = apart.wait()
    measured = [] if probe.error is None else [f"{probe.error:.1e} from torch, first call {probe.seconds:.1f} s"]
    measured += [] if probe.speed is None else [f"{probe.speed:.2f} times torch's speed"]
    words = "; ".join([*measured, probe.reason or "used"])
    if probe.error is None and not probe.wrong:
        raise (Late if probe.stopped else Skipped)(words)
    return Found(words, probe.plain(), not probe.wrong)


SECTIONS: dict[str, Callable[[Bench], Iterable[Check]]] = {
    "machine": lambda b: machine_checks(b.device, b.small),
    "values": lambda b: value_checks(b.sizes.types, b.sizes.width, b.sizes.values, b.device),
    "kernels": lambda b: kernel_checks(b, flex=False),
    "recipe": lambda b: recipe_checks(b.sizes, b.device, b.passed()[1]),
    "path": lambda b: path_checks(b.device),
    "flex": lambda b: kernel_checks(b, flex=True),
    "decoding": lambda b: decoding_checks(b.sizes, b.device, b.passed()[0]),
    "compiled": lambda b: compiled_checks(b.sizes, b.device, b.passed()[1]),
    "layers": lambda b: layer_checks(b.sizes, b.device, b.passed()[0]),
}


def checks_of(bench: Bench, section: str) -> Iterable[Check]:
    """A section's checks, in a rehearsal of THERE on a device that is not there."""
    if not bench.small or section not in THERE:
        return SECTIONS[section](bench)
    from elsewhere import elsewhere  # needs a newer torch than the package does

    checks = SECTIONS[section](replace(bench, device=elsewhere()))
    return [(what, partial(found_there, make)) for what, make in checks]


def found_there(make: Callable[[], Found]) -> Found:
    """What a check finds, which is wrong where tensors of two devices met."""
    from elsewhere import counted

    with counted() as counts:
        found = make()
    mixed = f"; tensors of two devices: {', '.join(counts.mixes)}" if counts.mixes else ""
    return Found(found.words + mixed, found.numbers, found.works and not mixed)


def granted(sections: list[str], left: float) -> float:
    """Of the seconds left, those that the first of these sections may take."""
    first, *later = sections
    spare = left - sum(LEAST[name] for name in sections)
    if spare < 0:
        return min(left, LEAST[first])
    return LEAST[first] + (SHARE if later else 1.0) * spare


def accept(bench: Bench, sections: list[str], budget: float) -> list[str]:
    """Run sections within `budget` seconds; those left where the device was lost."""
    journal, end = bench.journal, bench.journal.began + budget
    for number, section in enumerate(sections):
        allowed = granted(sections[number:], end - time.time())
        bench.until = time.time() + allowed
        try:
            for check in checks_of(bench, section):
                left = bench.until - time.time()
                if left <= 1:
                    spent = (
                        f"the budget of {budget:.0f} s" if end - time.time() <= 1 else f"its share, {allowed:.0f} s,"
                    )
                    journal.add(Row(section, check[0], None, f"skipped: {spent} is spent", late=True))
                    continue
                row = judge(section, check, left if bench.small else min(left, LIMIT.get(section, 60)))
                journal.add(row)
                if row.works is False and not alive(bench.device):
                    journal.add(Row(section, "the rest of the section", None, "skipped: the device was lost"))
                    return sections[number + 1 :]
        except Exception as error:
            journal.add(Row(section, "the section", False, f"{type(error).__name__}: {first_line(error)}"))
    return []


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds after which no check begins")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, computed on the CPU")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)  # of an earlier process: go on with its rows
    given = parser.parse_args(words)
    if not given.rehearse and not torch.cuda.is_available():
        parser.error(f"no CUDA device works here ({built()}); --rehearse needs none")
    keep_freed_memory()
    torch._dynamo.config.recompile_limit = 64  # one process meets more shapes here than any that trains
    earlier = json.loads(given.out.read_text())["rows"] if given.began and given.out else []
    journal = Journal(given.out, earlier, given.began or time.time())
    device = torch.device("cpu" if given.rehearse else "cuda")
    bench = Bench(device, SMALL if given.rehearse else REAL, given.rehearse, journal)
    left = accept(bench, [name for name in SECTIONS if name in given.only], given.budget)
    if left:
        out = given.out or Path(f"accept_gpu_{os.getpid()}.json")
        journal.out = out
        journal.add(Row("machine", "a fresh process", None, f"goes on with {', '.join(left)}"))
        again = [sys.executable, __file__, "--only", *left, "--budget", str(given.budget), "--out", str(out)]
        os.execv(sys.executable, [*again, "--began", str(journal.began)])
    found = journal.summary()
    print(f"{found['passed']} right, {found['failed']} failed, {found['skipped']} skipped in {found['seconds']:.0f} s")
    print(f"not verified: {', '.join(journal.not_verified()) or 'nothing was left out for want of time'}")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
