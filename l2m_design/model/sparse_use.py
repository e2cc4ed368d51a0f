"""Sparse attention by use: the slots of each kv head are its own, and heads may compete for those of the layer.

What stays depends on what was received, so a whole sequence is read chunk by chunk inside the layer: local keys, and
slots padded to the widest head. Gradients go through what is read, not through the choice. No L x L mask is made.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.mixers import SparseAttention
from l2m_design.architecture.schedules import RECORD, GlobalBudget
from l2m_design.model.attention import HeadAttention, KeyValues, Lent
from l2m_design.model.blockwise import Block, block_attention
from l2m_design.model.competing import (
    Contest,
    Far,
    Slots,
    ascending,
    best_of,
    compete,
    no_slots,
    ragged_attention,
    starts,
)
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import PLAIN, Pass
from l2m_design.model.rules import RECEIVED
from l2m_design.model.soft import soft_bias, whole_blocks
from l2m_design.model.use import Use


class UseMixer(HeadAttention):
    """Sparse attention with `choose: use`: own and previous chunk whole, older tokens by predicted use."""

    def __init__(self, spec: SparseAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.choose, self.chunk, self.budget = spec.choose, spec.chunk, cast("GlobalBudget", spec.growth)
        self.rivals = spec.kv_heads if spec.allocate == "layer" else 1
        self.use = Use(spec.kv_heads, spec.head_dim, spec.head_dim)

    def empty(self, batch: int) -> KeyValues:
        """No keys yet."""
        state = super().empty(batch)
        records = torch.zeros(batch, self.kv_heads, 0, RECORD, device=state.keys.device)
        return state._replace(scores=records, slots=no_slots(self.kv_heads, state.keys, self.head_dim, RECORD))

    def scored(self, key: Tensor, value: Tensor, seen: int) -> Tensor | None:
        """Records [b g t 4] of new tokens."""
        return self.use.records(key, value, seen, self.chunk)

    def contest(self, current: int) -> Contest:
        """As chunk number `current` begins."""
        return Contest(self.rivals, self.rivals * self.budget.budget(current), current, self.chunk, self.budget.sinks)

    def lending(
        self, x: Tensor, state: KeyValues, lent: Lent | None, given: Pass = PLAIN
    ) -> tuple[Tensor, KeyValues, Lent]:
        """See Mixer."""
        if given.seen is not None:
            given.seen.append((self, x))
        return super().lending(x, state, lent, given)

    @torch.compiler.disable  # its loops over chunks would be unrolled
    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """See CacheMixer; what a pass over all or local chunks leaves is not gone on from."""
        assert lent.score is not None
        records, before = lent.score.detach(), lent.before
        t, c = query.shape[2], self.chunk
        if not before.seen:
            if given.scope == "all":
                return self.kernels.causal(query, lent.key, lent.value), before
            if given.scope == "local":
                until = (torch.arange(t, device=query.device) // c + 2)[None, None]
                return self.kernels.held(query, lent.key, lent.value, until, c), before
            if given.softness is not None:
                bias = soft_bias(self.use, lent.score, self.budget, self.rivals, given.softness)
                blocks = whole_blocks(t, c, query.device)
                return block_attention(query, lent.key, lent.value, blocks, bias=bias), before
            return self._fresh(query, lent._replace(score=records))
        pieces, done = [], 0
        while done < t:
            piece = slice(done, done + c - before.seen % c)
            new = Lent(lent.key[:, :, piece], lent.value[:, :, piece], records[:, :, piece], before)
            y, before = self._continued(query[:, :, piece], new)
            pieces.append(y)
            done += y.shape[2]
        return torch.cat(pieces, dim=2), before

    def _fresh(self, query: Tensor, lent: Lent) -> tuple[Tensor, KeyValues]:
        assert lent.score is not None
        stream = _Stream(self, lent.score, query.shape[1] // self.kv_heads)
        y = block_attention(query, lent.key, lent.value, stream.blocks(), stream.receive)
        return y, stream.held(lent)

    def _continued(self, query: Tensor, lent: Lent) -> tuple[Tensor, KeyValues]:
        """Tokens that stay inside one chunk."""
        before = self._evicted(lent.before)
        assert lent.score is not None
        assert before.scores is not None
        assert before.slots is not None
        keys, values = torch.cat([before.keys, lent.key], dim=2), torch.cat([before.values, lent.value], dim=2)
        records = torch.cat([before.scores, lent.score], dim=2)
        far, near = Far(before.slots, starts(before.slots), 0), (keys, values)
        y, received, near_received = ragged_attention(query, far, near, self.head_dim**-0.5)
        previous = before.keys.shape[2] - before.seen % self.chunk  # a token's own chunk does not count
        records[:, :, :previous, RECEIVED] += near_received[:, :, :previous].detach()
        held = before.slots.records.clone()
        held[..., RECEIVED] += torch.stack(received).detach()
        slots = before.slots._replace(records=held)
        seen = before.seen + query.shape[2]
        return y, before._replace(keys=keys, values=values, scores=records, slots=slots, seen=seen)

    def _evicted(self, state: KeyValues) -> KeyValues:
        """What stays as a chunk begins: the chunk before the previous one competes with what is cached."""
        c = self.chunk
        current, inside = divmod(state.seen, c)
        if inside or current < 2:
            return state
        assert state.scores is not None
        assert state.slots is not None
        near = state.keys, state.values, state.scores
        keys, values, records = (z[:, :, :c].flatten(1, 2) for z in near)
        aged = Slots(keys, values, records, torch.full_like(state.slots.counts, c))
        keys_left, values_left, records_left = (z[:, :, c:] for z in near)
        slots = compete(state.slots, aged, self.use, self.contest(current))
        return state._replace(keys=keys_left, values=values_left, scores=records_left, slots=slots)


class _Stream:
    """The slots of a fresh sequence, chunk by chunk: the places of tokens stand for their keys and values.

    cached [b groups n]: head in the group x length + place, ascending; records [b groups heads·length 4].
    """

    def __init__(self, mixer: UseMixer, records: Tensor, share: int) -> None:
        self.mixer, self.share = mixer, share
        b, g, self.length, width = records.shape
        self.groups, device = g // mixer.rivals, records.device
        self.records = records.clone().view(b, self.groups, mixer.rivals * self.length, width)
        self.begins = torch.arange(mixer.rivals, device=device) * self.length  # of each head
        self.first_heads = (torch.arange(self.groups, device=device) * mixer.rivals)[:, None]
        self.cached = self.begins.new_zeros(b, self.groups, 0)
        self.counts = self.begins.new_zeros(b, g)
        self.rows = self.columns = slice(0, 0)
        self.far = self.begins.new_zeros(b, g, 0)
        self.there = self.far.bool()

    def blocks(self) -> Iterator[Block]:
        """One a chunk; each must be read, and `receive` told, before the next."""
        c = self.mixer.chunk
        for current in range(-(-self.length // c)):
            self.rows = slice(current * c, min(self.length, (current + 1) * c))
            self.columns = slice(max(0, current - 1) * c, self.rows.stop)
            if current >= 2:
                self._contest(current)
            there = self.far.shape[-1] > 0
            yield Block(
                self.rows, self.far if there else None, self.columns, _Hidden(self.there, self.rows, self.columns)
            )

    def receive(self, mass: Tensor) -> None:
        """The attention [b g far+columns] of the block that was yielded last; a token's own chunk does not count."""
        received, mass = self._by_head[..., RECEIVED], mass.to(self.records.dtype) / self.share
        n, previous = self.far.shape[-1], slice(self.columns.start, self.rows.start)
        received.scatter_add_(-1, self.far, mass[..., :n])
        received[..., previous] += mass[..., n : n + previous.stop - previous.start]

    def held(self, lent: Lent) -> KeyValues:
        """The cache after the sequence, of its keys [b g t k] and values [b g t v]."""
        packed = []
        for z in (lent.key.detach(), lent.value.detach(), self.records):
            by_group = z.reshape(*self.records.shape[:3], -1)
            packed.append(by_group.gather(2, self._wide(self.cached, by_group)).flatten(1, 2))
        slots, local = Slots(packed[0], packed[1], packed[2], self.counts.int()), slice(self.columns.start, None)
        keys, values, records = (z[:, :, local] for z in (lent.key, lent.value, self._by_head))
        return lent.before._replace(keys=keys, values=values, scores=records, slots=slots, seen=self.length)

    @property
    def _by_head(self) -> Tensor:
        """Records [b g t 4]."""
        return self.records.view(len(self.records), -1, self.length, self.records.shape[-1])

    def _contest(self, current: int) -> None:
        c, contest = self.mixer.chunk, self.mixer.contest(current)
        aged = torch.arange((current - 2) * c, (current - 1) * c, device=self.begins.device)
        aged = (self.begins[:, None] + aged).flatten().expand(*self.cached.shape[:2], -1)
        rivals = torch.cat([self.cached, aged], dim=2)
        records = self.records.gather(2, self._wide(rivals, self.records))
        heads = self.first_heads + rivals // self.length
        scores = self.mixer.use.scores(records.flatten(1, 2), heads.flatten(1, 2), current, c).view_as(rivals)
        scores = scores.masked_fill(rivals % self.length < contest.sinks, torch.inf)
        self.cached = ascending(rivals.gather(2, best_of(scores, contest)), self.records.shape[2])
        self._read()

    def _read(self) -> None:
        """Where each head finds its tokens, as many places as the widest head has."""
        shape, size = self.cached.shape[:2], self.cached.shape[2]
        begins = torch.searchsorted(self.cached, self.begins.expand(*shape, -1).contiguous())
        counts = F.pad(begins, (0, 1), value=size).diff(dim=2)
        widest = size if self.mixer.rivals == 1 else int(counts.max())
        place = torch.arange(widest, device=begins.device)
        at = (begins[..., None] + place).clamp(max=size - 1).flatten(2)
        self.there = (place < counts[..., None]).flatten(1, 2)
        self.far = (self.cached.gather(2, at) % self.length).view(self.there.shape) * self.there
        self.counts = counts.flatten(1)

    @staticmethod
    def _wide(places: Tensor, z: Tensor) -> Tensor:
        return places[..., None].expand(-1, -1, -1, z.shape[-1])


class _Hidden:
    """What queries do not read: padding of heads with fewer slots, and the future."""

    def __init__(self, there: Tensor, rows: slice, columns: slice) -> None:
        self.there, self.rows, self.columns = there, rows, columns

    def __call__(self) -> Tensor:
        """[b g rows far+columns], -inf there, else 0."""
        device = self.there.device
        row = torch.arange(self.rows.start, self.rows.stop, device=device)[:, None]
        future = torch.arange(self.columns.start, self.columns.stop, device=device) > row
        far, near = (torch.zeros(z.shape, device=device).masked_fill_(z, -torch.inf) for z in (~self.there, future))
        shape = *self.there.shape[:2], len(row), -1
        return torch.cat([far[:, :, None].expand(shape), near.expand(shape)], dim=-1)
