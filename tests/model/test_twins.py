"""Every fast form against a slow naive twin written from the definition."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_design.architecture import Attention, Mamba2, SparseAttention
from l2m_design.model.language import build_mixer
from l2m_design.model.rotary import rotate
from l2m_design.model.ssm import A_RANGE, DT_RANGE, chunked_scan

WIDTH, LENGTH = 24, 75


def attention_by_definition(mixer: Any, x: Tensor, reads: Tensor) -> Tensor:
    """Softmax over the keys that reads [t s] allows, one query and head at a time."""
    query, key, value, _ = mixer.project(x, mixer.empty(len(x)))
    share = mixer.heads // mixer.kv_heads
    y = torch.zeros_like(query)
    for head in range(mixer.heads):
        for t in range(x.shape[1]):
            seen = reads[t].nonzero()[:, 0]
            scores = (key[:, head // share, seen] @ query[:, head, t, :, None])[..., 0] / math.sqrt(mixer.head_dim)
            y[:, head, t] = (scores.softmax(-1)[:, None] @ value[:, head // share, seen])[:, 0]
    return mixer.merge(y)


@pytest.mark.parametrize(
    "spec",
    [
        Attention(heads=4, kv_heads=2, head_dim=6),
        Attention(heads=2, kv_heads=2, head_dim=6, qk_norm=True, short_conv=3),
        Attention(heads=4, kv_heads=1, head_dim=6, window=1),
        Attention(heads=4, kv_heads=1, head_dim=6, window=10),
        Attention(heads=4, kv_heads=1, head_dim=6, window=200),
        SparseAttention(heads=4, kv_heads=2, head_dim=6, chunk=4, exponent=0.5),
        SparseAttention(heads=4, kv_heads=2, head_dim=6, chunk=8, exponent=0.8, keep=0.5, short_conv=4),
        SparseAttention(heads=2, kv_heads=1, head_dim=6, chunk=2, exponent=1.0),
    ],
    ids=str,
)
def test_attention_equals_its_definition(spec: Attention | SparseAttention) -> None:
    torch.manual_seed(0)
    mixer = build_mixer(spec, WIDTH)
    x = torch.randn(2, LENGTH, WIDTH)
    reads = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    for t in range(LENGTH):
        if isinstance(spec, SparseAttention):
            reads[t, spec.growth.positions(t + 1)] = True
        else:
            reads[t, max(0, t + 1 - (spec.window or t + 1)) : t + 1] = True
    with torch.no_grad():
        y, _ = mixer(x, mixer.empty(2))
        torch.testing.assert_close(y, attention_by_definition(mixer, x, reads), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_the_chunked_scan_equals_the_recurrence(length: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, length, 3, 5, dtype=torch.float64)
    B, C = torch.randn(2, 2, length, 3, 4, dtype=torch.float64)
    log_decay = -torch.rand(2, length, 3, dtype=torch.float64) * 2
    start = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    y, final = chunked_scan(x, log_decay, B, C, start)
    state, expected = start, []
    for t in range(length):
        state = state * log_decay[:, t].exp()[..., None, None] + x[:, t, :, :, None] * B[:, t, :, None, :]
        expected.append((state * C[:, t, :, None, :]).sum(-1))
    torch.testing.assert_close(y, torch.stack(expected, dim=1), atol=1e-10, rtol=0)
    torch.testing.assert_close(final, state, atol=1e-10, rtol=0)


def test_strong_decay_does_not_overflow_in_either_direction() -> None:
    x = torch.randn(1, 256, 2, 4)
    B, C = torch.randn(2, 1, 256, 2, 4)
    log_decay = torch.full((1, 256, 2), -50.0).requires_grad_()
    y, _ = chunked_scan(x, log_decay, B, C, torch.zeros(1, 2, 4, 4))
    y.sum().backward()
    assert y.isfinite().all()
    assert log_decay.grad is not None
    assert log_decay.grad.isfinite().all()


def test_mamba2_starts_as_published() -> None:
    torch.manual_seed(0)
    mixer: Any = build_mixer(Mamba2(d_state=8, head_dim=2), 128)
    dt = torch.nn.functional.softplus(mixer.dt_bias)
    assert dt.min() >= DT_RANGE[0] * 0.99
    assert dt.max() <= DT_RANGE[1] * 1.01
    assert A_RANGE[0] <= mixer.A_log.exp().min() <= mixer.A_log.exp().max() <= A_RANGE[1]
    assert (mixer.D == 1).all()


def test_rotation_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(i: int, j: int) -> float:
        turned = [rotate(z, torch.tensor([p]), 10000.0) for z, p in ((q, i), (k, j))]
        return float((turned[0] * turned[1]).sum())

    assert score(7, 3) == pytest.approx(score(107, 103), abs=1e-4)
    assert score(7, 3) != pytest.approx(score(8, 3), abs=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize(
    "spec",
    [
        SparseAttention(heads=1, kv_heads=1, head_dim=2, chunk=16, exponent=0.3),
        Attention(heads=1, kv_heads=1, head_dim=2, window=32),
    ],
    ids=str,
)
def test_long_inputs_never_make_a_square(spec: Attention | SparseAttention) -> None:
    length = 4096
    mixer = build_mixer(spec, 8)
    with torch.no_grad(), Largest() as largest:
        mixer(torch.randn(1, length, 8), mixer.empty(1))
    assert largest.numel < length * length / 8


def test_states_stay_exact_under_autocast() -> None:
    """bfloat16 is for projections: prefill and steps must agree on the recurrence."""
    torch.manual_seed(0)
    mixer = build_mixer(Mamba2(d_state=8, head_dim=4), 16)
    x = torch.randn(1, 100, 16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        _, whole = mixer(x, mixer.empty(1))
        state = mixer.empty(1)
        for t in range(100):
            _, state = mixer.step(x[:, t], state)
    torch.testing.assert_close(whole.ssm, state.ssm, atol=1e-4, rtol=1e-3)


def test_ten_tokens_do_not_pay_for_a_whole_chunk() -> None:
    mixer = build_mixer(SparseAttention(heads=1, kv_heads=1, head_dim=2, chunk=4096, exponent=0.5), 8)
    with torch.no_grad(), Largest() as largest:
        mixer(torch.randn(1, 10, 8), mixer.empty(1))
    assert largest.numel < 1000
