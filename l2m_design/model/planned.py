"""Planned caches: a causal language model of Hugging Face each of whose kv heads keeps what a plan says.

The model's own modules run as they are. Every layer reads from its own cache alone, so that any number of tokens can
be read in one call: sparse caches cut them at the borders of their chunks, inside the layer. Where heads of several
layers compete for slots (see pooled), the whole model reads chunk by chunk.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from l2m_design.architecture.plans import RECURRENT, CachePlan, Kept, entries
from l2m_design.errors import BadInput
from l2m_design.model.adopted import read_on, shape_of
from l2m_design.model.competing import Far, Slots, starts
from l2m_design.model.hybrid import Recurrent
from l2m_design.model.planned_parts import Chosen, Held, New, Part, SparsePart
from l2m_design.model.pooled import Near, Pool
from l2m_design.model.rules import HeavyHitters, Rule
from l2m_design.model.turned import rotary_rates
from l2m_design.model.use import Use


class PlannedState(NamedTuple):
    """What the parts of all layers of attention hold, states of the recurrent ones, tokens read, and, where layers
    compete, the slots of all of them: their parts hold the near tokens alone.
    """

    parts: tuple[Held | Chosen | Near, ...]
    recurrent: tuple[Recurrent, ...]
    seen: int
    pool: tuple[Slots, ...] = ()


class Reading:
    """Tokens on their way through all layers: attention asks it for what to read."""

    def __init__(self, parts: list[Part], state: PlannedState, plan: CachePlan) -> None:
        self._plan, self._last = plan, dict[int, New]()
        self._of = {layer: [at for at, part in enumerate(parts) if part.layer == layer] for layer in layers_of(parts)}
        self._parts, self._state, self._after = parts, state, list(state.parts)
        self._starts = [starts(slots) for slots in state.pool]
        self._received: dict[int, list[Tensor]] = {}

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
        part, before, seen = self._parts[at], self._state.parts[at], self._state.seen
        if isinstance(part, SparsePart) and part.pooled:
            far = Far(self._state.pool[0], self._starts[0], part.first)
            y, self._after[at], self._received[at] = part.read_pooled(far, before, seen, new)  # type: ignore[arg-type]
        else:
            y, self._after[at] = part.read(before, seen, new)
        return y

    def after(self, t: int, recurrent: tuple[Recurrent, ...], pool: Pool | None) -> PlannedState:
        """The state after the t tokens, with these states of recurrent layers; pool: for whose slots layers compete."""
        received = [self._received[at] for at in sorted(self._received)]
        slots = (pool.attended(self._state.pool[0], received),) if pool else ()
        return PlannedState(tuple(self._after), recurrent, self._state.seen + t, slots)


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
        device = model.get_input_embeddings().weight.device
        self.parts = nn.ModuleList(found).to(device)
        self.pool = self._pooled(rule).to(device) if rule and self._of_pool() else None

    def _of_pool(self) -> list[int]:
        """The numbers of the parts that compete with those of other layers."""
        return [at for at, part in enumerate(self.parts) if isinstance(part, SparsePart) and part.pooled]

    def _pooled(self, rule: Use) -> Pool:
        sizes, kept, heads = list[int](), list[Kept](), list[int]()
        for at in self._of_pool():
            part: Any = self.parts[at]
            part.first = len(heads)
            heads += self._rule_heads(part.layer, part.heads)
            sizes.append(len(part.heads))
            kept.append(part.kept)
        if len({(each.chunk, each.sinks) for each in kept}) > 1:
            raise BadInput("a plan whose layers compete for slots needs the same chunk and sinks in all of them")
        return Pool(sizes, kept, rule.of_heads(heads))

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
        return rule.of_heads(self._rule_heads(layer, heads))

    def _rule_heads(self, layer: int, heads: tuple[int, ...]) -> list[int]:
        """The numbers of these heads among all of full attention."""
        first = self.shape.whole.index(layer) * self.shape.kv_heads
        return [first + head for head in heads]

    def moved(self, device: torch.device) -> None:
        """Follow the model to another device."""
        self.parts.to(device)
        if self.pool:
            self.pool.to(device)

    def empty(self, batch: int) -> PlannedState:
        """Nothing read yet."""
        like = self.model.get_input_embeddings().weight.new_zeros(batch, self.shape.kv_heads, 0, self.shape.head_dim)
        pool = (self.pool.empty(like),) if self.pool else ()
        return PlannedState(tuple(part.empty(like) for part in self.parts), (), 0, pool)  # type: ignore[operator]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [b t v_] of tokens [b t], read as generation reads them."""
        return self.prefill(tokens)[0]

    def prefill(self, tokens: Tensor, state: Any = None, last: int = 0) -> tuple[Tensor, PlannedState]:
        """Logits [b t v_] of tokens [b t], or of the last ones [b last v_], and the state after them."""
        state = state or self.empty(len(tokens))
        if self.pool is None:
            return self._read(tokens, state, last)
        c, t, done, found = self.pool.chunk, tokens.shape[1], 0, list[Tensor]()
        while done < t:
            end = min(t, done + c - state.seen % c)
            wanted = min(end - done, max(1, last - t + end)) if last else 0  # one where none is: 0 stands for all
            logits, state = self._read(tokens[:, done:end], self._evicted(state, self.pool), wanted)
            found = [*found, logits] if end > t - last or not last else []
            done = end
        return torch.cat(found, 1), state

    def _evicted(self, state: PlannedState, pool: Pool) -> PlannedState:
        at = self._of_pool()
        slots, near = pool.evicted(state.pool[0], [state.parts[n] for n in at], state.seen)  # type: ignore[misc]
        parts = dict(enumerate(state.parts)) | dict(zip(at, near, strict=True))
        return state._replace(parts=tuple(parts.values()), pool=(slots,))

    def _read(self, tokens: Tensor, state: PlannedState, last: int) -> tuple[Tensor, PlannedState]:
        reading = Reading(list(self.parts), state, self.plan)  # type: ignore[arg-type]
        logits, recurrent = read_on(self.model, tokens, state.seen, reading, state.recurrent, last)
        return logits, reading.after(tokens.shape[1], recurrent, self.pool)

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
