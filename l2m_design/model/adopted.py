"""Adopted models: a causal language model of Hugging Face read with a cache whose heads compete for slots.

The model's own modules run as they are; only what attention reads is ours. Keys keep their rotary positions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache

from l2m_design.architecture.plans import ADOPTABLE, RECURRENT, SLIDING, WHOLE, Shape
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import BadInput
from l2m_design.model.competing import (
    Allocation,
    Contest,
    Far,
    Slots,
    compete,
    no_slots,
    ragged_attention,
    remembered,
    starts,
)
from l2m_design.model.hybrid import Recurrent, cache_for, cache_name, recurrent_layers, sizes_of, states_in
from l2m_design.model.rules import RECEIVED, Rule
from l2m_design.model.turned import rotary_rates, turned
from l2m_design.model.use import Use

ATTENTION = "l2m_read"


class Reader(Protocol):
    """Attention of one layer."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """[b h t v] of queries [b h t k] behind what was read before, keys [b g t k] and values [b g t v]."""
        ...


class AdoptedState(NamedTuple):
    """Slots of all layers of full attention, the tokens of the own and the previous chunk (near: keys, values
    [b h n .], records [b h n r]), what sliding layers hold (keys, values [b g n .] each), states of recurrent layers,
    and tokens read.
    """

    slots: Slots
    near: tuple[Tensor, Tensor, Tensor]
    windows: tuple[tuple[Tensor, Tensor], ...]
    recurrent: tuple[Recurrent, ...]
    seen: int


@dataclass
class Piece:
    """Tokens of one chunk on their way through the layers: attention asks it for what to read."""

    before: AdoptedState
    rule: Rule
    shape: Shape
    rates: Tensor
    chunk: int
    near: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    windows: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    received: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = starts(self.before.slots)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention [b h t v] of a layer's new queries, keys and values [b . t .]."""
        if self.shape.layers[layer] == SLIDING:
            return self._sliding(query, key, value, scaling)
        first, seen, old = len(self.near) * self.shape.kv_heads, self.before.seen, self.before.near
        heads = slice(first, first + self.shape.kv_heads)
        new = self.rule.records(unturned(key, seen, self.rates[layer]), value, seen, self.chunk, heads).detach()
        keys, values, records = (
            torch.cat([z[:, heads], added], 2) for z, added in zip(old, (key, value, new), strict=True)
        )
        far = Far(self.before.slots, self._starts, first)
        y, received, near = ragged_attention(query, far, (keys, values), scaling)
        previous = old[0].shape[2] - seen % self.chunk  # a token's own chunk does not count
        records[:, :, :previous, RECEIVED] += near[:, :, :previous]
        self.near.append((keys, values, records))
        self.received.append(received)
        return y

    def _sliding(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        held = self.before.windows[len(self.windows)]
        keys, values = (torch.cat([z, new], 2) for z, new in zip(held, (key, value), strict=True))
        t, s, window = query.shape[2], keys.shape[2], self.shape.window
        mask = torch.ones(t, s, dtype=torch.bool, device=query.device).tril(s - t).triu(s - t - window + 1)
        y = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=True)
        self.windows.append((keys[:, :, -(window - 1) :], values[:, :, -(window - 1) :]))
        return y

    def after(self, t: int, recurrent: tuple[Recurrent, ...]) -> AdoptedState:
        """The state after the t tokens of the piece, with these states of recurrent layers."""
        received = torch.stack([torch.cat([layer[row] for layer in self.received]) for row in range(len(self._starts))])
        records = self.before.slots.records.clone()
        records[..., RECEIVED] += received
        near = tuple(torch.cat(parts, 1) for parts in zip(*self.near, strict=True))
        slots = self.before.slots._replace(records=records)
        return AdoptedState(slots, near, tuple(self.windows), recurrent, self.before.seen + t)  # type: ignore[arg-type]


