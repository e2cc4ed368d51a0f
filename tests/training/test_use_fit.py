"""Predicted use: what is observed is the model's own attention and gradient; the regression finds what was put in."""

from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.adopted import AdoptedModel, read_by
from l2m_design.model.ages import BINS, by_age
from l2m_design.model.use import Use
from l2m_design.training.observed import Observed, _Reader, observe
from l2m_design.training.use_fit import fit_use, regress

CHUNK, LENGTH = 8, 128


@pytest.fixture(scope="module")
def adopted() -> AdoptedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=6, num_key_value_heads=2, attn_implementation="eager")
    model: Any = LlamaForCausalLM(config).eval().requires_grad_(False)
    return AdoptedModel(model, GlobalBudget(CHUNK, "fixed", window=16, sinks=2))


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (1, LENGTH), generator=torch.Generator().manual_seed(1))


def reader(adopted: AdoptedModel) -> _Reader:
    return _Reader(adopted, torch.arange(4, LENGTH), torch.tensor([1, 2, 4]))


def test_the_gradient_is_the_models(adopted: AdoptedModel, tokens: torch.Tensor) -> None:
    embedded = adopted.model.get_input_embeddings()(tokens)
    ours, theirs = embedded.clone().requires_grad_(), embedded.clone().requires_grad_()
    read_by(adopted.model, ours, 0, reader(adopted)).square().sum().backward()
    adopted.model(inputs_embeds=theirs).logits.square().sum().backward()
    assert ours.grad is not None
    assert (ours.grad - theirs.grad).abs().max() < 1e-5 * theirs.grad.abs().max()


def test_attention_is_the_models(adopted: AdoptedModel, tokens: torch.Tensor) -> None:
    notes = reader(adopted)
    embedded = adopted.model.get_input_embeddings()(tokens)
    read_by(adopted.model, embedded, 0, notes)
    with torch.no_grad():
        weights = adopted.model(tokens, output_attentions=True).attentions[1][0]
    token = 13  # of chunk 1; chunk 3 is its age 2, the mean of the two query heads and of eight queries
    want = weights[:, 24:32, token].unflatten(0, (2, 3)).mean((1, 2))
    assert torch.allclose(notes.found[1]["mass"][:, token - 4, 1], want, rtol=1e-4)


def test_what_a_token_is_worth_is_the_loss_without_it(adopted: AdoptedModel, tokens: torch.Tensor) -> None:
    """All heads' worth is positive, and the sum over far tokens is of the size of losses."""
    found = observe(adopted, tokens, 50, np.random.default_rng(0))
    assert (found.worth > 0).all()
    assert (found.received > 0).all()
    assert found.features.shape[:2] == (4, 50)
    assert found.mass[..., 0].isnan().sum(1).max() <= CHUNK  # the last chunk has no later one


def test_mass_by_age() -> None:
    attention = torch.zeros(1, 16, 16 * 4)
    attention[0, 5, 9] = 8.0  # token 9, of chunk 2, read by chunk 5: age 3
    found = by_age(attention, torch.tensor([9, 63]), torch.tensor([1, 2, 3, 8, 20]))
    assert found[0, 0].tolist()[:4] == [0.0, 0.0, 2.0, 0.0]
    assert found[0, 0].isnan().tolist() == [False, False, False, False, True]
    assert found[0, 1].isnan().all()


def test_regression_finds_use_and_age() -> None:
    """ln u is the first feature, alpha 0.5 or 1.5 by the second."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(2, 3000, 6, generator=generator)
    ages = torch.tensor([age for age in BINS if age < 60])
    ln_u, alpha = phi[..., 0] - 5, 1.0 + 0.5 * phi[..., 1].sign()
    phi[..., 1] = phi[..., 1].sign()
    mass = (ln_u[..., None] - alpha[..., None] * ages.float().log()).exp()
    use = Use(2, 2, 2)
    worth = torch.tensor([2.0, 6.0])
    regress(use, [Observed(phi, mass, ages, worth, torch.tensor([4.0, 3.0]))], CHUNK)
    found = torch.einsum("hnf,hzf->zhn", phi, use.weight) + use.bias.T[:, :, None]
    assert (found[0] - ln_u).abs().mean() < 0.2
    assert (found[1] - alpha).abs().mean() < 0.1
    assert use.ln_worth.exp().tolist() == pytest.approx([0.5, 2.0])


def test_fitting_repeats_itself(adopted: AdoptedModel, tokens: torch.Tensor) -> None:
    fit_use(adopted, [tokens[0]], seed=3)
    first = {name: value.clone() for name, value in adopted.use.state_dict().items()}
    fit_use(adopted, [tokens[0]], seed=3)
    assert all(torch.equal(value, first[name]) for name, value in adopted.use.state_dict().items())
