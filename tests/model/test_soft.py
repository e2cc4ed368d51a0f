"""Soft choice: its probabilities by their definition, its limit is the cache, its gradient teaches what to keep."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.model import build
from l2m_design.model.blockwise import block_attention
from l2m_design.model.mixer import Pass
from l2m_design.model.soft import soft_bias, whole_blocks

CHUNK, SINKS, OLD, VOCABULARY = 8, 2, 12, 100
LAYER: dict[str, Any] = {
    "kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 8, "chunk": CHUNK, "schedule": "sinks+window",
    "window": OLD, "sinks": SINKS, "choose": "use",
}  # fmt: skip


def model_of(allocate: str) -> Any:
    torch.manual_seed(0)
    model = build(
        Architecture.parse({"vocabulary": VOCABULARY, "width": 32, "layers": [LAYER | {"allocate": allocate}]}, "drawn")
    )
    with torch.no_grad():
        model.blocks[0].mixer.use.weight[:, 0].normal_(std=1.0)  # of ln u alone: what was evicted stays the worse
        model.blocks[0].mixer.use.bias[:, 1] = 0.0
        model.blocks[0].mixer.use.ln_prior.fill_(20.0)  # attention received corrects nothing
    return model


@pytest.mark.parametrize(("allocate", "rivals"), [("global", 1), ("layer", 2)])
def test_as_softness_falls_each_group_of_rivals_reads_the_best_of_its_old_tokens(allocate: str, rivals: int) -> None:
    mixer = model_of(allocate).blocks[0].mixer
    t, g = 60, 2
    records = mixer.use.records(torch.randn(1, g, t, 8), torch.randn(1, g, t, 8), 0, CHUNK)
    bias = soft_bias(mixer.use, records, mixer.budget, rivals, 1e-6)
    read = bias[0] > -1e-2
    for chunk in range(8):
        old = (chunk - 1) * CHUNK
        assert read[:, chunk, :SINKS].all()
        assert read[:, chunk, max(0, old) :].all()
        if old > OLD:
            assert read[:, chunk, :old].sum() == g * OLD
            scores = mixer.use.predicted(records, chunk - torch.arange(t) // CHUNK + 0.0)[0, :, 0, SINKS:old]
            for first in range(0, g, rivals):
                here = read[first : first + rivals, chunk, SINKS:old]
                group = scores[first : first + rivals]
                assert group[here].min() > group[~here].max()


@pytest.mark.parametrize("allocate", ["global", "layer"])
def test_the_hardest_choice_is_what_the_cache_reads(allocate: str) -> None:
    model = model_of(allocate)
    tokens = torch.stack([torch.randperm(VOCABULARY)[:77] for _ in range(2)])  # no two alike, so no ties
    torch.testing.assert_close(model.pass_over(tokens, Pass(softness=1e-7)), model(tokens), atol=1e-4, rtol=1e-4)
    soft = model.pass_over(tokens, Pass(softness=1.0))
    assert (soft - model(tokens)).abs().max() > 1e-2


def test_a_biased_block_equals_attention_with_the_whole_square() -> None:
    b, h, g, t = 2, 4, 2, 37
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(b, n, t, 8, generator=generator, dtype=torch.float64) for n in (h, g, g)]
    inputs.append(torch.randn(b, g, -(-t // CHUNK), t, generator=generator, dtype=torch.float64))
    q, k, v, bias = (z.requires_grad_() for z in inputs)
    y = block_attention(q, k, v, whole_blocks(t, CHUNK, q.device), bias=bias)
    square = bias.repeat_interleave(CHUNK, dim=2)[:, :, :t].repeat_interleave(h // g, dim=1)
    square = square.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -torch.inf)
    k2, v2 = (z.repeat_interleave(h // g, dim=1) for z in (k, v))
    expected = F.scaled_dot_product_attention(q, k2, v2, attn_mask=square)
    torch.testing.assert_close(y, expected)
    mixed = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(*(torch.autograd.grad((z * mixed).sum(), inputs) for z in (y, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_loss_teaches_to_keep_what_it_needs() -> None:
    """The only key that tells anything is one far away: its score rises, that of others falls."""
    mixer = model_of("layer").blocks[0].mixer
    needed, t = 20, 64
    records = mixer.use.records(torch.randn(1, 2, t, 8), torch.randn(1, 2, t, 8), 0, CHUNK).detach()
    records.requires_grad_()
    bias = soft_bias(mixer.use, records, mixer.budget, 2, 0.5)
    key = value = F.one_hot(torch.arange(t) // (t // 8), 8).float().expand(1, 2, -1, -1) * 0.1
    value = value + (torch.arange(t) == needed).float()[:, None]
    y = block_attention(torch.zeros(1, 4, t, 8), key, value, whole_blocks(t, CHUNK, key.device), bias=bias)
    (-y[:, :, -CHUNK:].sum()).backward()
    assert records.grad is not None
    slope = records.grad[0, :, SINKS : t - 2 * CHUNK, 0]
    assert (slope[:, needed - SINKS] < 0).all()
    others = torch.cat([slope[:, : needed - SINKS], slope[:, needed - SINKS + 1 :]], dim=1)
    assert (others >= 0).all()
    assert others.max() > 0
