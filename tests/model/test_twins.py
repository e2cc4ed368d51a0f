"""Every fast form of attention against a slow naive twin written from the definition."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_design.architecture import Attention, LatentAttention, SparseAttention
from l2m_design.model.banded import banded_attention, stacked_attention
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.rotary import rotate

WIDTH, LENGTH = 24, 75


def attention_by_definition(mixer: Any, x: Tensor, reads: Tensor) -> Tensor:
    """Softmax over the keys that reads [t s] allows, one query and head at a time."""
    query, key, value, *_ = mixer.project(x, mixer.empty(len(x)))
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
        Attention(heads=4, kv_heads=2, head_dim=6, window=10, sinks=3),
        Attention(heads=2, kv_heads=1, head_dim=6, window=1, sinks=40),
        Attention(heads=2, kv_heads=1, head_dim=6, rope_theta=None),
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
            reads[t, : min(spec.sinks, t + 1)] = True
    with torch.no_grad():
        y, _ = mixer(x, mixer.empty(2))
        torch.testing.assert_close(y, attention_by_definition(mixer, x, reads), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "spec",
    [
        LatentAttention(heads=3, head_dim=6, kv_rank=5, rope_dim=4),
        LatentAttention(heads=3, head_dim=6, kv_rank=5, rope_dim=4, q_rank=7, qk_norm=True, short_conv=3),
    ],
    ids=str,
)
def test_latent_attention_equals_its_definition(spec: LatentAttention) -> None:
    torch.manual_seed(0)
    mixer: Any = build_mixer(spec, WIDTH)
    x = torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        query, latent, rope, *_ = mixer.project(x, mixer.empty(2))
        heads = torch.zeros(2, 3, LENGTH, 6)
        key_up, value_up = (up.weight.view(3, 6, 5) for up in (mixer.key_up, mixer.value_up))
        for head in range(3):
            keys = torch.cat([mixer.key_norm(latent[:, 0] @ key_up[head].T), rope[:, 0]], dim=-1)
            values = latent[:, 0] @ value_up[head].T
            for t in range(LENGTH):
                scores = (keys[:, : t + 1] @ query[:, head, t, :, None])[..., 0] / math.sqrt(6 + 4)
                heads[:, head, t] = (scores.softmax(-1)[:, None] @ values[:, : t + 1])[:, 0]
        y, _ = mixer(x, mixer.empty(2))
        torch.testing.assert_close(y, mixer.merge(heads), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [{}, {"window": 12, "sinks": 2}])
def test_a_shared_cache_reads_the_other_layers_keys(kind: dict[str, int]) -> None:
    torch.manual_seed(0)
    source: Any = build_mixer(Attention(heads=4, kv_heads=2, head_dim=6, **kind), WIDTH)
    reader: Any = build_mixer(Attention(heads=4, kv_heads=2, head_dim=6, share=0, **kind), WIDTH)
    whole: Any = build_mixer(Attention(heads=4, kv_heads=2, head_dim=6, **kind), WIDTH)
    for own in ("key", "value"):
        getattr(whole, own).load_state_dict(getattr(source, own).state_dict())
    for own in ("query", "out"):
        getattr(whole, own).load_state_dict(getattr(reader, own).state_dict())
    x = torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        _, _, lent = source.lending(x, source.empty(2), None)
        y, state, _ = reader.lending(x, reader.empty(2), lent)
        torch.testing.assert_close(y, whole(x, whole.empty(2))[0], atol=1e-6, rtol=0)
    assert state.keys.numel() == state.values.numel() == 0
    with pytest.raises(ValueError, match="needs the keys and values of the other layer"):
        reader(x, reader.empty(2))


@pytest.mark.parametrize(("t", "s"), [(1, 1), (70, 70), (300, 300), (40, 90), (130, 400)])
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (7, 0), (33, 5), (500, 0)])
def test_banded_attention_and_its_gradient_equal_a_mask(t: int, s: int, window: int, sinks: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, t, 8), (2, 2, s, 8), (2, 2, s, 5), (2, 4, t, 5))
    query, key, value, dy = (torch.randn(z, generator=generator, dtype=torch.float64) for z in shapes)
    inputs = [z.requires_grad_() for z in (query, key, value)]
    at, of = torch.arange(s - t, s)[:, None], torch.arange(s)
    mask = (of <= at) & ((of > at - window) | (of < sinks))
    wide = [z.repeat_interleave(2, dim=1) for z in (key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(query, *wide, attn_mask=mask)
    y = banded_attention(query, key, value, window, sinks)
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
    for ours, theirs in zip(torch.autograd.grad(y, inputs, dy), torch.autograd.grad(expected, inputs, dy), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


@pytest.mark.parametrize("t", [1, 70, 300])
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (7, 0), (33, 5), (150, 70), (200, 3)])
def test_blocks_stacked_for_a_gpu_equal_blocks_one_by_one(t: int, window: int, sinks: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, t, 8), (2, 2, t, 8), (2, 2, t, 5), (2, 4, t, 5))
    query, key, value, dy = (torch.randn(z, generator=generator, dtype=torch.float64) for z in shapes)
    inputs = [z.requires_grad_() for z in (query, key, value)]
    y = stacked_attention(query, key, value, window, sinks)
    expected = banded_attention(query, key, value, window, sinks)
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
    for ours, theirs in zip(torch.autograd.grad(y, inputs, dy), torch.autograd.grad(expected, inputs, dy), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rotation_has_the_bits_of_its_formula(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, dy = torch.randn(2, 2, 3, 50, 16).to(dtype)
    x.requires_grad_()
    y = rotate([x], torch.arange(7, 57), 10000.0)[0]
    angles = torch.arange(7, 57).float()[:, None] * 10000.0 ** (-torch.arange(8.0) / 8)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    first, second = x.chunk(2, dim=-1)
    expected = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    assert torch.equal(y, expected)
    assert torch.equal(*(torch.autograd.grad(z, x, dy)[0] for z in (y, expected)))


def test_rotation_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(i: int, j: int) -> float:
        turned = [rotate([z], torch.tensor([p]), 10000.0)[0] for z, p in ((q, i), (k, j))]
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


def test_ten_tokens_do_not_pay_for_a_whole_chunk() -> None:
    mixer = build_mixer(SparseAttention(heads=1, kv_heads=1, head_dim=2, chunk=4096, exponent=0.5), 8)
    with torch.no_grad(), Largest() as largest:
        mixer(torch.randn(1, 10, 8), mixer.empty(1))
    assert largest.numel < 1000
