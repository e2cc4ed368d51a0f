"""Keys moved to other rotary positions: those of a Hugging Face model, whose rates are read off and tried."""

import inspect
from typing import Any

import torch
from torch import Tensor

from l2m_design.errors import BadInput

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
    """[k/2] radians a position of a Hugging Face model's rotary keys. Raises BadInput where keys turn otherwise."""
    from transformers import DynamicCache

    rates = getattr(getattr(model.base_model, "rotary_emb", None), "inv_freq", None)
    if rates is not None:
        token = torch.zeros(1, 1, dtype=torch.long, device=rates.device)
        keys = []
        for position in (0, PROBE):
            cache = DynamicCache()
            model(token, **{cache_name(model): cache}, position_ids=token + position, use_cache=True)
            keys.append(cache.layers[0].keys)
        error = (turned(keys[0], PROBE, rates) - keys[1]).abs().max()
        if error <= 1e-2 * keys[1].abs().max():
            return rates
    raise BadInput(
        f"{model.config.model_type}: its keys cannot be moved to other positions (no rotary positions, or others than "
        "Llama's); keep those of the text"
    )


def cache_name(model: Any) -> str:
    """What a Hugging Face model calls its cache: until transformers 5.23, past_key_values."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
