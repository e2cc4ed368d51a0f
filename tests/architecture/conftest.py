"""Tiny instances of the transformers classes, and a walker that sums what their caches really hold."""

import inspect
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Held(NamedTuple):
    """What one sequence's cache holds."""

    elements: int
    bytes: int


def tensors(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every tensor that a cache reaches, once; a window's size, kept as a tensor, is a constant and no state."""
    import torch

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            if name != "_sliding_window_tensor":
                yield from tensors(one, seen)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one, seen)
    elif type(value).__module__ == "transformers.cache_utils" or type(value).__name__ == "MiniMaxCache":
        yield from tensors(vars(value), seen)


def inside_modules(model: Any) -> list[Any]:
    """State that RecurrentGemma keeps in its blocks instead of a cache."""
    names = ("recurrent_states", "conv1d_state")
    return [getattr(module, name) for module in model.modules() for name in names if hasattr(module, name)]


def language_model(config: Any, **options: Any) -> tuple[Any, int]:
    """The class of a config, and the parameters of an output head where it is a text model without one of its own."""
    from transformers import AutoModel, AutoModelForCausalLM, MllamaForCausalLM

    if config.model_type == "mllama_text_model":
        return MllamaForCausalLM._from_config(config, **options), 0
    if type(config) in AutoModelForCausalLM._model_mapping:
        return AutoModelForCausalLM.from_config(config, **options), 0
    return AutoModel.from_config(config, **options), 0 if getattr(config, "tie_word_embeddings", False) else (
        config.vocab_size * config.hidden_size
    )


class Instance:
    """A transformers class of random weights in bfloat16, built from a plain config."""

    def __init__(self, config: dict[str, Any]) -> None:
        import torch
        from transformers import AutoConfig

        torch.manual_seed(0)
        self.config = AutoConfig.for_model(**config)
        model, self.head = language_model(self.config, dtype=torch.bfloat16)
        self.model = model.eval()
        self.cache = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    @property
    def parameters(self) -> int:
        """Trainable numbers, tied ones once."""
        return self.head + sum(parameter.numel() for parameter in self.model.parameters())

    def held(self, tokens: int, steps: int = 1) -> Held:
        """What the cache of one sequence holds after a prompt and `steps` decoding steps, `tokens` in all."""
        import torch

        tokens_in = torch.randint(1, 40, (1, tokens))
        cuts = [0, *range(tokens - steps, tokens + 1)]
        state: Any = None if self.config.model_type == "rwkv" else self._empty_cache()
        with torch.no_grad():
            for start, end in itertools.pairwise(cuts):
                state = self._forward(tokens_in[:, start:end], state)
        kept = [one for one in (*tensors(state, set()), *inside_modules(self.model)) if one is not None]
        return Held(sum(one.numel() for one in kept), sum(one.numel() * one.element_size() for one in kept))

    def _empty_cache(self) -> Any:
        from transformers import DynamicCache
        from transformers.models.minimax.modeling_minimax import MiniMaxCache

        return MiniMaxCache() if self.config.model_type == "minimax" else DynamicCache(config=self.config)

    def _forward(self, tokens: Any, state: Any) -> Any:
        if self.config.model_type == "rwkv":
            return self.model(tokens, state=state, use_cache=True).state
        if self.config.model_type == "recurrent_gemma" and state.get_seq_length() == 0:
            self.model.model._setup_cache(self.config, 1, tokens.device, self.model.dtype)
        self.model(tokens, use_cache=True, **{self.cache: state})
        return state


@pytest.fixture(scope="session")
def build() -> Callable[[dict[str, Any]], Instance]:
    return Instance


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a config.json; text as it is, all else as JSON."""

    def written(config: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return path

    return written
