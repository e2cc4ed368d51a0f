"""How two sides are timed beside each other: in turns, in one process, by their medians."""

import statistics
import time
from collections.abc import Callable

Step = Callable[[], object]


def medians(steps: dict[str, Step], runs: int) -> dict[str, float]:
    """Seconds of each side, taken in turns, after one turn that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(runs + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}
