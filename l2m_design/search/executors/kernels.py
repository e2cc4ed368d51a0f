"""Kernels that a study asks of every place where its jobs run."""

from l2m_design.errors import BadInput
from l2m_design.model.backends import pick_device
from l2m_design.model.probes import probed


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
