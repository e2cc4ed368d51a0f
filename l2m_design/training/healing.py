"""Healing: how a model is adapted to its bounded cache, as values, without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Healing:
    """How a model is adapted to its bounded cache.

    tokens: that are read. method: are all weights changed, or is a product of two matrices of `rank` columns added to
    each linear layer and merged at the end (lora)? hidden: weight of the difference of hidden states beside the
    divergence of predictions (see training.distil).
    """

    tokens: int
    method: Literal["all", "lora"] = "all"
    rank: int = 16
    hidden: float = 0.0

    @property
    def name(self) -> str:
        """Tells it from others, also as a part of a file's name."""
        lora = f"-lora{self.rank}" if self.method == "lora" else ""
        return f"{self.tokens}{lora}" + (f"-hidden{self.hidden:g}" if self.hidden else "")

    def __str__(self) -> str:
        text = f"{self.tokens:,} tokens" + (f" by LoRA of rank {self.rank}" if self.method == "lora" else "")
        return text + (f", hidden states x {self.hidden:g}" if self.hidden else "")
