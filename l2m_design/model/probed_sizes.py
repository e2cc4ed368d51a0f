"""The sizes at which kernels are probed: those that the layers of an architecture call them with, or usual ones."""

from dataclasses import asdict, dataclass

from l2m_design.architecture import Architecture
from l2m_design.architecture.mixers import (
    Attention,
    CheckpointedSSM,
    GatedDeltaNet,
    LatentAttention,
    Mamba1,
    Mamba2,
    SparseAttention,
)
from l2m_design.settings import Json

FEW = 4  # heads of a group at most: more compute alike


@dataclass(frozen=True, order=True)
class Size:
    """Of one call. groups: key heads, or groups of heads that share B and C. share: heads of each. key, value: channels
    of keys and values, of a state and a head. window, sinks, chunk: tokens, where the call has them.
    """

    key: int
    value: int
    share: int = 1
    groups: int = 2
    window: int = 0
    sinks: int = 0
    chunk: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of a case: several windows or chunks."""
        return max(256, 2 * self.window, 8 * self.chunk)

    def __str__(self) -> str:
        """Such as "key 64, value 64, share 4, groups 2, window 512"."""
        return ", ".join(f"{name} {number}" for name, number in asdict(self).items() if number)


USUAL = {  # heads of 64 in scans: some kernels fail at whole blocks alone
    "causal": (Size(32, 32, 2),),
    "window": (Size(32, 32, 2, window=64), Size(32, 32, 2, window=50, sinks=3)),
    "held": (Size(32, 32, 2, chunk=32),),
    "state_space": (Size(64, 64, 4, groups=1), Size(64, 64, 2)),
    "selective": (Size(8, 16, groups=1),),
    "delta": (Size(64, 64),),
}
Sizes = tuple[tuple[str, tuple[Size, ...]], ...]  # by field of Kernels; hashable


def sizes_of(architecture: Architecture) -> Sizes:
    """By field of Kernels that its layers call, their sizes."""
    found: dict[str, set[Size]] = {}
    for spec in architecture.layers:
        for field, size in _calls(spec, architecture.width):
            found.setdefault(field, set()).add(size)
    return tuple((field, tuple(sorted(sizes))) for field, sizes in sorted(found.items()))


def _calls(spec: object, width: int) -> list[tuple[str, Size]]:
    """What a layer may call; a tree of states (log_linear) is computed in torch alone."""
    if isinstance(spec, Attention | SparseAttention):
        share = min(FEW, spec.heads // spec.kv_heads)
        size = Size(spec.head_dim, spec.head_dim, share)
        calls = [("causal", size)]  # whole sequences, and those no longer than a window
        if isinstance(spec, SparseAttention):
            learned = spec.choose == "learned"  # one channel more
            size = Size(spec.head_dim + learned, spec.head_dim + learned, share)
            return [("causal", size), ("held", Size(size.key, size.value, share, chunk=spec.chunk))]
        if spec.window is not None:
            calls.append(("window", Size(size.key, size.value, share, window=spec.window, sinks=spec.sinks)))
        return calls
    if isinstance(spec, LatentAttention):
        return [("causal", Size(spec.head_dim + spec.rope_dim, spec.head_dim))]
    if isinstance(spec, Mamba2 | CheckpointedSSM):
        share = min(FEW, spec.heads(width) // spec.groups)
        return [("state_space", Size(spec.d_state, spec.head_dim, share, groups=spec.groups))]
    if isinstance(spec, Mamba1):
        return [("selective", Size(spec.d_state, 16, groups=1))]
    if isinstance(spec, GatedDeltaNet):
        return [("delta", Size(spec.head_dim, spec.value_dim))]
    return []


def plain(sizes: tuple[Size, ...]) -> list[Json]:
    """JSON-ready."""
    return [dict(asdict(size)) for size in sizes]
