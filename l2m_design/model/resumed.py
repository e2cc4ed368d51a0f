"""Resumed passes: what enters each layer of a model of Hugging Face is recorded once, and passes begin at any layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from l2m_design.architecture.plans import ADOPTABLE
from l2m_design.errors import BadInput


def decoder_layers(model: Any) -> nn.ModuleList:
    """The layers of a causal language model. Raises BadInput where they are not those of a plain decoder."""
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not any(hasattr(layer, "self_attn") for layer in layers):
        raise BadInput(
            f"{model.config.model_type}: its layers are not those of a plain decoder (base_model.layers with self_attn)"
            f"; give a model with {ADOPTABLE}"
        )
    return layers


@contextmanager
def recorded(model: Any) -> Iterator[list[Tensor]]:
    """The list fills, in passes meanwhile, with what enters each layer: [b t d]."""
    found: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, given: found.append(entering(args, given)), with_kwargs=True)
        for layer in decoder_layers(model)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def resumed(model: Any, first: int, hidden: Tensor) -> Iterator[None]:
    """Passes meanwhile begin at layer `first` with hidden states [b t d]; the layers below it do not compute."""
    layers = decoder_layers(model)
    try:
        for layer in layers[:first]:
            layer.forward = _passed  # in the place of the class's own, which comes back when it is deleted
        hook = layers[first].register_forward_pre_hook(
            lambda _, args, given: _with(hidden, args, given), with_kwargs=True
        )
        try:
            yield
        finally:
            hook.remove()
    finally:
        for layer in layers[:first]:
            layer.__dict__.pop("forward", None)


def entering(args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
    """The hidden states among a layer's arguments."""
    hidden: Tensor = args[0] if args else given["hidden_states"]
    return hidden


def _passed(*args: Any, **given: Any) -> Tensor:
    return entering(args, given)


def _with(hidden: Tensor, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((hidden, *args[1:]), given) if args else (args, given | {"hidden_states": hidden})
