"""LoRA (Hu et al. 2021, arXiv:2106.09685): what is trained is a product of two thin matrices beside each linear layer,
by the `peft` package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from l2m_design.errors import BadInput


def check_lora(where: str) -> None:
    """Raises BadInput, with the setting named, where `peft` is not installed."""
    if find_spec("peft") is None:
        raise BadInput(f"{where}: lora needs the package peft: pip install peft; or give method: all")


@contextmanager
def low_rank(model: Any, rank: int) -> Iterator[list[Tensor]]:
    """The weights to train meanwhile, beside every linear layer but the output head of a model of Hugging Face; they
    are merged into the model's own at the end.

    rank: columns of the thin matrices; what they add is scaled by two, and nothing at first. Raises BadInput without
    `peft`.
    """
    check_lora("method")
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    yield [weight for weight in adapted.parameters() if weight.requires_grad]
    adapted.merge_and_unload()
    for weight in model.parameters():
        weight.requires_grad_(False)
