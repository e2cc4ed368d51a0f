"""Distillation brings a model with a bounded cache nearer to itself with the full one."""

import torch

from l2m_design.training.distil import distil
from tests.model.test_adopted import adopted, build


def test_the_divergence_falls_and_gradients_reach_evicted_context() -> None:
    model = build("Llama")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim == 2 else 1.0)  # so that attention chooses, and what is evicted matters
    made = adopted(model, "model")
    before = [weight.clone() for weight in made.model.parameters()]
    rule = {name: value.clone() for name, value in made.use.state_dict().items()}
    window = torch.randint(0, 97, (70,), generator=torch.Generator().manual_seed(0))
    losses = distil(made, [window] * 12, rate=2e-4)
    assert losses[-1] < 0.5 * losses[0]
    assert any(not torch.equal(old, new) for old, new in zip(before, made.model.parameters(), strict=True))
    assert all(torch.equal(value, rule[name]) for name, value in made.use.state_dict().items())


def test_gradients_pass_through_the_slots() -> None:
    """A token that was read only through a slot, chunks later, has a gradient."""
    made = adopted(build("Llama"), "layer")
    embedded = made.model.get_input_embeddings().weight.requires_grad_()
    tokens = torch.arange(1, 65)[None]
    made(tokens)[0, -1].square().sum().backward()
    assert embedded.grad is not None
    first = embedded.grad[1]  # the first token is a sink, 63 tokens before
    assert float(first.abs().sum()) > 0
