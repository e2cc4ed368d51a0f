"""Parts of a planned model: kv heads of a layer that keep alike, and how they read their cache and change it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.plans import Kept
from l2m_design.model.adopted import unturned
from l2m_design.model.competing import Contest, Far, Slots, compete, no_slots, ragged_attention, remembered, starts
from l2m_design.model.pooled import Near
from l2m_design.model.rules import RECEIVED, Rule

BLOCK = 256  # queries that a window reads at once


class Held(NamedTuple):
    """Keys and values [b g n d] of the tokens that are cached, in the order of time."""

    keys: Tensor
    values: Tensor


class Chosen(NamedTuple):
    """Of a sparse cache: slots, and keys, values [b g n d] and records [b g n r] of the own and the previous chunk."""

    slots: Slots
    near: Near


class New(NamedTuple):
    """New tokens on their way through a layer: queries [b h t k], keys [b g t k] and values [b g t v] of some heads.

    reads: the queries that are answered; those of another layer where it shares this one's cache.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    reads: Tensor
    scaling: float

    def cut(self, first: int, last: int) -> "New":
        """Some of the tokens."""
        query, key, value = (z[:, :, first:last] for z in self[:3])
        reads = query if self.reads is self.query else self.reads[:, :, first:last]
        return New(query, key, value, reads, self.scaling)

    def of_heads(self, heads: list[int]) -> "New":
        """Some of the kv heads, and their queries."""
        grouped = [z.unflatten(1, (self.key.shape[1], -1))[:, heads].flatten(1, 2) for z in (self.query, self.reads)]
        query, reads = grouped[0], grouped[0] if self.reads is self.query else grouped[1]
        return New(query, self.key[:, heads], self.value[:, heads], reads, self.scaling)


class Part(nn.Module):
    """The kv heads of a layer that keep alike: every token, or a window with or without the first tokens."""

    def __init__(self, layer: int, heads: tuple[int, ...], kept: Kept) -> None:
        super().__init__()
        self.layer, self.heads, self.kept = layer, heads, kept

    def empty(self, like: Tensor) -> Any:
        """Nothing read yet; like: [b g 0 d] of all heads."""
        none = like[:, : len(self.heads)]
        return Held(none, none)

    def read(self, held: Any, seen: int, new: New) -> tuple[Tensor, Any]:
        """[b h t v] of new tokens behind `seen` ones, and what is cached after them."""
        step, t, found = self._step(new), new.query.shape[2], []
        for first in range(0, t, step):
            y, held = self._read(held, seen + first, new.cut(first, first + step))
            found.append(y)
        return (found[0] if len(found) == 1 else torch.cat(found, 2)), held

    def _step(self, new: New) -> int:
        return new.query.shape[2] if self.kept.cache == "full" else BLOCK

    def _read(self, held: Held, seen: int, new: New) -> tuple[Tensor, Held]:
        keys, values = (torch.cat(pair, 2) for pair in zip(held, (new.key, new.value), strict=True))
        t, s = new.query.shape[2], keys.shape[2]
        mask = None if t in (1, s) and self.kept.cache == "full" else self._mask(t, s, seen, new.query.device)
        causal = mask is None and t > 1
        y = F.scaled_dot_product_attention(
            new.reads, keys, values, attn_mask=mask, scale=new.scaling, is_causal=causal, enable_gqa=True
        )
        return y, self._cached(keys, values)

    def _mask(self, t: int, s: int, seen: int, device: torch.device) -> Tensor:
        """[t s] which of the cached and the new tokens are read."""
        mask = torch.ones(t, s, dtype=torch.bool, device=device).tril(s - t)
        if self.kept.cache == "full":
            return mask
        near = mask.triu(s - t - max(self.kept.window, 1) + 1)
        near[:, : min(self.kept.sinks, s)] = mask[:, : min(self.kept.sinks, s)]
        return near

    def _cached(self, keys: Tensor, values: Tensor) -> Held:
        s, sinks, last = keys.shape[2], self.kept.sinks, max(self.kept.window, 1) - 1
        if self.kept.cache == "full" or s <= sinks + last:
            return Held(keys, values)
        first, rest = slice(0, sinks), slice(s - last, s)
        return Held(*(torch.cat([z[:, :, first], z[:, :, rest]], 2) for z in (keys, values)))


