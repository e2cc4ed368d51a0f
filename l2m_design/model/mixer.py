"""The contract of a token mixer: a sequence may be cut anywhere, steps equal one call, state is handed on."""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.model.precision import as_projected, wide

EPS = 1e-5  # of the mean square that norms divide by


class Pass(NamedTuple):
    """What a pass over tokens gives to the layers besides the tokens.

    surprise: [b t] nats of each token, where they are known before the pass; without, what needs them reads at most one
    chunk at a time (LanguageModel sees to it). scope: sparse layers read what they keep, `all` or the `local` chunks.
    seen: list to which layers with trained scores append (themselves, their inputs). softness: of the choice by use,
    in nats, while a model trains (see soft).
    """

    surprise: Tensor | None = None
    scope: Literal["kept", "all", "local"] = "kept"
    seen: list[Any] | None = None
    softness: float | None = None


PLAIN = Pass()


class Mixer(nn.Module, ABC):
    """Mixes tokens along time with a history state.

    A state is a NamedTuple of tensors [b ...] and integers (and memory to grow in, see growing); at every length its
    tensors have exactly the elements of the state law of the architecture. States are values: a call never changes the
    one it is given.
    """

    @abstractmethod
    def empty(self, batch: int) -> Any:
        """The state before the first token."""

    @abstractmethod
    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """y [b t d] and the state after x [b t d], any t >= 1."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """y [b d] and the state after one token x [b d]: by default a sequence of one."""
        y, state = self(x[:, None], state)
        return y[:, 0], state

    def lending(self, x: Tensor, state: Any, lent: Any, given: Pass = PLAIN) -> tuple[Tensor, Any, Any]:
        """`forward` with what an earlier layer lends, and what this layer lends to later ones: here nothing."""
        y, state = self(x, state)
        return y, state, None

    def weigh(self, state: Any, surprise: Tensor) -> Any:
        """The state, told the nats [b n] of the last n tokens read: here they do not matter."""
        return state


def zeros_beside(weight: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Zeros on a weight's device, plain ones where the weight is divided among processes."""
    return torch.zeros(shape, device=weight.device, dtype=dtype or weight.dtype)


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A projection without bias, normal weights of standard deviation scale / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs))
    return layer


class ShortConvolution(nn.Module):
    """Causal depthwise convolution over time: y_t = bias + sum_i weight_i x_(t - taps + 1 + i).

    Starts near the identity; with `bias`, as Mamba's does: uniform in ±1/sqrt(taps).
    """

    def __init__(self, channels: int, taps: int, bias: bool = False) -> None:
        super().__init__()
        weight = torch.randn(channels, taps) * 0.02
        weight[:, -1] += 1.0
        self.bias: nn.Parameter | None = None
        if bias:
            bound = 1 / math.sqrt(taps)
            weight.uniform_(-bound, bound)
            self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.weight = nn.Parameter(weight)

    def empty(self, batch: int) -> Tensor:
        """[b taps-1 channels] zeros: nothing was read."""
        channels, taps = self.weight.shape
        return zeros_beside(self.weight, batch, taps - 1, channels)

    def forward(self, parts: list[Tensor], before: Tensor) -> tuple[list[Tensor], Tensor]:
        """parts [b t .], together `channels` wide, after `before` [b taps-1 channels] -> the same parts convolved, the
        new `before`.
        """
        sizes = [part.shape[-1] for part in parts]
        weights = self.weight.to(parts[0].dtype).split(sizes)
        biases = [None] * len(parts) if self.bias is None else self.bias.to(parts[0].dtype).split(sizes)
        mixed, after = [], []
        for part, held, weight, bias in zip(parts, before.split(sizes, dim=-1), weights, biases, strict=True):
            padded = torch.cat([held.to(part.dtype), part], dim=1)
            mixed.append(cast("Tensor", _Convolution.apply(padded, weight, bias)))
            after.append(padded[:, part.shape[1] :])
        return mixed, torch.cat(after, dim=-1)


