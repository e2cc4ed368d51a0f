"""Decoding from a state on: by steps everywhere, by a CUDA graph where there is one and the state is fixed."""

from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build
from l2m_design.model.graphed import Graph, Steps, decoder, fixed

MAMBA = {"kind": "mamba2", "d_state": 8, "head_dim": 8}
DELTA = {"kind": "gated_deltanet", "heads": 2, "head_dim": 8}
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}


def model_of(*layers: dict[str, Any]) -> LanguageModel:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 16, "width": 16, "layers": list(layers)}, "drawn"))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((MAMBA, DELTA), True),
        ((MAMBA, ATTENTION), False),
        ((ATTENTION | {"window": 4},), False),  # counts positions
        (({"kind": "log_linear", "d_state": 8, "head_dim": 8},), False),  # grows
    ],
    ids=["fixed", "hybrid", "window", "tree"],
)
@torch.no_grad()
def test_only_states_of_tensors_of_fixed_size_may_be_recorded(
    layers: tuple[dict[str, Any], ...], expected: bool
) -> None:
    model = model_of(*layers)
    _, state = model.prefill(torch.zeros(2, 20, dtype=torch.long))
    before = [z.clone() for layer in state for z in layer if isinstance(z, torch.Tensor)]
    assert fixed(model, state) is expected
    assert all(map(torch.equal, before, [z for layer in state for z in layer if isinstance(z, torch.Tensor)]))


@pytest.mark.parametrize("layers", [(MAMBA, DELTA), (MAMBA, ATTENTION)], ids=["fixed", "hybrid"])
@torch.no_grad()
def test_a_decoder_reads_as_steps_do(layers: tuple[dict[str, Any], ...]) -> None:
    """On a CPU by steps, whatever the state."""
    _reads_as_steps_do(model_of(*layers), Steps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("layers", "kind"), [((MAMBA, DELTA), Graph), ((MAMBA, ATTENTION), Steps)])
@torch.no_grad()
def test_a_graph_reads_as_steps_do(layers: tuple[dict[str, Any], ...], kind: type) -> None:
    _reads_as_steps_do(model_of(*layers).cuda(), kind)


def _reads_as_steps_do(model: LanguageModel, kind: type) -> None:
    tokens = torch.randint(0, 16, (2, 12), device=model.embedding.weight.device)
    _, state = model.prefill(tokens[:, :6])
    read = decoder(model, state)
    assert type(read) is kind
    for at in range(6, 12):
        logits, state = model.step(tokens[:, at], state)
        torch.testing.assert_close(read(tokens[:, at]), logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_a_graph_records_is_a_step_of_its_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a graph that repeats the step on the CPU, in the same memory."""

    class Repeats:
        def replay(self) -> None:
            read._logits.copy_(read._step(model))

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Repeats)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: torch.no_grad())
    monkeypatch.setattr(Graph, "_warm", lambda self, model: self._step(model))
    model = model_of(MAMBA, DELTA)
    tokens = torch.randint(0, 16, (2, 12))
    _, state = model.prefill(tokens[:, :6])
    read = Graph(model, state)
    for at in range(6, 12):
        logits, state = model.step(tokens[:, at], state)
        torch.testing.assert_close(read(tokens[:, at]), logits, atol=1e-6, rtol=0)
