"""Log-linear Mamba-2 (arXiv 2506.04761): a Fenwick tree of states, each level weighted by the reading token.

Positions count from 0. The token at p reads the token at s < p at level 1 + (the highest bit in which p and s
differ), and itself at level 0. After t tokens the past is one block for every bit of t: bit j stands for
2^j tokens whose state is kept in slot j.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import LogLinear
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import linear
from l2m_design.model.precision import wide
from l2m_design.model.segments import Segment, segments
from l2m_design.model.ssm import Selected, StateSpaceMixer

ONE = math.log(math.e - 1)  # softplus of it is 1: every level starts with the weight that Mamba-2 gives it


class Fenwick(NamedTuple):
    """levels: [b slots h p n], empty slots zero; conv: [b d_conv-1 channels]; seen: tokens read so far."""

    levels: Tensor
    conv: Tensor
    seen: int


class LogLinearMixer(StateSpaceMixer):
    """Mamba-2 over a tree of states."""

    spec: LogLinear

    def __init__(self, spec: LogLinear, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.level_weights = linear(width, self.heads * spec.levels, 0.1)
        self.level_bias = nn.Parameter(torch.full((self.heads * spec.levels,), ONE))

    def empty(self, batch: int) -> Fenwick:
        """No levels."""
        return Fenwick(self.zeros(batch, 0), self.conv.empty(batch), 0)

    def forward(self, x: Tensor, state: Fenwick) -> tuple[Tensor, Fenwick]:
        """See Mixer."""
        y, after = super().forward(x, state)
        return y, after._replace(seen=state.seen + x.shape[1])

    @torch.compiler.disable  # its loop over chunks would be unrolled
    def mix(self, x: Tensor, new: Selected, state: Fenwick) -> tuple[Tensor, Tensor]:
        """See StateSpaceMixer."""
        weights = F.softplus(F.linear(wide(x), wide(self.level_weights.weight), wide(self.level_bias)))
        weights = weights.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [b h t levels]
        levels, read = wide(state.levels), []
        pieces = list(segments(new.values, new.dt, self.rates, new.B, new.C, state.seen))
        for piece, (old, fresh) in zip(pieces, _sent(pieces, levels.device), strict=True):
            here = weights[:, :, piece.first - state.seen : piece.last - state.seen]
            y, levels = self._segment(piece, here, levels, old, fresh)
            read.append(y)
        return torch.cat(read, dim=1), levels.to(state.levels.dtype)

    def _segment(
        self, piece: Segment, weights: Tensor, levels: Tensor, old: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """y [b c h p] of a segment with level weights [b h c levels], and the levels after it; the blocks before it and
        after it [blocks 2].
        """
        most = self.spec.levels - 1
        at = torch.arange(piece.first, piece.last, device=levels.device)
        level = _level(at[:, None], at[None, :]).clamp(max=most)
        mix = weights.gather(-1, level.expand(*weights.shape[:2], -1, -1))
        y = piece.inside(mix * piece.decays)
        if len(old):
            level = _level(at[:, None], old[None, :, 0]).clamp(max=most)
            mix = weights.gather(-1, level.expand(*weights.shape[:2], -1, -1))  # [b h c old]
            mix = (mix * piece.summed.exp()[..., None]).permute(0, 3, 2, 1)[..., None]
            held = levels.index_select(1, old[:, 1])
            y = y + (piece.reads(held) * mix).sum(1)
        return y, self._after(piece, levels, fresh, at)

    def _after(self, piece: Segment, levels: Tensor, there: Tensor, at: Tensor) -> Tensor:
        """[b slots h p n] after the segment: every block is a sum of old blocks and of new tokens inside it; `there`
        are the blocks [blocks 2] on the device.
        """
        old, fresh = blocks(piece.first), blocks(piece.last)
        slots = piece.last.bit_length()
        to_end = (piece.summed[..., -1:] - piece.summed).exp()
        first, slot_there = there[:, :1], there[:, 1:]
        inside = ((at >= first) & (at < first + (1 << slot_there))).to(to_end.dtype)  # [blocks c]
        sums = list(piece.sums(to_end[:, None] * inside[:, None]).unbind(1))
        for index, (start, slot) in enumerate(fresh):
            for old_start, old_slot in old:
                if start <= old_start < start + (1 << slot):
                    sums[index] = sums[index] + (levels[:, old_slot, None] * piece.total)[:, 0]
        after = dict(zip((slot for _, slot in fresh), sums, strict=True))
        nothing = torch.zeros_like(sums[0])
        return torch.stack([after.get(slot, nothing) for slot in range(slots)], dim=1)


def blocks(t: int) -> list[tuple[int, int]]:
    """The blocks of the first t tokens as (first position, bit), the longest first."""
    result, start = [], 0
    for bit in reversed(range(t.bit_length())):
        if t >> bit & 1:
            result.append((start, bit))
            start += 1 << bit
    return result


def _sent(pieces: list[Segment], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The blocks [blocks 2] before and after each segment on the device, sent to it at once."""
    each = [part for piece in pieces for part in (blocks(piece.first), blocks(piece.last))]
    there = torch.tensor([block for part in each for block in part], device=device).split([len(part) for part in each])
    return list(zip(there[::2], there[1::2], strict=True))


def _level(reader: Tensor, read: Tensor) -> Tensor:
    """The level at which positions read positions: 0 for itself, else 1 + the highest differing bit."""
    differ = (reader ^ read).double()
    return torch.frexp(differ).exponent.long()
