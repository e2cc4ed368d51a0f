"""Bounded caches for weights that were trained with full attention, our own or Hugging Face's."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.thinning import Thinning
from l2m_design.errors import BadInput
from l2m_design.model.attention import KeyValues
from l2m_design.model.eviction import Eviction
from l2m_design.model.hybrid import cache_name
from l2m_design.model.language import LanguageModel, build, compact
from l2m_design.model.turned import rotary_rates, turned

WHOLE = "full_attention"


def thinned(model: LanguageModel, thinning: Thinning) -> LanguageModel:
    """A model of the same weights whose layers of full attention have this bounded cache. Raises BadInput if it has
    no such layers.

    The scores of `value` are untrained: train them (see l2m_design.model.value).
    """
    drawing = thinning.bounded(model.architecture)
    weight = model.embedding.weight
    result = build(drawing).to(device=weight.device, dtype=weight.dtype)
    missing, unexpected = result.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert all(".score." in name for name in missing)
    return result


class BorrowedState(NamedTuple):
    """What each layer holds, the logits [b v_] after the last token where surprise needs them, and tokens read."""

    layers: tuple[KeyValues, ...]
    logits: Tensor | None
    seen: int


class BorrowedModel:
    """A Llama-like model of Hugging Face's transformers with a bounded cache, which evicts tokens while it reads.

    Keys keep the rotary positions of the text, or are rotated to their positions in the cache after each eviction
    (StreamingLLM). What is evicted is freed. With surprise the last logits are state too. Raises BadInput for models
    with other than full attention, for `value`, which needs a trained score, and for keys that cannot be rotated.
    """

    def __init__(self, model: Any, thinning: Thinning) -> None:
        config = model.config.get_text_config()
        if set(getattr(config, "layer_types", None) or [WHOLE]) != {WHOLE} or getattr(model, "_is_stateful", False):
            raise BadInput(
                f"{config.model_type}: this rule works only for models with full attention in all layers; give "
                "`choose` use"
            )
        windowed = getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None)
        if windowed or "position_ids" not in inspect.signature(model.forward).parameters:
            raise BadInput(
                f"{config.model_type}: its cache cannot be bounded, since the model has a window or takes no "
                "position_ids"
            )
        if thinning.choose == "value":
            raise BadInput("choose (value): works for models of `l2m train` only; use another rule, such as surprise")
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.spec = thinning.layer(heads, getattr(config, "num_key_value_heads", heads), head_dim)
        self.vocabulary = int(config.vocab_size)
        self._layers = int(config.num_hidden_layers)
        self._model, self._eviction = model.eval(), Eviction(self.spec)
        self._rates = rotary_rates(self._model) if thinning.positions == "cache" else None

    def elements(self, length: int) -> int:
        """Numbers held after `length` tokens, the last logits included where surprise needs them."""
        return self._layers * self.spec.state_law(1).elements(length) + (self.vocabulary if self.spec.surprised else 0)

    def empty(self, batch: int) -> BorrowedState:
        """Nothing read yet."""
        like = self._model.get_input_embeddings().weight
        none = like.new_zeros(batch, self.spec.kv_heads, 0, self.spec.head_dim)
        held = KeyValues(none, none, none[:, 0], 0, self._eviction.new_scores(batch, 0, 0, like.device))
        logits = like.new_zeros(batch, self.vocabulary) if self.spec.surprised else None
        return BorrowedState((held,) * self._layers, logits, 0)

    def check(self, tokens: Tensor) -> None:
        """Raises BadInput when tokens [b t] are not the model's."""
        if tokens.ndim != 2 or not tokens.numel():
            raise BadInput(f"tokens: every sequence must have at least one token, found shape {list(tokens.shape)}")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocabulary:
            wrong = low if low < 0 else high
            raise BadInput(f"tokens: {wrong} is not in the vocabulary of {self.vocabulary} tokens")

    @torch.inference_mode()
    def prefill(self, tokens: Tensor, state: BorrowedState | None = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_] of tokens [b t], or of the last one [b 1 v_], and the state after them."""
        self.check(tokens)
        state, done = state or self.empty(len(tokens)), 0
        logits: list[Tensor] = []
        with self._saying_weights():
            while done < tokens.shape[1]:
                end = done + self.spec.chunk - state.seen % self.spec.chunk
                found, state = self._piece(tokens[:, done:end], state)
                logits = [found[:, -1:]] if last else [*logits, found]
                done = end
        return torch.cat(logits, dim=1), compact(state)

    def step(self, token: Tensor, state: BorrowedState) -> tuple[Tensor, Any]:
        """Logits [b v_] after one token [b], and the new state."""
        logits, state = self.prefill(token[:, None], state)
        return logits[:, 0], state

    @contextmanager
    def _saying_weights(self) -> Iterator[None]:
        """Use eager attention if the rule needs attention weights, which other implementations do not return."""
        before = self._model.config._attn_implementation
        if self.spec.choose != "attention_mass" or before == "eager":
            yield
            return
        self._model.set_attn_implementation("eager")
        try:
            yield
        finally:
            self._model.set_attn_implementation(before)

    def _evicted(self, layer: KeyValues, number: int) -> KeyValues:
        """What stays as a chunk begins. Recency evicts one run behind the sinks: later keys move up by it."""
        after = self._eviction.evict(layer)
        gone = layer.keys.shape[2] - after.keys.shape[2]
        if self._rates is None or not gone:
            return after
        sinks, later = after.keys[:, :, : self.spec.sinks], after.keys[:, :, self.spec.sinks :]
        return after._replace(keys=torch.cat([sinks, turned(later, -gone, self._rates[number])], dim=2))

    def _piece(self, tokens: Tensor, state: BorrowedState) -> tuple[Tensor, BorrowedState]:
        """Tokens that stay inside one chunk."""
        from transformers import DynamicCache

        b, t = tokens.shape
        held = [self._evicted(layer, number) for number, layer in enumerate(state.layers)]
        begin = state.seen if self._rates is None else held[0].keys.shape[2]
        cache = DynamicCache()
        for index, layer in enumerate(held):
            if layer.seen:
                cache.update(layer.keys, layer.values, index)
        said = self._model(
            tokens,
            **{cache_name(self._model): cache},
            position_ids=torch.arange(begin, begin + t, device=tokens.device).expand(b, t),
            use_cache=True,
            output_attentions=self.spec.choose == "attention_mass",
        )
        new = self._eviction.new_scores(b, state.seen, t, tokens.device)
        after = []
        for index, layer in enumerate(held):
            scores = None if layer.scores is None or new is None else torch.cat([layer.scores, new], dim=-1)
            if scores is not None and self.spec.choose == "attention_mass":
                scores = scores + said.attentions[index].float().sum(2).unflatten(1, (self.spec.kv_heads, -1)).sum(2)
            keys, values = cache.layers[index].keys, cache.layers[index].values
            after.append(layer._replace(keys=keys, values=values, scores=scores, seen=state.seen + t))
        logits = said.logits
        if state.logits is not None:
            before = torch.cat([state.logits[:, None], logits[:, :-1]], dim=1).float()
            surprise = F.cross_entropy(before.transpose(1, 2), tokens, reduction="none")
            after = [self._eviction.weigh(layer, surprise) for layer in after]
        last = None if state.logits is None else logits[:, -1]
        return logits, BorrowedState(tuple(after), last, state.seen + t)
