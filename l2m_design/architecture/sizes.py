"""Sizes that the fixed state of an architecture follows, and its law with another one."""

from l2m_design.architecture.architecture import Architecture
from l2m_design.architecture.mixers import Attention, GatedDeltaNet, Mamba1, Mamba2, MixerSpec
from l2m_design.laws import StateLaw


def _size(layer: MixerSpec) -> tuple[str, int] | None:
    """The field that a fixed state follows, and its value."""
    match layer:
        case Mamba1() | Mamba2():
            return "d_state", layer.d_state
        case GatedDeltaNet():
            return "head_dim", layer.head_dim
        case Attention(window=int(window)):
            return "window", window
    return None


def sizes(architecture: Architecture) -> dict[str, int]:
    """Each such field once, with its largest value in the architecture."""
    found: dict[str, int] = {}
    for name, value in filter(None, map(_size, architecture.layers)):
        found[name] = max(value, found.get(name, 0))
    return found


def resized(architecture: Architecture, name: str, value: int) -> StateLaw:
    """The state law with `value` in each layer whose fixed state follows the field `name`."""
    law = architecture.outside
    for layer in architecture.layers:
        size = _size(layer)
        other = layer.model_copy(update={name: value}) if size and size[0] == name else layer
        law += other.state_law(architecture.width).of_kind(layer.state_kind)
    return law.merged()