class SparsePart(Part):
    """Kv heads that compete for slots, ranked by a rule over these heads alone. rates: see turned.

    Where they compete with those of other layers, the rule makes their records and the pool ranks all; first: the
    number of their first head in the pool.
    """

    def __init__(self, layer: int, heads: tuple[int, ...], kept: Kept, rule: Rule, rates: Tensor) -> None:
        super().__init__(layer, heads, kept)
        self.rule, self.budget, self.first = rule, kept.budget, 0
        self.rates: Tensor
        self.register_buffer("rates", rates.float(), persistent=False)

    @property
    def pooled(self) -> bool:
        """Do its heads compete with those of other layers?"""
        return self.kept.allocate == "model"

    def empty(self, like: Tensor) -> Chosen | Near:
        """See Part."""
        none, h = like[:, : len(self.heads)], len(self.heads)
        records = torch.zeros(*none.shape[:3], self.rule.width, device=like.device)
        near = (none, none, records)
        return near if self.pooled else Chosen(no_slots(h, none, none.shape[-1], self.rule.width), near)

    def _records(self, seen: int, new: New) -> Tensor:
        """[b g t r] of new tokens."""
        plain = unturned(new.key, seen, self.rates)
        return self.rule.records(plain, new.value, seen, self.kept.chunk).detach()

    def read(self, held: Chosen, seen: int, new: New) -> tuple[Tensor, Chosen]:
        """See Part: chunk by chunk."""
        c, t, done, found = self.kept.chunk, new.query.shape[2], 0, []
        records = self._records(seen, new)
        while done < t:
            end = min(t, done + c - (seen + done) % c)
            held = self._evicted(held, seen + done)
            far = Far(held.slots, starts(held.slots), 0)
            piece = (new.cut(done, end), records[:, :, done:end])
            y, near, received = self._piece(far, held.near, seen + done, *piece)
            known = held.slots.records.clone()
            known[..., RECEIVED] += torch.stack(received)
            held = Chosen(held.slots._replace(records=known), near)
            found.append(y)
            done = end
        return torch.cat(found, 2), held

    def read_pooled(self, far: Far, near: Near, seen: int, new: New) -> tuple[Tensor, Near, list[Tensor]]:
        """[b h t v] of new tokens of one chunk, the near tokens after them, and by sequence what its slots received."""
        return self._piece(far, near, seen, new, self._records(seen, new))

    def _piece(self, far: Far, before: Near, seen: int, new: New, records: Tensor) -> tuple[Tensor, Near, list[Tensor]]:
        added = (new.key, new.value, records)
        keys, values, notes = (torch.cat(pair, 2) for pair in zip(before, added, strict=True))
        y, received, near = ragged_attention(new.query, far, (keys, values), new.scaling)
        if new.reads is not new.query:  # which tokens stay is for the layer that has the cache to say
            y, _, _ = ragged_attention(new.reads, far, (keys, values), new.scaling)
        previous = keys.shape[2] - new.key.shape[2] - seen % self.kept.chunk  # a token's own chunk does not count
        notes[:, :, :previous, RECEIVED] += near[:, :, :previous]
        return y, (keys, values, notes), received

    def _evicted(self, held: Chosen, seen: int) -> Chosen:
        """What stays as a chunk begins: the chunk before the previous one competes with what is cached."""
        c = self.kept.chunk
        current, inside = divmod(seen, c)
        if inside or current < 2:
            return held
        b, h = held.near[0].shape[:2]
        keys, values, records = (z[:, :, :c].flatten(1, 2) for z in held.near)
        aged = Slots(keys, values, records, held.slots.counts.new_full((b, h), c))
        contest = Contest(h, h * self.budget.budget(current), current, c, self.budget.sinks)
        slots = compete(held.slots, aged, self.rule, contest)
        slots = slots._replace(records=remembered(slots.records, self.rule.memory))
        keys, values, records = (z[:, :, c:] for z in held.near)
        return Chosen(slots, (keys, values, remembered(records, self.rule.memory)))
