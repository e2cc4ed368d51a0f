"""Losses in chunks of tokens: those of all logits at once, with never more logits than are allowed."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build, losses
from l2m_design.model.losses import mean_nats, token_nats

VOCABULARY, MOST = 3000, 2**14  # five tokens a chunk
VALUE = {
    "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.5,
    "allocate": "global", "choose": "value",
}  # fmt: skip
LAYERS: dict[str, dict[str, Any]] = {
    "mamba2": {"kind": "mamba2", "d_state": 8, "head_dim": 8},
    "attention": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    "value": VALUE,
}


class Largest(TorchDispatchMode):
    """The most numbers of a tensor that any operation, in backward too, makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        made = out if isinstance(out, tuple | list) else (out,)
        self.numbers = max([self.numbers, *(z.numel() for z in made if isinstance(z, Tensor))])
        return out


def drawn(name: str, **more: Any) -> LanguageModel:
    torch.manual_seed(0)
    plain = {"vocabulary": VOCABULARY, "width": 16, "layers": [LAYERS[name]] * 2, "mlp": {"ratio": 1.0}}
    return build(Architecture.parse(plain | more, "test"))


def tokens(rows: int = 2, length: int = 49) -> Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_mean_loss_and_its_gradients_are_those_of_all_logits(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    monkeypatch.setattr(losses, "MOST_LOGITS", MOST)
    generator = torch.Generator().manual_seed(0)
    hidden, table = (torch.randn(s, generator=generator, dtype=dtype) for s in ((2, 41, 16), (VOCABULARY, 16)))
    targets = tokens(2, 41)
    found = []
    for whole in (True, False):
        inputs = [z.clone().requires_grad_() for z in (hidden, table)]
        logits = F.linear(*inputs).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten()) if whole else mean_nats(*inputs, targets)
        found.append([loss, *torch.autograd.grad(3 * loss, inputs)])
    for all_at_once, in_chunks in zip(*found, strict=True):
        torch.testing.assert_close(in_chunks, all_at_once)


def test_the_mean_loss_in_bfloat16_keeps_the_gradient_of_the_table_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, table = torch.randn(1, 200, 16).requires_grad_(), torch.randn(VOCABULARY, 16).requires_grad_()
    exact = torch.autograd.grad(mean_nats(hidden, table, tokens(1, 200)), [hidden, table])
    monkeypatch.setattr(losses, "MOST_LOGITS", MOST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mean_nats(hidden, table, tokens(1, 200))
    assert loss.dtype == torch.float32
    for ours, theirs in zip(torch.autograd.grad(loss, [hidden, table]), exact, strict=True):
        assert ours.dtype == torch.float32
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_never_holds_more_logits_than_are_allowed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, given = drawn(name), tokens()
    with torch.enable_grad():
        whole = model.mean_nats(given)
        whole.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    nats = model.nats(given)
    np.testing.assert_allclose(whole.item(), nats.mean().item(), rtol=1e-3 if name == "value" else 1e-5)
    model.zero_grad()
    monkeypatch.setattr(losses, "MOST_LOGITS", MOST)
    with Largest() as largest:
        loss = model.mean_nats(given)
        loss.backward()
        cut = model.nats(given, first=20)
    assert largest.numbers <= max(2 * 9 * VOCABULARY, VOCABULARY * 16)  # of a chunk of 8 tokens; of the table
    torch.testing.assert_close(loss, whole)
    torch.testing.assert_close(cut, nats[:, 19:], atol=1e-5, rtol=1e-5)
    for n, gradient in gradients.items():
        torch.testing.assert_close(model.get_parameter(n).grad, gradient, atol=1e-6, rtol=1e-4, msg=n)


def test_all_at_once_the_loss_is_bit_equal_to_that_of_the_logits() -> None:
    model, given = drawn("attention", tied_embeddings=False), tokens()
    logits = model(given[:, :-1])
    assert torch.equal(model.mean_nats(given), F.cross_entropy(logits.flatten(0, 1), given[:, 1:].flatten()))
    nats = F.cross_entropy(logits.transpose(1, 2), given[:, 1:], reduction="none")
    torch.testing.assert_close(token_nats(model.read(given[:, :-1]), model.table, given[:, 1:]), nats)
