"""Acceptance of values: every mixer type at real sizes on a device against the CPU, in bfloat16 and step by step."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.model.acceptance import Check, Found
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.language import LanguageModel, build

ALLOWED, GRADIENTS, DOUBLE = 1e-4, 1e-3, 1e-9
COSINE = 0.99
ROUGH = 0.9  # of vectors: a gradient of decays or steps sums terms of all tokens that cancel (0.975 at 4,096 tokens)
RANKED = 0.8  # of layers that rank cached tokens: bfloat16 breaks near ties, so that other tokens are read (0.91)
VOCABULARY, STEPS = 256, 16


def mixer_types(heads: int = 8, head_dim: int = 64, chunk: int = 64, window: int = 512) -> dict[str, dict[str, Any]]:
    """A layer of every mixer type and of every way to choose cached tokens, named."""
    head = {"heads": heads, "kv_heads": max(1, heads // 4), "head_dim": head_dim}
    attention = {"kind": "attention", **head}
    scan = {"d_state": 2 * head_dim, "head_dim": head_dim}
    sparse = {"kind": "sparse_attention", **head, "chunk": chunk, "exponent": 0.75}
    budget = sparse | {"allocate": "global"}
    return {
        "attention": attention,
        "window": attention | {"window": window},
        "window, sinks": attention | {"window": window, "sinks": 4},
        "mla": {
            "kind": "mla",
            "heads": heads,
            "head_dim": head_dim,
            "kv_rank": 2 * head_dim,
            "rope_dim": head_dim // 2,
        },
        "mamba2": {"kind": "mamba2", **scan},
        "mamba1": {"kind": "mamba1", "d_state": 16},
        "gated_deltanet": {"kind": "gated_deltanet", "heads": heads, "head_dim": head_dim, "value_expand": 2},
        "log_linear": {"kind": "log_linear", "d_state": head_dim, "head_dim": head_dim},
        "checkpointed_ssm": {"kind": "checkpointed_ssm", "d_state": head_dim, "head_dim": head_dim, "exponent": 0.5},
        "sparse, spread": sparse,
        "sparse, learned": sparse | {"choose": "learned"},
        "sparse, recency": budget | {"choose": "recency"},
        "sparse, key_norm": budget | {"choose": "key_norm"},
        "sparse, attention_mass": budget | {"choose": "attention_mass"},
        "sparse, surprise": budget | {"choose": "surprise"},
        "sparse, value": budget | {"choose": "value"},
        "sparse, use": budget | {"choose": "use", "allocate": "layer"},
    }


def value_checks(
    types: dict[str, dict[str, Any]], width: int, length: int, device: torch.device, kernels: Kernels = TORCH
) -> list[Check]:
    """A check of each mixer type: a model of one layer reads `length` random tokens on the device and on the CPU."""
    return [
        (name, lambda layer=layer: check_values(layer, width, length, device, kernels))  # type: ignore[misc]
        for name, layer in types.items()
    ]


def short_checks(device: torch.device, kernels: Kernels = TORCH) -> list[Check]:
    """The same at sizes that a few seconds suffice for."""
    return value_checks(mixer_types(heads=4, head_dim=32, chunk=32, window=64), 128, 512, device, kernels)


def check_values(
    layer: dict[str, Any], width: int, length: int, device: torch.device, kernels: Kernels = TORCH
) -> Found:
    """One mixer type's errors, relative to the largest value of each tensor.

    Logits and gradients in float32 against the CPU, gradients in bfloat16 by their cosine to those in float32, and
    steps behind a prefill against one pass. Layers that choose among cached tokens may break a near tie otherwise
    in another order of summation: then float64 decides.
    """
    torch.manual_seed(0)
    drawn = Architecture.parse({"vocabulary": VOCABULARY, "width": width, "layers": [layer]}, "acceptance")
    exact = build(drawn)
    tokens = torch.randint(0, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))
    model = build(drawn, kernels)
    model.load_state_dict(exact.state_dict())
    model.to(device)
    given = tokens.to(device)
    expected, found = passed(exact, tokens), passed(model, given)
    logits, slopes = _far(found[:1], expected[:1]), _far(found[1:], expected[1:])
    stepped = stepping(model, given)
    numbers: dict[str, object] = {"logits": logits, "gradients": slopes, "steps": stepped}
    works = logits <= ALLOWED and slopes <= GRADIENTS and stepped <= ALLOWED
    words = f"float32 {logits:.1e}, gradients {slopes:.1e}, steps {stepped:.1e}"
    if not works:
        twice = _far(passed(model.double(), given), passed(exact.double(), tokens)), stepping(model, given)
        numbers["float64"], numbers["steps_float64"] = twice
        works = max(twice) <= DOUBLE and "choose" in layer
        words += f" (near ties: float64 {twice[0]:.1e}, steps {twice[1]:.1e})"
        model.float()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        rough = passed(model, given)
    matrices, vectors = (_cosine(rough[1:], found[1:], wide) for wide in (True, False))
    numbers |= {"bf16_cosine": matrices, "bf16_cosine_vectors": vectors}
    least = (RANKED, RANKED) if "choose" in layer else (COSINE, ROUGH)
    words += f", bfloat16 cosine {matrices:.4f} (vectors {vectors:.4f})"
    return Found(words, numbers, works and matrices >= least[0] and vectors >= least[1])


def passed(model: LanguageModel, tokens: Tensor) -> list[Tensor]:
    """Logits [b t v_] of tokens [b t], and the gradients of their mean loss by all parameters that have one."""
    model.zero_grad(set_to_none=True)
    logits = model(tokens)
    F.cross_entropy(logits[:, :-1].flatten(0, 1).to(_at_least_float32(logits)), tokens[:, 1:].flatten()).backward()
    return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@torch.no_grad()
def stepping(model: LanguageModel, tokens: Tensor) -> float:
    """Relative difference of the last logits, read token by token behind a prefill, from those of one pass."""
    head = tokens.shape[1] - STEPS
    expected = model(tokens)[:, head:]
    _, state = model.prefill(tokens[:, :head], last=True)
    found = []
    for at in range(head, tokens.shape[1]):
        logits, state = model.step(tokens[:, at], state)
        found.append(logits)
    return _far([torch.stack(found, dim=1)], [expected])


def _at_least_float32(z: Tensor) -> torch.dtype:
    return torch.promote_types(z.dtype, torch.float32)


def _far(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of all tensors; infinity where something is not finite."""
    errors = [0.0]
    for a, b in zip(found, expected, strict=True):
        error = float((a.cpu() - b.cpu()).abs().max() / b.abs().max().clamp(min=1e-12).cpu())
        errors.append(error if error == error else float("inf"))
    return max(errors)


def _cosine(found: list[Tensor], expected: list[Tensor], matrices: bool) -> float:
    """The smallest cosine of a gradient to its exact one: of matrices or of vectors."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if (b.ndim > 1) == matrices]
    return min(float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0)) for a, b in pairs)
