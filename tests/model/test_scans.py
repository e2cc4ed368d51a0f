"""Every recurrent mixer against its recurrence, one token at a time, gradients included."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_design.architecture import Attention, GatedDeltaNet, Mamba1, Mamba2
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.delta_rule import delta_scan
from l2m_design.model.mixer import EPS, GatedNorm, RMSNorm, ShortConvolution, gated_norm
from l2m_design.model.selective import RUN, in_runs, selective_scan
from l2m_design.model.ssd import chunked_scan
from l2m_design.model.ssm import A_RANGE, DT_RANGE

LENGTHS = pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 200])


def draw(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(map(sum, shapes)))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def assert_same(fast: Callable[..., Any], slow: Callable[..., Any], inputs: list[Tensor]) -> None:
    """Outputs and the gradients of a random combination of them."""
    results = []
    for function in (fast, slow):
        outputs = function(*inputs)
        total = sum((z * torch.cos(torch.arange(z.numel(), dtype=z.dtype)).view_as(z)).sum() for z in outputs)
        assert isinstance(total, Tensor)
        results.append([*outputs, *torch.autograd.grad(total, inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@LENGTHS
@pytest.mark.parametrize("groups", [1, 3])
def test_the_chunked_scan_equals_the_recurrence(length: int, groups: int) -> None:
    def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        dt, A, y = dt.abs(), -A.abs(), []
        B, C = (z.repeat_interleave(3 // groups, dim=2) for z in (B, C))
        for t in range(length):
            added = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
            state = state * (dt[:, t] * A).exp()[..., None, None] + added
            y.append((state * C[:, t, :, None]).sum(-1))
        return torch.stack(y, dim=1), state

    def fast(x: Tensor, dt: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        return chunked_scan(x, dt.abs(), -A.abs(), *rest)

    shapes = [(2, length, 3, 5), (2, length, 3), (3,), (2, length, groups, 4), (2, length, groups, 4), (2, 3, 5, 4)]
    assert_same(fast, recurrence, draw(*shapes))


@LENGTHS
def test_the_selective_scan_equals_the_recurrence(length: int) -> None:
    def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y = []
        for t in range(length):
            step = dt[:, t, :, None].abs()
            state = state * (step * -A.abs()).exp() + step * x[:, t, :, None] * B[:, t, None]
            y.append((state * C[:, t, None]).sum(-1))
        return torch.stack(y, dim=1), state

    def fast(x: Tensor, dt: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(x, dt.abs(), -A.abs(), *rest)

    shapes = [(2, length, 5), (2, length, 5), (5, 3), (2, length, 3), (2, length, 3), (2, 5, 3)]
    assert_same(fast, recurrence, draw(*shapes))


@LENGTHS
def test_the_delta_scan_equals_the_recurrence(length: int) -> None:
    def ranges(key: Tensor, write: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return F.normalize(key, dim=-1), write.sigmoid(), -decay.abs()

    def recurrence(query: Tensor, key: Tensor, value: Tensor, write: Tensor, decay: Tensor, memory: Tensor) -> Any:
        key, write, decay = ranges(key, write, decay)
        y = []
        for t in range(length):
            k, v, beta = key[:, t, :, None], value[:, t, :, :, None], write[:, t, :, None, None]
            memory = decay[:, t].exp()[..., None, None] * (memory - beta * (memory @ k.mT) @ k) + beta * v @ k
            y.append((memory * query[:, t, :, None]).sum(-1))
        return torch.stack(y, dim=1), memory

    def fast(query: Tensor, key: Tensor, value: Tensor, write: Tensor, decay: Tensor, memory: Tensor) -> Any:
        key, write, decay = ranges(key, write, decay)
        return delta_scan(query, key, value, write, decay, memory)

    shapes = [(2, length, 2, 3), (2, length, 2, 3), (2, length, 2, 4), (2, length, 2), (2, length, 2), (2, 2, 4, 3)]
    assert_same(fast, recurrence, draw(*shapes))


def close(mixer: Any, y: Tensor, new: Any) -> Tensor:
    """Mamba-2's end by its definition: D, the gate, the norm over each group, the output projection."""
    y = (y + mixer.D[:, None] * new.values).flatten(-2) * F.silu(new.gate)
    parts = y.unflatten(-1, (mixer.spec.groups, -1))
    normed = (parts / (parts.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()).flatten(-2) * mixer.norm.weight
    return mixer.out(normed)


def selected(mixer: Any, x: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
    """What the tokens do, B and C of every head, and the log decays [b t h]."""
    new = mixer.select(x, mixer.empty(len(x)).conv)
    share = mixer.heads // mixer.spec.groups
    B, C = (z.repeat_interleave(share, dim=2) for z in (new.B, new.C))
    return new, B, C, new.dt * mixer.rates


def test_mamba2_equals_its_definition() -> None:
    torch.manual_seed(0)
    mixer: Any = build_mixer(Mamba2(d_state=5, head_dim=4, groups=2), 16)
    x = torch.randn(2, 90, 16)
    with torch.no_grad():
        new, B, C, log_decay = selected(mixer, x)
        state, y = torch.zeros(2, 8, 4, 5), []
        for t in range(90):
            added = (new.dt[:, t, :, None] * new.values[:, t])[..., None] * B[:, t, :, None]
            state = state * log_decay[:, t].exp()[..., None, None] + added
            y.append((state * C[:, t, :, None]).sum(-1))
        expected = close(mixer, torch.stack(y, dim=1), new)
        torch.testing.assert_close(mixer(x, mixer.empty(2))[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, RUN - 1, RUN, 3 * RUN, 3 * RUN + 7])
def test_a_recurrence_in_runs_equals_the_recurrence(length: int) -> None:
    added, decay, start = (z.detach() for z in draw((length, 2, 3), (length, 2, 3), (2, 3)))
    decay, state, expected = decay.sigmoid(), start, []
    for t in range(length):
        state = added[t] + decay[t] * state
        expected.append(state)
    torch.testing.assert_close(in_runs(added.clone(), decay, start), torch.stack(expected), atol=1e-12, rtol=0)


def test_strong_decay_does_not_overflow_in_either_direction() -> None:
    x = torch.randn(1, 256, 2, 4)
    B, C = torch.randn(2, 1, 256, 2, 4)
    dt = torch.full((1, 256, 2), 50.0).requires_grad_()
    y, _ = chunked_scan(x, dt, -torch.ones(2), B, C)
    y.sum().backward()
    assert y.isfinite().all()
    assert dt.grad is not None
    assert dt.grad.isfinite().all()
    log_decay = torch.full((1, 256, 2), -50.0).requires_grad_()
    y, _ = delta_scan(x, x, x, torch.full((1, 256, 2), 0.5), log_decay, torch.zeros(1, 2, 4, 4))
    y.sum().backward()
    assert log_decay.grad is not None
    assert log_decay.grad.isfinite().all()


def test_state_spaces_start_as_published() -> None:
    torch.manual_seed(0)
    mamba2: Any = build_mixer(Mamba2(d_state=8, head_dim=2), 128)
    mamba1: Any = build_mixer(Mamba1(d_state=8), 128)
    delta: Any = build_mixer(GatedDeltaNet(heads=64, head_dim=2), 128)
    for bias in (mamba2.dt_bias, mamba1.steps.bias, delta.dt_bias):
        dt = F.softplus(bias)
        assert DT_RANGE[0] * 0.99 <= dt.min() <= dt.max() <= DT_RANGE[1] * 1.01
        assert dt.max() > 10 * dt.min()
    assert A_RANGE[0] <= mamba2.A_log.exp().min() <= mamba2.A_log.exp().max() <= A_RANGE[1]
    torch.testing.assert_close(mamba1.A_log.exp(), torch.arange(1.0, 9.0).repeat(256, 1))
    assert delta.A_log.exp().max() <= 16
    assert (mamba2.D == 1).all()
    assert (mamba1.D == 1).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_a_short_convolution_equals_its_sum(bias: bool, length: int) -> None:
    convolution = ShortConvolution(5, 4, bias).double()
    x, y, before = draw((2, length, 2), (2, length, 3), (2, 3, 5))

    def slow(x: Tensor, y: Tensor, before: Tensor) -> list[Tensor]:
        padded = torch.cat([before, torch.cat([x, y], dim=-1)], dim=1)
        added = 0 if convolution.bias is None else convolution.bias
        out = sum(padded[:, tap : tap + length] * convolution.weight[:, tap] for tap in range(4)) + added
        return [out, padded[:, -3:]]

    def fast(x: Tensor, y: Tensor, before: Tensor) -> list[Tensor]:
        parts, after = convolution([x, y], before)
        return [torch.cat(parts, dim=-1), after]

    assert_same(fast, slow, [x, y, before])
    weights = list(convolution.parameters())
    ours, theirs = (torch.autograd.grad(f(x, y, before)[0].cos().sum(), weights) for f in (fast, slow))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def normed(x: torch.Tensor, weight: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """RMSNorm by its formula."""
    parts = x.float().unflatten(-1, (groups, -1))
    scaled = parts * torch.rsqrt(parts.pow(2).mean(-1, keepdim=True) + EPS)
    return (scaled.flatten(-2) * weight.float()).to(x.dtype)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", ["on a CPU", "on a GPU"])
def test_the_gated_norm_and_its_gradient_equal_the_formula(groups: int, form: str) -> None:
    norm = GatedNorm(6, groups)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6))
    y, gate = (z.detach().float().requires_grad_() for z in draw((2, 3, 6), (2, 3, 6)))
    fast = norm(y, gate) if form == "on a CPU" else gated_norm(y, gate, norm.weight, groups, norm.eps)
    slow = normed(y * F.silu(gate), norm.weight, groups)
    torch.testing.assert_close(fast, slow)
    ours = torch.autograd.grad(fast.cos().sum(), [y, gate, norm.weight])
    theirs = torch.autograd.grad(slow.cos().sum(), [y, gate, norm.weight])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("held", ["float32", "bfloat16", "under autocast"])
def test_the_norm_and_its_gradient_equal_the_formula(held: str) -> None:
    norm, near = RMSNorm(24), {} if held == "float32" else {"atol": 0.05, "rtol": 0.02}
    with torch.no_grad():
        norm.weight.copy_(torch.randn(24))
    (x,) = (z.float() for z in draw((2, 3, 24)))
    x = (x.bfloat16() if held == "bfloat16" else x).detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=held == "under autocast"):
        fast = norm(x)
    assert fast.dtype == (torch.float32 if held == "float32" else torch.bfloat16)
    slow = normed(x, norm.weight)
    torch.testing.assert_close(fast.float(), slow.float(), **near)
    ours = torch.autograd.grad(fast.float().cos().sum(), [x, norm.weight])
    theirs = torch.autograd.grad(slow.float().cos().sum(), [x, norm.weight])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **near)


