"""The contract of a token mixer: a sequence may be cut anywhere, steps equal one call, state is handed on."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Mixer(nn.Module, ABC):
    """Mixes tokens along time with a history state.

    A state is a NamedTuple of tensors [b ...] and integers; its tensors hold exactly the elements that the
    drawing's state law says, at every length. States are values: a call never changes the one it is given.
    """

    @abstractmethod
    def empty(self, batch: int) -> Any:
        """The state before the first token."""

    @abstractmethod
    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """y [b t d] and the state after x [b t d], any t >= 1."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """y [b d] and the state after one token x [b d]."""


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A projection without bias, normal weights of standard deviation scale / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs))
    return layer


class ShortConvolution(nn.Module):
    """Causal depthwise convolution over time: y_t = sum_i weight_i x_(t - taps + 1 + i), from the identity."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        weight = torch.randn(channels, taps) * 0.02
        weight[:, -1] += 1.0
        self.weight = nn.Parameter(weight)

    @property
    def before(self) -> tuple[int, int]:
        """Channels and columns that the convolution remembers."""
        return self.weight.shape[0], self.weight.shape[1] - 1

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """x [b t channels] after `before` [b channels taps-1] -> y [b t channels], the new `before`."""
        padded = torch.cat([before.to(x.dtype), x.transpose(1, 2)], dim=2)
        y = F.conv1d(padded, self.weight[:, None], groups=len(self.weight))
        return y.transpose(1, 2), padded[:, :, x.shape[1] :]


class RMSNorm(nn.Module):
    """x / rms(x) · weight over each of `groups` parts of the last axis, in float32 (arXiv 1910.07467)."""

    def __init__(self, width: int, groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.groups = groups
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[... d] -> [... d]."""
        full = x.float().unflatten(-1, (self.groups, -1))
        scaled = full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + self.eps)
        return scaled.flatten(-2).to(x.dtype) * self.weight
