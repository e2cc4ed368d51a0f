"""Kernels of a study: which its jobs have everywhere, and which compute its trials from the first one on."""

from collections.abc import Iterable, Mapping
from typing import Any

from l2m_design.errors import BadInput
from l2m_design.model.backends import pick_device
from l2m_design.model.probes import probed


class FixedKernels:
    """What candidates did on each type of GPU as a study first found it: from then on it holds for all its trials.

    results: of runs that ended, as Result.plain wrote them, none where one failed.
    """

    def __init__(self, results: Iterable[Mapping[str, Any] | None] = ()) -> None:
        self._probes: dict[tuple[str, ...], dict[str, Any]] = {}
        for result in results:
            self.learn(result)

    def learn(self, result: Mapping[str, Any] | None) -> None:
        """Take over what is new in a result."""
        for probe in (result or {}).get("probes", ()):
            if probe["found"]:
                what = (probe["on"], *(probe[name] for name in ("name", "field", "dtype", "sizes")))
                self._probes.setdefault(what, probe)

    @property
    def probes(self) -> tuple[dict[str, Any], ...]:
        """For a job."""
        return tuple(self._probes.values())


def check_kernels(wanted: tuple[str, ...], device: str) -> None:
    """Raises BadInput when a kernel that the study asks for does not serve this device."""
    if not wanted:
        return
    _, probes = probed(pick_device(device))
    for name in wanted:
        own = [probe for probe in probes if probe.name == name]
        if not own:
            known = ", ".join(sorted({probe.name for probe in probes})) or "none on this device"
            raise BadInput(f"search.kernels: {name}: unknown kernel; available: {known}")
        if not any(probe.used for probe in own):
            raise BadInput(f"search.kernels: this study needs {name}, which cannot be used here: {own[0].reason}")
