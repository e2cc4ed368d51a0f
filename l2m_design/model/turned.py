"""Keys moved to other rotary positions: those of a Hugging Face model, whose rates are read off and tried."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture.plans import ADOPTABLE
from l2m_design.errors import BadInput
from l2m_design.model.hybrid import cache_name, recurrent_layers

PROBE = 64  # positions that a key is turned by, to see whether the model would


def turned(keys: Tensor, by: int | Tensor, rates: Tensor) -> Tensor:
    """Keys [b g t k] moved by so many positions, or each by its own number [t 1].

    rates [k/2 or fewer]: radians a position, of channels in Llama's two halves.
    """
    angles = by * rates.to(keys.device, torch.float32)
    cos, sin = angles.cos(), angles.sin()
    first, second, rest = keys.float().split([len(rates), len(rates), keys.shape[-1] - 2 * len(rates)], dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1).to(keys.dtype)


@torch.inference_mode()
def rotary_rates(model: Any) -> Tensor:
    """[layers k/2] radians a position of a Hugging Face model's rotary keys, 0 in layers whose keys do not turn.

    Raises BadInput where keys turn otherwise, or by rates that change with the length of the text.
    """
    config = model.config.get_text_config()
    scaled = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = scaled.get("rope_type", scaled.get("type")) if isinstance(scaled, dict) else None
    rates = getattr(getattr(model.base_model, "rotary_emb", None), "inv_freq", None)
    if rates is not None and kind not in ("dynamic", "longrope"):
        one, other = _keys_at(model, 0), _keys_at(model, PROBE)
        found = [None if a is None or b is None else _turns(a, b, rates) for a, b in zip(one, other, strict=True)]
        if "otherwise" not in found and "turns" in found:
            return torch.stack([rates if how == "turns" else 0 * rates for how in found])
    raise BadInput(
        f"{model.config.model_type}: its keys cannot be moved to other positions, since it does not have Llama's "
        f"rotary positions{f' (but {kind})' if kind else ''}; give a model with {ADOPTABLE}"
    )


def _turns(one: Tensor, other: Tensor, rates: Tensor) -> str:
    """How a key moves from one position to the other: still, turns by the rates, or otherwise."""
    if torch.allclose(one, other, rtol=1e-3, atol=1e-6):
        return "still"
    missing = float((turned(one, PROBE, rates) - other).abs().max())
    return "turns" if missing <= 1e-2 * float(other.abs().max()) else "otherwise"


def _keys_at(model: Any, position: int) -> list[Tensor | None]:
    """The keys of every layer [b g 1 k] for one token of random embedding at a position; None where it has none."""
    from transformers import DynamicCache

    weight = model.get_input_embeddings().weight
    cache = DynamicCache(config=model.config) if recurrent_layers(model.config) else DynamicCache()
    drawn = torch.randn(1, 1, weight.shape[1], generator=torch.Generator().manual_seed(0))
    given = {"inputs_embeds": (drawn * weight.float().std().cpu()).to(weight), cache_name(model): cache}
    at = torch.full((1, 1), position, device=weight.device)
    model(**given, position_ids=at, use_cache=True)
    keys = [getattr(layer, "keys", None) for layer in cache.layers]
    return [None if key is None else key.float() for key in keys]
