"""Log-linear Mamba-2 (arXiv 2506.04761): a Fenwick tree of states, each level weighted by the reading token.

After t tokens the state of the block of bit j of t is kept in slot j (see fenwick).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.architecture.mixers import LogLinear
from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.fenwick import blocks, level, tree
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import linear
from l2m_design.model.precision import wide
from l2m_design.model.ssd import decay_matrix, decay_to_end, per_group, reads, scores, sums
from l2m_design.model.ssm import Selected, StateSpaceMixer

ONE = math.log(math.e - 1)  # softplus of it is 1: every level starts with the weight that Mamba-2 gives it
INSIDE = CHUNK.bit_length() - 1  # the slot of a whole chunk; those before it hold parts of one


class Fenwick(NamedTuple):
    """levels: [b slots h p n], empty slots zero; conv: [b d_conv-1 channels]; seen: tokens read so far."""

    levels: Tensor
    conv: Tensor
    seen: int


class Span(NamedTuple):
    """Tokens from the position `first` on: j whole chunks, or some of one.

    x: [b j c h p] values times dt; summed: [b j c h] log decays added up in each chunk; B, C: [b j c g n]; weights:
    [b j c h levels].
    """

    first: int
    x: Tensor
    summed: Tensor
    B: Tensor
    C: Tensor
    weights: Tensor


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

    @torch.compiler.disable  # its loop over levels would be unrolled
    def mix(self, x: Tensor, new: Selected, state: Fenwick) -> tuple[Tensor, Tensor]:
        """See StateSpaceMixer: the rest of a chunk that has begun, all whole chunks at once, and what is left."""
        weights = F.softplus(F.linear(wide(x), wide(self.level_weights.weight), wide(self.level_bias)))
        weights = weights.unflatten(-1, (self.heads, -1))
        all_of = (wide(new.values) * new.dt[..., None], new.dt * self.rates, wide(new.B), wide(new.C), weights)
        first, levels, y = state.seen, wide(state.levels), []
        begun = min(x.shape[1], -first % CHUNK)
        whole = (x.shape[1] - begun) // CHUNK * CHUNK
        sizes = [size for size in (begun, whole, x.shape[1] - begun - whole) if size]
        for size, *part in zip(sizes, *(z.split(sizes, dim=1) for z in all_of), strict=True):
            values, log_decay, *rest = (z.unflatten(1, (-1, min(size, CHUNK))) for z in part)
            span = Span(first, values, log_decay.cumsum(2), *rest)
            here, levels = self._whole(span, levels) if size % CHUNK == 0 else self._part(span, levels)
            y.append(here.flatten(1, 2))
            first += size
        return torch.cat(y, dim=1), levels.to(state.levels.dtype)

    def _inside(self, span: Span) -> Tensor:
        """[b j c h p] what tokens read in their own chunk."""
        at = torch.arange(span.first, span.first + span.x.shape[2], device=span.x.device)
        decays = decay_matrix(span.summed)
        chosen = self._level(at[:, None], at[None, :]).expand_as(decays)
        mix = per_group(span.weights.transpose(2, 3).gather(-1, chosen) * decays, span.B.shape[3])
        mix = (mix * scores(span.C, span.B)[:, :, :, None]).flatten(2, 3)
        return (mix @ span.x.transpose(2, 3)).transpose(2, 3)

    def _level(self, reader: Tensor, read: Tensor) -> Tensor:
        return level(reader, read).clamp(max=self.spec.levels - 1)

    def _whole(self, span: Span, levels: Tensor) -> tuple[Tensor, Tensor]:
        """y [b j c h p] of whole chunks and the levels after them: at each level chunks read the block of chunks before
        their own, then blocks become the halves of those of the next level.
        """
        y, chunk, count = self._inside(span).contiguous(), span.first // CHUNK, span.x.shape[1]
        states, total = sums(span.x * decay_to_end(span.summed), span.B), span.summed[:, :, -1]
        since = F.pad(torch.zeros_like(total), (0, 0, 0, 1))  # [b j+1 h] log decay from what is read to a chunk's start
        after, weights, plan = {}, span.weights.unbind(-1), tree(chunk, count)
        flat = torch.tensor([at for each in plan for part in each for at in part], device=y.device)
        there = flat.split([len(part) for each in plan for part in each])
        for bit, (each, readers, read) in enumerate(zip(plan, there[::2], there[1::2], strict=True)):
            slot, ends = bit + INSIDE, count in each.readers
            if chunk >> bit & 1:  # the half before the first is held
                states, total = torch.cat([levels[:, slot, None], states], dim=1), F.pad(total, (0, 0, 1, 0))
            if len(each.readers) > ends:
                weight, inner = weights[min(slot + 1, self.spec.levels - 1)], slice(len(each.readers) - ends)
                given = span, weight, states, since, readers[inner], read[inner]
                more = checkpoint(_read, *given, use_reentrant=False, preserve_rng_state=False)
                y.index_add_(1, readers[inner], more)
            if ends:
                after[slot] = states[:, each.blocks[-1]] * since[:, -1, :, None, None].exp()
            since = since.index_add(1, readers, total.index_select(1, read))
            pairs = slice(states.shape[1] // 2 * 2)
            (old, new), (left, right) = (z[:, pairs].unflatten(1, (-1, 2)).unbind(2) for z in (states, total))
            states, total = torch.addcmul(new, old, right[..., None, None].exp()), left + right
        return y, _slots(after, len(plan) + INSIDE)

    def _part(self, span: Span, levels: Tensor) -> tuple[Tensor, Tensor]:
        """y [b 1 c h p] of some tokens of a chunk, and the levels after them."""
        y, c = self._inside(span), span.x.shape[2]
        before, behind = blocks(span.first), blocks(span.first + c)
        there = torch.tensor(before + behind, device=y.device)
        at = torch.arange(span.first, span.first + c, device=y.device)
        if before:
            chosen = self._level(at[:, None], there[None, : len(before), 0])  # [c blocks]
            mix = span.weights[:, 0].gather(-1, chosen[:, None].expand(len(y), -1, self.heads, -1))  # [b c h blocks]
            mix = (mix * span.summed[:, 0, ..., None].exp()).permute(0, 3, 1, 2)[..., None]
            held = levels.index_select(1, there[: len(before), 1])
            y = y + (reads(held, span.C) * mix).sum(1, keepdim=True)
        return y, self._after(span, levels, there[len(before) :], at)

    def _after(self, span: Span, levels: Tensor, there: Tensor, at: Tensor) -> Tensor:
        """[b slots h p n] after some tokens of a chunk: every block is a sum of old blocks and of new tokens inside it;
        `there` are the blocks [blocks 2] on the device.
        """
        end = span.first + len(at)
        old, fresh = blocks(span.first), blocks(end)
        first, slot_there = there[:, :1], there[:, 1:]
        inside = (at >= first) & (at < first + (1 << slot_there))  # [blocks c]
        new = span.x * decay_to_end(span.summed) * inside[:, :, None, None]
        states = list(sums(new, span.B).unbind(1))
        total = span.summed[:, 0, -1, :, None, None].exp()
        for index, (start, slot) in enumerate(fresh):
            for old_start, old_slot in old:
                if start <= old_start < start + (1 << slot):
                    states[index] = states[index] + levels[:, old_slot] * total
        return _slots(dict(zip((slot for _, slot in fresh), states, strict=True)), end.bit_length())


def _read(span: Span, weight: Tensor, states: Tensor, since: Tensor, readers: Tensor, read: Tensor) -> Tensor:
    """[b r c h p] what chunks read of blocks' states at one level, whose weight is [b j c h]."""
    mix = (span.summed + since[:, :-1, None]).exp() * weight
    y = reads(states.index_select(1, read), span.C.index_select(1, readers))
    return y * mix.index_select(1, readers)[..., None]


def _slots(states: dict[int, Tensor], count: int) -> Tensor:
    """[b slots h p n] states [b h p n] in their slots, zeros in the others."""
    nothing = torch.zeros_like(next(iter(states.values())))
    return torch.stack([states.get(slot, nothing) for slot in range(count)], dim=1)
