"""Running trials: their progress, how often it is sent, and the load of this machine."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from l2m_design.search.tracking.content import Content

EVERY = 5.0  # seconds between two sends
LONGER = 50.0  # times what a send took, at least, before the next: a slow store takes a small share of all time
QUICK = 1.0  # seconds: a store that takes longer is not asked at the start of a trial
SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


@dataclass
class Live:
    """A running trial: the content of its run at the start, and the points that were not sent yet."""

    content: Content
    points: dict[tuple[str, int], float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


class Pace:
    """How often data are sent to a store while trials run. quick: does the store respond fast?"""

    def __init__(self) -> None:
        self.quick, self._next = True, 0.0

    @property
    def due(self) -> bool:
        """Is it time for the next send?"""
        return time.monotonic() >= self._next

    def timed(self, work: Callable[[], None]) -> None:
        """Send, and measure how long it takes."""
        began = time.monotonic()
        work()
        took = time.monotonic() - began
        self.quick, self._next = took < QUICK, time.monotonic() + max(EVERY, LONGER * took)


class System:
    """The load of this machine, by MLflow's own monitors; nothing if $MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is false or
    the library of a monitor is not installed.
    """

    def __init__(self) -> None:
        self._monitors: list[Any] | None = None

    def sample(self) -> dict[str, float]:
        """Metrics by the names that MLflow gives them, such as system/cpu_utilization_percentage."""
        if os.environ.get(SWITCH, "true").lower() not in ("true", "1"):
            return {}
        if self._monitors is None:
            self._monitors = _monitors()
        found: dict[str, float] = {}
        for monitor in self._monitors:
            with contextlib.suppress(Exception):  # a driver that went away costs a figure
                monitor.collect_metrics()
                found |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
        return found


def _monitors() -> list[Any]:
    found: list[Any] = []
    with contextlib.suppress(Exception):  # psutil is not there
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        found += [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(Exception):  # nvidia-ml-py or a GPU is not there
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        found.append(GPUMonitor())
    return found
