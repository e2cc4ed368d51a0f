"""What every drawn mixer answers, and the types that their fields share."""

from abc import abstractmethod
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from l2m_design.laws import Fixed, Growth, StateLaw, StateTerm
from l2m_design.settings import Values

CHUNK = 64  # tokens of a chunk of the scans, which work as attention inside one

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Taps = Annotated[int, Field(ge=2, le=16)]
StateDtype = Literal["float32", "bfloat16", "float16"]


class MixerBase(Values):
    """The mixer of a layer. State elements and parameters are exact integers, flops are approximate.

    kind: the mixer type.
    """

    kind: str

    @property
    @abstractmethod
    def letter(self) -> str:
        """One letter for the picture of a model."""

    @property
    def state_kind(self) -> str:
        """Which of laws.STATE_KINDS its state is: the kind, but for attention in a window."""
        return self.kind

    def misfit(self, width: int) -> str | None:
        """Why the mixer cannot be built at this model width, if it cannot."""
        return None

    def too_short(self, length: int) -> str | None:
        """Why a context of `length` tokens does not suit the mixer, if it does not."""
        return None

    @abstractmethod
    def state_law(self, width: int) -> StateLaw:
        """History state of one sequence, in elements by context length."""

    @abstractmethod
    def parameters(self, width: int) -> int:
        """Trainable numbers."""

    @abstractmethod
    def flops(self, width: int, length: int) -> int:
        """Floating-point operations of one forward pass over one sequence of `length` tokens."""


def convolution_law(channels: int, taps: int | None) -> StateLaw:
    """The last taps - 1 inputs of a causal depthwise convolution, none without one."""
    return StateLaw((StateTerm(channels * (taps - 1), Fixed()),)) if taps else StateLaw()


@lru_cache(maxsize=4096)
def sum_of_counts(growth: Growth, length: int) -> int:
    """About the sum over t <= length of the slots held after t tokens, from 65 lengths (trapezoids)."""
    at = np.unique(np.linspace(1, length, 65).astype(np.int64))
    held = [growth.count(int(t)) for t in at]
    return int(np.trapezoid(held, at) + (held[0] + held[-1]) / 2)
