"""Hybrid models of Hugging Face: states of their recurrent layers, handed in and out of a call as values."""

import inspect
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from l2m_design.architecture.plans import RECURRENT
from l2m_design.errors import BadInput

NEEDED = "transformers 5.24 or later"


class Recurrent(NamedTuple):
    """What a recurrent layer keeps: the last inputs of its convolution [b d taps], and a memory [b ...]; each None
    where the layer has none.
    """

    columns: Tensor | None
    memory: Tensor | None


def cache_for(model: Any, states: tuple[Recurrent, ...]) -> Any:
    """A cache of transformers for one call: recurrent layers go on from copies of their states, in the order of layers
    (from nothing where there are none), and attention is given back its new keys and values alone.

    Raises BadInput where transformers is too old to keep these states apart.
    """
    try:
        from transformers.cache_utils import DynamicCache, DynamicLayer, LinearAttentionLayer

        LinearAttentionLayer(number_of_states=1)
    except (ImportError, TypeError):
        raise BadInput(f"{model.config.model_type}: its recurrent layers need {NEEDED}") from None

    class Passing(DynamicLayer):  # type: ignore[misc]
        """Stores nothing."""

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            return key_states, value_states

    cache, given = DynamicCache(config=model.config), iter(states)
    for at, layer in enumerate(cache.layers):
        if not isinstance(layer, LinearAttentionLayer):
            cache.layers[at] = Passing()
            continue
        layer.update_recurrent_state = partial(_assigned, layer)
        if states:
            _load(layer, next(given))
    return cache


def _assigned(layer: Any, recurrent_states: Tensor, state_idx: int = 0, **_: Any) -> Tensor:
    """In the place of a layer's update, which overwrites the tensor that a backward pass still needs."""
    layer.recurrent_states[state_idx], layer.is_recurrent_states_initialized[state_idx] = recurrent_states, True
    return recurrent_states


def _load(layer: Any, state: Recurrent) -> None:
    if state.columns is not None:
        layer.conv_states[0], layer.is_conv_states_initialized[0] = state.columns.clone(), True
        layer.conv_kernel_size[0] = state.columns.shape[-1]
    if state.memory is not None:
        layer.recurrent_states[0], layer.is_recurrent_states_initialized[0] = state.memory.clone(), True
    layer.has_previous_state[0] = True
    found = next(z for z in state if z is not None)
    layer.dtype, layer.device = found.dtype, found.device


def states_in(cache: Any) -> tuple[Recurrent, ...]:
    """The states of the recurrent layers after a call, in the order of layers."""
    return tuple(
        Recurrent(layer.conv_states[0], layer.recurrent_states[0])
        for layer in cache.layers
        if hasattr(layer, "recurrent_states")
    )


def recurrent_layers(config: Any) -> list[int]:
    """The recurrent layers of a config of Hugging Face."""
    types = getattr(config.get_text_config(), "layer_types", None) or []
    return [at for at, kind in enumerate(types) if kind in RECURRENT]


@torch.inference_mode()
def sizes_of(model: Any) -> list[tuple[int, int]]:
    """Of each recurrent layer, numbers that a sequence keeps in the model's own type and in float32, as one token
    leaves them.
    """
    if not recurrent_layers(model.config):
        return []
    cache, device = cache_for(model, ()), model.get_input_embeddings().weight.device
    model(torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=True, **{cache_name(model): cache})
    return [(_count(state.columns), _count(state.memory)) for state in states_in(cache)]


def _count(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel()


def cache_name(model: Any) -> str:
    """What a Hugging Face model calls its cache: until transformers 5.23, past_key_values."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
