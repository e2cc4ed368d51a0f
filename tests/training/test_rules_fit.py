"""Fits of the rules of others: moments of the queries a model makes, and mean curves of attention by age."""

from typing import Any

import pytest
import torch
import transformers

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.rules import BIRTH, ExpectedAttention
from l2m_design.model.use import Use
from l2m_design.training.observed import Observed
from l2m_design.training.rules_fit import EVERY, fit_expected, fit_head_windows


def build() -> Any:
    """A tiny model with random weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    return transformers.LlamaForCausalLM(config).eval()


@torch.no_grad()
def test_expected_attention_takes_the_moments_of_queries_before_rotation() -> None:
    model = build()
    adopted = AdoptedModel(model, GlobalBudget(8, "fixed", window=8))
    windows = [torch.randint(0, 97, (64,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    rule = fit_expected(adopted, windows, 64)
    layer = model.model.layers[0]
    hidden = layer.input_layernorm(model.model.embed_tokens(torch.cat(windows)))
    queries = layer.self_attn.q_proj(hidden).unflatten(1, (2, 3, -1)).permute(1, 2, 0, 3)  # [h q t k]
    mean = queries.mean(2)
    centred = queries - mean[:, :, None]
    want = ExpectedAttention((mean, centred.transpose(2, 3) @ centred / 128), adopted.rates[0], 1)
    assert torch.allclose(rule.mean[:2], want.mean, atol=1e-5)
    assert torch.allclose(rule.covariance[:2], want.covariance, atol=1e-5)
    keys = layer.self_attn.k_proj(hidden).unflatten(1, (2, -1)).transpose(0, 1)[:, ::EVERY]
    shares = (rule.logits(keys[None], slice(0, 2))[0] - rule.ln_total[:2, ..., None]).exp()
    assert torch.allclose(shares.mean(-1), torch.ones(2, 3, 1), atol=1e-4)


def test_head_windows_follow_mean_curves_and_go_on_beyond_them() -> None:
    ages = torch.tensor([1, 2, 4, 8])
    alpha, tokens = torch.tensor([0.5, 1.5]), torch.tensor([0.5, 1.0, 1.5])
    curve = 0.1 * ages.float() ** -alpha[:, None]
    mass = curve[:, None] * tokens[:, None]  # whose mean over tokens is the curve
    use = Use(2, 2, 2)
    with torch.no_grad():
        use.ln_worth.copy_(torch.tensor([0.0, 1.0]))
    none = torch.zeros(2)
    rule = fit_head_windows(use, [Observed(torch.zeros(2, 3, 6), mass, ages, none, none)])
    for age in (1, 3, 8, 40):
        records = torch.zeros(1, 2, 2)
        records[..., BIRTH] = 50 - age
        scores = rule.scores(records, torch.tensor([[0, 1]]), 50, 8)
        want = (0.1 * torch.tensor(float(age)) ** -alpha).log() + torch.tensor([0.0, 1.0])
        assert scores[0].tolist() == pytest.approx(want.tolist(), abs=1e-3)