class Casts(TorchDispatchMode):
    """Counts tensors [b t d] that are cast to bfloat16."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.count += tuple(out.shape) == self.shape and args[0].dtype == torch.float32
        return out


@pytest.mark.parametrize("spec", [Attention(heads=2, kv_heads=2, head_dim=6), Mamba2(d_state=8, head_dim=6)], ids=str)
def test_the_residual_is_cast_once_for_all_projections(spec: Any) -> None:
    norm, mixer = RMSNorm(18), build_mixer(spec, 18)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        x = norm(torch.randn(2, 40, 18))
        with Casts((2, 40, 18)) as casts:
            mixer(x, mixer.empty(2))
    assert x.dtype == torch.bfloat16
    assert casts.count == 0


def test_the_gated_norm_is_exact_under_autocast() -> None:
    norm = GatedNorm(64)
    y, gate = (z.detach().float().requires_grad_() for z in draw((8, 64), (8, 64)))
    expected = norm(y, gate)
    gradients = torch.autograd.grad(expected.cos().sum(), [y, gate])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = norm(y, gate)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found.cos().sum(), [y, gate]), gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("spec", [Mamba2(d_state=8, head_dim=4), GatedDeltaNet(heads=2, head_dim=8)], ids=str)
def test_states_stay_exact_under_autocast(spec: Any) -> None:
    """bfloat16 is for projections: prefill and steps must agree on the recurrence."""
    torch.manual_seed(0)
    mixer: Any = build_mixer(spec, 16)
    x = torch.randn(1, 100, 16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        _, whole = mixer(x, mixer.empty(1))
        state = mixer.empty(1)
        for t in range(100):
            _, state = mixer.step(x[:, t], state)
    assert whole.ssm.dtype == torch.float32
    torch.testing.assert_close(whole.ssm, state.ssm, atol=1e-4, rtol=1e-3)
