"""Acceptance of this project on a GPU: one command, a table and JSON; exit 1 on any wrong value.

Run: python benchmarks/accept_gpu.py [--out FILE] [--budget 270] [--only machine values ...]; without a GPU
`--rehearse` walks through every section at tiny sizes. Sections, in order of worth: machine, values, kernels, recipe,
decoding, layers, compiled (the recipe again), path (a search: killed and resumed, two workers, out of memory).
Each row is printed and written at once; a failed check is a row with its reason, and the others go on. Where a CUDA
error leaves the process without its device, the remaining sections run in a fresh one.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._dynamo
from accept_path import path_checks
from accept_speed import Sizes, compiled_checks, decoding_checks, layer_checks, recipe_checks

from l2m_design.errors import first_line
from l2m_design.model.acceptance import Check, Found, Row, Skipped, alive, built, judge, machine_checks
from l2m_design.model.acceptance_values import mixer_types, value_checks
from l2m_design.model.backends import keep_freed_memory
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.probes import Probe, probed

SMALL = Sizes(
    width=64, values=256, counted=128, layer=256, decoding=64, decoding_layers=1, parameters=300_000, batch_tokens=256,
    length=64, warm=1, steps=2, vocabularies=(256, 512), types=mixer_types(heads=4, head_dim=16, chunk=16, window=32),
)  # fmt: skip
REAL = Sizes(types=mixer_types())
LIMIT = {"values": 60, "recipe": 40, "layers": 40, "decoding": 40, "compiled": 120, "path": 240}


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
        return {**counts, "seconds": time.time() - self.began, "rows": self.rows}


@dataclass(frozen=True)
class Bench:
    """Where sections take what they need from. Kernels are probed at the first need, once."""

    device: torch.device
    sizes: Sizes
    small: bool

    def probed(self) -> tuple[Kernels, tuple[Probe, ...]]:
        try:
            return probed(self.device)
        except Exception as error:  # the kernels' own section says it; torch computes in the others
            print(f"kernels: {first_line(error)}; torch computes", file=sys.stderr)
            return TORCH, ()


def kernel_checks(bench: Bench) -> list[Check]:
    """A row for each candidate: used, or why not."""

    def row(probe: Probe) -> Found:
        measured = [] if probe.error is None else [f"{probe.error:.1e} from torch, first call {probe.seconds:.1f} s"]
        measured += [] if probe.speed is None else [f"{probe.speed:.2f} times torch's speed"]
        if not probe.found or probe.reason.startswith(("not needed", "not tried")):
            raise Skipped(probe.reason)
        slow = "of torch's speed" in probe.reason  # agrees: no wrong value
        return Found("; ".join([*measured, probe.reason or "used"]), probe.plain(), probe.used or slow)

    probes = probed(bench.device)[1]
    return [(f"{p.field} {p.dtype} {p.name}", lambda p=p: row(p)) for p in probes]


SECTIONS: dict[str, Callable[[Bench], list[Check]]] = {
    "machine": lambda b: machine_checks(b.device, b.small),
    "values": lambda b: value_checks(b.sizes.types, b.sizes.width, b.sizes.values, b.device, b.probed()[0]),
    "kernels": kernel_checks,
    "recipe": lambda b: recipe_checks(b.sizes, b.device),
    "decoding": lambda b: decoding_checks(b.sizes, b.device, b.probed()[0]),
    "layers": lambda b: layer_checks(b.sizes, b.device, b.probed()[0]),
    "compiled": lambda b: compiled_checks(b.sizes, b.device),
    "path": lambda b: path_checks(b.device),
}


def accept(bench: Bench, journal: Journal, sections: list[str], budget: float) -> list[str]:
    """Run sections within `budget` seconds; those left where the device was lost."""
    for number, section in enumerate(sections):
        try:
            checks = SECTIONS[section](bench)
        except Exception as error:
            journal.add(Row(section, "the section", False, f"{type(error).__name__}: {first_line(error)}"))
            continue
        for check in checks:
            left = budget - (time.time() - journal.began)
            if left <= 1:
                journal.add(Row(section, check[0], None, f"skipped: the budget of {budget:.0f} s is spent"))
                continue
            row = judge(section, check, min(left, LIMIT.get(section, 60)))
            journal.add(row)
            if row.works is False and not alive(bench.device):
                journal.add(Row(section, "the rest of the section", None, "skipped: the device was lost"))
                return sections[number + 1 :]
    return []


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--budget", type=float, default=270, help="seconds after which no check begins")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)  # of an earlier process: go on with its rows
    given = parser.parse_args(words)
    if not given.rehearse and not torch.cuda.is_available():
        parser.error(f"no CUDA device works here ({built()}); --rehearse needs none")
    keep_freed_memory()
    torch._dynamo.config.recompile_limit = 64  # one process meets more shapes here than any that trains
    bench = Bench(torch.device("cpu" if given.rehearse else "cuda"), SMALL if given.rehearse else REAL, given.rehearse)
    earlier = json.loads(given.out.read_text())["rows"] if given.began and given.out else []
    journal = Journal(given.out, earlier, given.began or time.time())
    left = accept(bench, journal, [name for name in SECTIONS if name in given.only], given.budget)
    if left:
        out = given.out or Path(f"accept_gpu_{os.getpid()}.json")
        journal.out = out
        journal.add(Row("machine", "a fresh process", None, f"goes on with {', '.join(left)}"))
        again = [sys.executable, __file__, "--only", *left, "--budget", str(given.budget), "--out", str(out)]
        os.execv(sys.executable, [*again, "--began", str(journal.began)])
    found = journal.summary()
    print(f"{found['passed']} right, {found['failed']} failed, {found['skipped']} skipped in {found['seconds']:.0f} s")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
