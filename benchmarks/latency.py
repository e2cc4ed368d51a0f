"""What a user waits for at a prompt, beside its limit: help, an architecture drawn, a budget solved, a page.

Run: python benchmarks/latency.py. Medians of seconds of one core; exit code 1 where one is above its limit, which is
meant for an idle core of a current machine.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from l2m_design.architecture.plans import WHOLE, Kept, Shape
from l2m_design.condition import Demand
from l2m_design.laws import Dtypes, PowerLaw
from l2m_design.report.page import write_page
from l2m_design.search.adoption.knapsack import Knapsack, Rules, units_of
from l2m_design.search.results.reading import load_summary
from l2m_design.search.space.space import Space
from l2m_design.terms import Terms

REPOSITORY = Path(__file__).parents[1]
HELP = (
    "import sys, time; sys.argv = ['l2m', '--help']\n"
    "from l2m_design.cli import main\n"
    "try:\n    main()\nexcept SystemExit:\n    pass\n"
    "print(time.process_time())"
)


def helped() -> float:
    """The help, of a process of its own."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    return float(done.stdout.splitlines()[-1])


def timed(step: Callable[[], object]) -> Callable[[], float]:
    """Seconds of this process that a step takes."""

    def taken() -> float:
        began = time.process_time()
        step()
        return time.process_time() - began

    return taken


def drawn(name: str, vocabulary: int) -> Callable[[], object]:
    """An architecture drawn from a shipped space."""
    space, rng = Space.load(REPOSITORY / f"search_spaces/{name}.yaml").resolved(0.7), random.Random(0)
    return lambda: space.draw(lambda question, options: rng.choice(options), vocabulary)


def solved() -> Callable[[], object]:
    """A budget over 48 layers of 8 kv heads and seven caches, held to growth and level."""
    options = [Kept("window", 65 * n) for n in range(1, 6)] + [Kept("sparse", sinks=4, chunk=8, exponent=0.75, keep=1)]
    demand = Demand(PowerLaw(1.0, 0.7), Terms.parse({"length": 512, "shortest": 64, "nats_per_element": 0.05}, "terms"))
    shape = Shape((WHOLE,) * 48, 32, 8, 128, 0)
    units = units_of(shape, options, "head")
    costs = -np.sort(-np.random.default_rng(0).exponential(size=(len(units), 7)), axis=1)[:, ::-1].copy()

    def solve() -> None:
        sack = Knapsack(shape, units, Rules(512, Dtypes("bfloat16"), demand, ("growth", "level")))
        assert sack.solve(costs, 0.2 * sack.own_bytes)

    return solve


def written(folder: str) -> Callable[[], object]:
    """The page of a shipped study with as many trials as make 300."""
    shipped = load_summary(REPOSITORY / "reports/text-hybrids")
    own = [r for r in shipped.records if r.design is None]
    more = [replace(own[n % len(own)], number=100 + n, fingerprint=str(n)) for n in range(300 - len(shipped.records))]
    return lambda: write_page(replace(shipped, records=[*shipped.records, *more]), Path(folder) / "index.html")


def main() -> None:
    """Print a line each."""
    with tempfile.TemporaryDirectory() as folder:
        steps = [
            ("l2m --help", 0.5, 5, helped),
            ("an architecture of hybrid", 0.002, 50, timed(drawn("hybrid", 256))),
            ("an architecture of gpu_50m", 0.010, 50, timed(drawn("gpu_50m", 32000))),
            ("a budget solved, 48 layers x 8 heads", 2.0, 3, timed(solved())),
            ("a page of 300 trials", 10.0, 3, timed(written(folder))),
        ]
        late = 0
        for name, limit, runs, step in steps:
            seconds = statistics.median(step() for _ in range(runs))
            late += seconds > limit
            print(f"{name:40} {seconds:8.4f} s, limit {limit:g} s{'  ABOVE' if seconds > limit else ''}")
    sys.exit(late > 0)


if __name__ == "__main__":
    main()
