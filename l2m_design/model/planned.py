"""Planned caches: a causal language model of Hugging Face each of whose kv heads keeps what a plan says.

The model's own modules run as they are. Every layer reads from its own cache alone, so that any number of tokens can
be read in one call: sparse caches cut them at the borders of their chunks, inside the layer.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.plans import RECURRENT, CachePlan, Kept, entries
from l2m_design.errors import BadInput
from l2m_design.model.adopted import read_on, shape_of, unturned
from l2m_design.model.competing import Contest, Far, Slots, compete, no_slots, ragged_attention, remembered, starts
from l2m_design.model.hybrid import Recurrent
from l2m_design.model.rules import RECEIVED, HeavyHitters, Rule
from l2m_design.model.turned import rotary_rates
from l2m_design.model.use import Use

BLOCK = 256  # queries that a window reads at once


class Held(NamedTuple):
    """Keys and values [b g n d] of the tokens that are cached, in the order of time."""

    keys: Tensor
    values: Tensor


class Chosen(NamedTuple):
    """Of a sparse cache: slots, and keys, values [b g n d] and records [b g n r] of the own and the previous chunk."""

    slots: Slots
    near: tuple[Tensor, Tensor, Tensor]


class PlannedState(NamedTuple):
    """What the parts of all layers of attention hold, states of the recurrent ones, and tokens read."""

    parts: tuple[Held | Chosen, ...]
    recurrent: tuple[Recurrent, ...]
    seen: int


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
    """Kv heads that compete for slots, ranked by a rule over these heads alone. rates: see turned."""

    def __init__(self, layer: int, heads: tuple[int, ...], kept: Kept, rule: Rule, rates: Tensor) -> None:
        super().__init__(layer, heads, kept)
        self.rule, self.budget = rule, kept.budget
        self.rates: Tensor
        self.register_buffer("rates", rates.float(), persistent=False)

    def empty(self, like: Tensor) -> Chosen:
        """See Part."""
        none, h = like[:, : len(self.heads)], len(self.heads)
        records = torch.zeros(*none.shape[:3], self.rule.width, device=like.device)
        return Chosen(no_slots(h, none, none.shape[-1], self.rule.width), (none, none, records))

    def read(self, held: Chosen, seen: int, new: New) -> tuple[Tensor, Chosen]:
        """See Part: chunk by chunk."""
        c, t, done, found = self.kept.chunk, new.query.shape[2], 0, []
        plain = unturned(new.key, seen, self.rates)
        records = self.rule.records(plain, new.value, seen, c).detach()
        while done < t:
            end = min(t, done + c - (seen + done) % c)
            held = self._evicted(held, seen + done)
            y, held = self._piece(held, seen + done, new.cut(done, end), records[:, :, done:end])
            found.append(y)
            done = end
        return torch.cat(found, 2), held

    def _piece(self, held: Chosen, seen: int, new: New, records: Tensor) -> tuple[Tensor, Chosen]:
        added = (new.key, new.value, records)
        keys, values, notes = (torch.cat(pair, 2) for pair in zip(held.near, added, strict=True))
        far = Far(held.slots, starts(held.slots), 0)
        y, received, near = ragged_attention(new.query, far, (keys, values), new.scaling)
        if new.reads is not new.query:  # which tokens stay is for the layer that has the cache to say
            y, _, _ = ragged_attention(new.reads, far, (keys, values), new.scaling)
        previous = keys.shape[2] - new.key.shape[2] - seen % self.kept.chunk  # a token's own chunk does not count
        notes[:, :, :previous, RECEIVED] += near[:, :, :previous]
        known = held.slots.records.clone()
        known[..., RECEIVED] += torch.stack(received)
        return y, Chosen(held.slots._replace(records=known), (keys, values, notes))

    def _evicted(self, held: Chosen, seen: int) -> Chosen:
        """What stays as a chunk begins: the chunk before the previous one competes with what is cached."""
        c = self.kept.chunk
        current, inside = divmod(seen, c)
        if inside or current < 2:
            return held
        b, h = held.near[0].shape[:2]
        keys, values, records = (z[:, :, :c].flatten(1, 2) for z in held.near)
        aged = Slots(keys, values, records, held.slots.counts.new_full((b, h), c))
        contest = Contest(h, self.budget.budget(current), current, c, self.budget.sinks)
        slots = compete(held.slots, aged, self.rule, contest)
        slots = slots._replace(records=remembered(slots.records, self.rule.memory))
        keys, values, records = (z[:, :, c:] for z in held.near)
        return Chosen(slots, (keys, values, remembered(records, self.rule.memory)))


class Reading:
    """Tokens on their way through all layers: attention asks it for what to read."""

    def __init__(self, parts: list[Part], state: PlannedState, plan: CachePlan) -> None:
        self._plan, self._last = plan, dict[int, New]()
        self._of = {layer: [at for at, part in enumerate(parts) if part.layer == layer] for layer in layers_of(parts)}
        self._parts, self._state, self._after = parts, state, list(state.parts)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention [b h t v] of a layer's new queries, keys and values [b . t .]."""
        new = New(query, key, value, query, scaling)
        if layer not in self._of:
            layer = self._plan.source(layer) or 0
            new = self._last[layer]._replace(reads=query)
        else:
            self._last = {layer: new}
        if len(self._of[layer]) == 1:
            return self._read(self._of[layer][0], new)
        y = query.new_empty(len(query), key.shape[1], query.shape[1] // key.shape[1], query.shape[2], value.shape[-1])
        for at in self._of[layer]:
            heads = list(self._parts[at].heads)
            y[:, heads] = self._read(at, new.of_heads(heads)).unflatten(1, (len(heads), -1))
        return y.flatten(1, 2)

    def _read(self, at: int, new: New) -> Tensor:
        y, self._after[at] = self._parts[at].read(self._state.parts[at], self._state.seen, new)
        return y

    def after(self, t: int, recurrent: tuple[Recurrent, ...]) -> PlannedState:
        """The state after the t tokens, with these states of recurrent layers."""
        return PlannedState(tuple(self._after), recurrent, self._state.seen + t)


def layers_of(parts: list[Part]) -> Iterator[int]:
    """The layers of parts, each once."""
    yield from dict.fromkeys(part.layer for part in parts)


class PlannedModel(nn.Module):
    """A model of Hugging Face with the caches of a plan.

    rule: predicted use over all kv heads of the layers of full attention, as `training.adoption` fits it; needed where
    a sparse cache chooses by it. rates: [layers k/2], see turned; read off the model unless they are known. Raises
    BadInput where the plan does not fit the model, or the model's attention cannot be read by ours.
    """

    def __init__(self, model: Any, plan: CachePlan, rule: Use | None = None, rates: Tensor | None = None) -> None:
        super().__init__()
        self.model = model.eval()
        self.plan, self.shape = plan, shape_of(model, bounded=False)
        heads, d = len(self.shape.whole) * self.shape.kv_heads, self.shape.head_dim
        self.use = Use(heads, d, d) if rule is None else rule  # of all heads; parts have copies for theirs
        self._check()
        if rates is None and plan.chunks:
            rates = rotary_rates(model)
        found: list[Part] = []
        for layer in range(len(plan.layers)):
            for kept, group in plan.groups(layer).items():
                if kept.cache in ("recurrent", "share"):
                    continue
                if kept.cache == "sparse":
                    assert rates is not None
                    found.append(SparsePart(layer, group, kept, self._rule(layer, group, kept, rule), rates[layer]))
                else:
                    found.append(Part(layer, group, kept))
        self.parts = nn.ModuleList(found).to(model.get_input_embeddings().weight.device)

    def _check(self) -> None:
        plan, shape = self.plan, self.shape
        counts = [entries(heads[0], shape.kv_heads) for heads in plan.layers]
        if len(plan.layers) != len(shape.layers) or list(map(len, plan.layers)) != counts:
            raise BadInput(
                f"a plan of {len(plan.layers)} layers for a model of {len(shape.layers)} layers with {shape.kv_heads} "
                "kv heads; give a plan of this model"
            )
        for layer, heads in enumerate(plan.layers):
            if (heads[0].cache == "recurrent") != (shape.layers[layer] in RECURRENT):
                raise BadInput(
                    f"layer {layer}: the plan says {heads[0]}, but the layer is of type {shape.layers[layer]}; "
                    "recurrent layers, and only these, need cache: recurrent"
                )
            if "share" in {kept.cache for kept in heads} and (len(set(heads)) > 1 or plan.source(layer) is None):
                raise BadInput(
                    f"layer {layer}: cache: share must be that of all heads of a layer, and a layer below must have a "
                    "cache"
                )
            own = shape.own(layer).reach
            if own is not None and any(kept.reach is None or kept.reach > own for kept in heads):
                raise BadInput(
                    f"layer {layer}: has a window of {own} tokens; its plan must be a window of at most that length"
                )

    def _rule(self, layer: int, heads: tuple[int, ...], kept: Kept, rule: Use | None) -> Rule:
        if kept.choose == "attention_mass":
            return HeavyHitters(kept.budget)
        if rule is None:
            raise BadInput("cache: sparse with choose: use needs a fitted rule, found none; give `rule`")
        first = self.shape.whole.index(layer) * self.shape.kv_heads
        return rule.of_heads([first + head for head in heads])

    def moved(self, device: torch.device) -> None:
        """Follow the model to another device."""
        self.parts.to(device)

    def empty(self, batch: int) -> PlannedState:
        """Nothing read yet."""
        like = self.model.get_input_embeddings().weight.new_zeros(batch, self.shape.kv_heads, 0, self.shape.head_dim)
        return PlannedState(tuple(part.empty(like) for part in self.parts), (), 0)  # type: ignore[operator]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [b t v_] of tokens [b t], read as generation reads them."""
        return self.prefill(tokens)[0]

    def prefill(self, tokens: Tensor, state: Any = None, last: int = 0) -> tuple[Tensor, PlannedState]:
        """Logits [b t v_] of tokens [b t], or of the last ones [b last v_], and the state after them."""
        state = state or self.empty(len(tokens))
        reading = Reading(list(self.parts), state, self.plan)  # type: ignore[arg-type]
        logits, recurrent = read_on(self.model, tokens, state.seen, reading, state.recurrent, last)
        return logits, reading.after(tokens.shape[1], recurrent)

    def step(self, token: Tensor, state: PlannedState) -> tuple[Tensor, PlannedState]:
        """Logits [b v_] after one token [b], and the new state."""
        logits, state = self.prefill(token[:, None], state)
        return logits[:, 0], state

    def elements(self, length: int) -> int:
        """Numbers cached for one sequence after `length` tokens."""
        return self.plan.state(self.shape.head_dim).elements(length)

    def cache_bytes(self, length: int) -> int:
        """Their bytes, in the model's own type."""
        dtype = str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        return self.plan.bytes(length, self.shape.head_dim, dtype)
