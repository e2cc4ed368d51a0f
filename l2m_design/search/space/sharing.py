"""Drawn layers as mixers: each is read once, and one that shares finds the nearest earlier cache like its own."""

import json
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from l2m_design.architecture import MixerSpec
from l2m_design.architecture.mixers import KeyValueMixer
from l2m_design.settings import Values

NEAREST = "nearest"
SHARING = ("attention", "sparse_attention", "mla")


class _Mixers(Values):
    layers: Annotated[tuple[MixerSpec, ...], Field(strict=False)]


@lru_cache(maxsize=65536)
def _read(text: str) -> MixerSpec:
    return _Mixers.parse({"layers": [json.loads(text)]}, "kinds").layers[0]


def own(layer: dict[str, Any]) -> MixerSpec:
    """The mixer of a drawn layer, its cache its own. Raises BadInput where no mixer is like that."""
    return _read(json.dumps({name: value for name, value in layer.items() if name != "share"}))


def shares(layer: dict[str, Any], spec: MixerSpec) -> bool:
    """Would the layer read a cache like its own, were there one before it?"""
    return layer.get("share") == NEAREST and isinstance(spec, KeyValueMixer) and spec.lends


def mixers(layers: list[dict[str, Any]]) -> tuple[MixerSpec, ...]:
    """The drawn layers; one that shares the nearest cache like its own keeps one where there is none before it."""
    specs = [own(layer) for layer in layers]
    keeps: list[tuple[int, dict[str, Any]]] = []
    for index, (layer, spec) in enumerate(zip(layers, specs, strict=True)):
        if not isinstance(spec, KeyValueMixer):
            continue
        like = [other for other, cache in keeps if cache == spec.cache] if shares(layer, spec) else []
        if like:
            specs[index] = spec.model_copy(update={"share": like[-1]})
        else:
            keeps.append((index, spec.cache))
    return tuple(specs)