class _Convolution(torch.autograd.Function):
    """padded [b t+taps-1 c], weight [c taps], bias [c] or None; channels stay last, so nothing is transposed."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(padded, weight)
        ctx.biased = bias is not None
        return _depthwise(padded, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        padded, weight = ctx.saved_tensors
        dy, taps = gradients[0], weight.shape[1]
        dpadded = _depthwise(F.pad(dy, (0, 0, taps - 1, taps - 1)), weight.flip(1), None)
        dtaps = [(dy * padded[:, tap : tap + dy.shape[1]]).sum((0, 1)) for tap in range(taps)]
        return dpadded, torch.stack(dtaps, dim=1), dy.sum((0, 1)) if ctx.biased else None


def _depthwise(padded: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[b t c] by the channels-last convolution of images one row high."""
    image = padded.transpose(1, 2).unsqueeze(2)
    y = F.conv2d(image, weight[:, None, None], bias, groups=len(weight))
    return y.squeeze(2).transpose(1, 2)


class GatedNorm(nn.Module):
    """RMSNorm of y · silu(gate) over each of `groups` parts of the last axis, as in Mamba-2.

    Keeps y and the gate alone for the gradient: on a CPU by gradients written out, in one pass of memory; on a GPU by
    running the few fused kernels of `gated_norm` again.
    """

    def __init__(self, width: int, groups: int = 1, eps: float = EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.groups, self.eps = groups, eps

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:
        """[... d], [... d] -> [... d]; float32 inside."""
        given = (y, gate, self.weight, self.groups, self.eps)
        with torch.autocast(y.device.type, enabled=False):
            if y.device.type == "cpu":
                return cast("Tensor", _GatedNorm.apply(*given))
            if not torch.is_grad_enabled():
                return gated_norm(*given)
            return cast("Tensor", checkpoint(gated_norm, *given, use_reentrant=False, preserve_rng_state=False))


def gated_norm(y: Tensor, gate: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
    """[... d] in the gate's dtype; see GatedNorm."""
    gated = _parts(F.silu(wide(gate)) * y, groups)
    size = gated.shape[-1:]
    if groups == 1:
        return F.rms_norm(gated, size, wide(weight), eps).flatten(-2).to(gate.dtype)
    return (F.rms_norm(gated, size, None, eps).flatten(-2) * weight).to(gate.dtype)


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, gate: Tensor, weight: Tensor, groups: int, eps: float) -> Tensor:
        ctx.save_for_backward(y, gate, weight)
        ctx.groups, ctx.eps = groups, eps
        gated = F.silu(wide(gate)).mul_(y)
        scale = _inverse_rms(gated, groups, eps)
        return _parts(gated, groups).mul_(scale).flatten(-2).mul_(weight).to(gate.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        y, gate, weight = ctx.saved_tensors
        groups, dout = ctx.groups, wide(gradients[0])
        opened = F.silu(wide(gate))
        gated = opened * y
        scale = _inverse_rms(gated, groups, ctx.eps)
        normed = _parts(gated, groups).mul_(scale).flatten(-2)
        dweight = (dout * normed).flatten(0, -2).sum(0)
        dnormed = dout * weight
        along = (_parts(dnormed * normed, groups)).mean(-1, keepdim=True)
        dgated = _parts(dnormed, groups).addcmul_(_parts(normed, groups), along, value=-1).mul_(scale).flatten(-2)
        dgate = torch.ops.aten.silu_backward(dgated * y, wide(gate))
        return dgated.mul_(opened).to(y.dtype), dgate.to(gate.dtype), dweight, None, None


def _parts(z: Tensor, groups: int) -> Tensor:
    return z.unflatten(-1, (groups, -1))


def _inverse_rms(z: Tensor, groups: int, eps: float) -> Tensor:
    """[... groups 1] of [... d]."""
    parts = _parts(z, groups)
    return torch.rsqrt(torch.linalg.vecdot(parts, parts)[..., None] / parts.shape[-1] + eps)


class RMSNorm(nn.Module):
    """x / rms(x) · weight over the last axis, float32 inside (arXiv 1910.07467).

    Under autocast x is cast before, so that what follows reads the result as it is.
    """

    def __init__(self, width: int, eps: float = EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[... d] -> [... d]."""
        x = as_projected(x)
        with torch.autocast(x.device.type, enabled=False):  # it would compute in float32, and cast again
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)  # fused in one dtype alone


def log_uniform_steps(count: int, low: float, high: float, floor: float = 0.0) -> Tensor:
    """[count] biases whose softplus is log-uniform between low and high: how Mamba's step sizes start."""
    dt = torch.exp(torch.rand(count) * math.log(high / low) + math.log(low)).clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))