class AdoptedModel(nn.Module):
    """A model of Hugging Face with a bounded cache: B(t) old tokens a kv head on average, of which those stay that
    will be used most; the own and the previous chunk are cached whole.

    allocate: heads compete for slots inside each `head`, `layer`, or in the whole `model`. rule: by which they do;
    fresh predicted use where none is given. Raises BadInput for models whose attention cannot be read by ours.
    """

    def __init__(
        self, model: Any, budget: GlobalBudget, allocate: Allocation = "model", rule: Rule | None = None
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.shape = shape_of(model)
        self.budget, self.allocate = budget, allocate
        g = self.shape.kv_heads
        h, d = len(self.shape.whole) * g, self.shape.head_dim
        self.use: Any = Use(h, d, d) if rule is None else rule
        self.rivals = {"head": 1, "layer": g, "model": h}[allocate]
        self._recurrent = sizes_of(model)
        self.rates: Tensor
        self.register_buffer("rates", rotary_rates(model).float(), persistent=False)

    def moved(self, device: torch.device) -> None:
        """Follow the model to another device."""
        self.use.to(device)
        self.rates = self.rates.to(device)

    def empty(self, batch: int) -> AdoptedState:
        """Nothing read yet."""
        like = self.model.get_input_embeddings().weight
        h, d = len(self.shape.whole) * self.shape.kv_heads, self.shape.head_dim
        none = like.new_zeros(batch, h, 0, d)
        records = torch.zeros(batch, h, 0, self.use.width, device=like.device)
        window = none[:, : self.shape.kv_heads]
        sliding = self.shape.layers.count(SLIDING)
        return AdoptedState(
            no_slots(h, none, d, self.use.width), (none, none, records), ((window, window),) * sliding, (), 0
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [b t v_] of tokens [b t], read as generation reads them."""
        return self.prefill(tokens)[0]

    def prefill(self, tokens: Tensor, state: AdoptedState | None = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_] of tokens [b t], or of the last one [b 1 v_], and the state after them."""
        state, done = state or self.empty(len(tokens)), 0
        logits: list[Tensor] = []
        while done < tokens.shape[1]:
            end = done + self.budget.chunk - state.seen % self.budget.chunk
            found, state = self._piece(tokens[:, done:end], self.evicted(state), last and end >= tokens.shape[1])
            logits = [found[:, -1:]] if last else [*logits, found]
            done = end
        return torch.cat(logits, dim=1), state

    def step(self, token: Tensor, state: AdoptedState) -> tuple[Tensor, AdoptedState]:
        """Logits [b v_] after one token [b], and the new state."""
        logits, state = self.prefill(token[:, None], state)
        return logits[:, 0], state

    def elements(self, length: int) -> int:
        """Numbers cached for one sequence after `length` tokens."""
        slots, index, window = self._cached(length)
        recurrent = sum(map(sum, self._recurrent))
        return slots * (2 * self.shape.head_dim + self.use.width) + index + window + recurrent

    def cache_bytes(self, length: int) -> int:
        """Their bytes: keys and values in the model's type, records and counts of slots in four bytes each."""
        slots, index, window = self._cached(length)
        size = self.model.get_input_embeddings().weight.element_size()
        recurrent = sum(own * size + 4 * floats for own, floats in self._recurrent)
        return slots * (2 * self.shape.head_dim * size + 4 * self.use.width) + 4 * index + window * size + recurrent

    def _cached(self, length: int) -> tuple[int, int, int]:
        """Slots, heads that are counted, and numbers in sliding windows."""
        heads = len(self.shape.whole) * self.shape.kv_heads
        sliding = self.shape.layers.count(SLIDING)
        window = sliding * self.shape.kv_heads * min(length, self.shape.window - 1) * 2 * self.shape.head_dim
        return heads * self.budget.count(length), heads, window

    def evicted(self, state: AdoptedState) -> AdoptedState:
        """What stays as a chunk begins: the chunk before the previous one competes with what is cached."""
        c = self.budget.chunk
        current, inside = divmod(state.seen, c)
        if inside or current < 2:
            return state
        b, h = state.near[0].shape[:2]
        keys, values, records = (z[:, :, :c].flatten(1, 2) for z in state.near)
        aged = Slots(keys, values, records, state.slots.counts.new_full((b, h), c))
        contest = Contest(self.rivals, self.rivals * self.budget.budget(current), current, c, self.budget.sinks)
        keys, values, records = (z[:, :, c:] for z in state.near)
        slots = compete(state.slots, aged, self.use, contest)
        slots = slots._replace(records=remembered(slots.records, self.use.memory))
        return state._replace(slots=slots, near=(keys, values, remembered(records, self.use.memory)))

    def _piece(self, tokens: Tensor, state: AdoptedState, last: bool) -> tuple[Tensor, AdoptedState]:
        piece = Piece(state, self.use, self.shape, self.rates, self.budget.chunk)
        logits, recurrent = read_on(self.model, tokens, state.seen, piece, state.recurrent, last)
        return logits, piece.after(tokens.shape[1], recurrent)


class FullModel:
    """A model of Hugging Face with its own full cache, read as adopted ones are."""

    def __init__(self, model: Any) -> None:
        self._model = model.eval()
        self._recurrent = sum(map(sum, sizes_of(model)))

    @torch.no_grad()
    def prefill(self, tokens: Tensor, state: Any = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_] of tokens [b t], or of the last one [b 1 v_], and the cache after them."""
        held = DynamicCache(config=self._model.config) if state is None else state
        given = {cache_name(self._model): held, "logits_to_keep": int(last)}
        return self._model(tokens, use_cache=True, **given).logits, held

    def elements(self, length: int) -> int:
        """Numbers cached for one sequence after `length` tokens."""
        shape = shape_of(self._model)
        whole, slot = len(shape.whole), 2 * shape.kv_heads * shape.head_dim
        sliding = shape.layers.count(SLIDING)
        return slot * (whole * length + sliding * min(length, shape.window)) + self._recurrent


def read_by(model: Any, tokens: Tensor, seen: int, attention: Reader, last: int = 0) -> Tensor:
    """Logits [b t v_] of tokens [b t], or their embeddings [b t d], that stand behind `seen` ones, with `attention` in
    the place of the model's; those of the `last` tokens alone, where it is not 0.
    """
    return read_on(model, tokens, seen, attention, (), last)[0]


def read_on(
    model: Any, tokens: Tensor, seen: int, attention: Reader, states: tuple[Recurrent, ...], last: int = 0
) -> tuple[Tensor, tuple[Recurrent, ...]]:
    """The same of a model that may have recurrent layers: logits, and their states after the tokens; states: before
    them, none where nothing was read.
    """
    at = torch.arange(seen, seen + tokens.shape[1], device=tokens.device).expand(tokens.shape[:2])
    given = {"input_ids" if tokens.ndim == 2 else "inputs_embeds": tokens, ATTENTION: attention}
    cache = cache_for(model, states) if recurrent_layers(model.config) else None
    if cache is not None:
        given |= {cache_name(model): cache}
    with attended(model):
        said = model(**given, position_ids=at, use_cache=cache is not None, logits_to_keep=int(last))
    return said.logits, () if cache is None else states_in(cache)


@contextmanager
def attended(model: Any) -> Iterator[None]:
    """The model's attention functions are ours meanwhile."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attention(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **given: Any) -> tuple[Tensor, None]:
    """What transformers calls: [b h t k], [b g t k], [b g t v] to [b t h v]."""
    if given.get("softcap") or given.get("s_aux") is not None:
        raise BadInput(
            f"the cache cannot be bounded where attention has soft caps or learned sinks; give a model with {ADOPTABLE}"
        )
    scaling = given.get("scaling") or query.shape[-1] ** -0.5
    y = given[ATTENTION](module.layer_idx, query, key, value, scaling)
    return y.transpose(1, 2).contiguous(), None


def unturned(key: Tensor, seen: int, rates: Tensor) -> Tensor:
    """Keys [b g t k] as before their rotary positions seen, seen + 1, ..., in float32."""
    at = torch.arange(seen, seen + key.shape[2], device=key.device, dtype=torch.float32)
    return turned(key.float(), -at[:, None], rates)


def shape_of(model: Any, bounded: bool = True) -> Shape:
    """Raises BadInput where a layer is of another type than full or sliding attention or a recurrence that keeps its
    own state, or, if full attention is to be bounded, none is full.
    """
    return shape_in(model.config, bounded, getattr(model, "_is_stateful", False))


def shape_in(whole: Any, bounded: bool = True, stateful: bool = False) -> Shape:
    """The same of a config of Hugging Face; stateful: does the model keep a recurrent state?"""
    config = whole.get_text_config()
    if getattr(whole, "is_encoder_decoder", False) or getattr(config, "cross_attention_layers", None):
        raise BadInput(
            f"{config.model_type}: models with cross attention are not supported; give a decoder with {ADOPTABLE}"
        )
    if not getattr(config, "num_attention_heads", None):
        raise BadInput(
            f"{config.model_type}: the model has no attention, so there is no cache to bound; give a model with "
            f"{ADOPTABLE}"
        )
    count, window = int(config.num_hidden_layers), getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    if window is not None and window >= (getattr(config, "max_position_embeddings", None) or window + 1):
        layers, window = [WHOLE if layer == SLIDING else layer for layer in layers or [WHOLE] * count], None
    if layers is None:
        windowed = window is not None and getattr(config, "use_sliding_window", True)
        layers = [SLIDING if windowed else WHOLE] * count
    strange = sorted(set(layers) - {WHOLE, SLIDING} - set(RECURRENT))
    if strange or (stateful and not set(layers) & set(RECURRENT)):
        raise BadInput(
            f"{config.model_type}: layers of type {', '.join(strange) or 'recurrent'} are not supported; give a model "
            f"with {ADOPTABLE}. `l2m check` supports this model"
        )
    if bounded and WHOLE not in layers:
        raise BadInput(
            f"{config.model_type}: every layer already has a window of {window} tokens, so there is no cache to bound; "
            "give a model with full attention in some layers"
        )
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(tuple(layers), heads, getattr(config, "num_key_value_heads", None) or heads, head_dim, window or 0)
