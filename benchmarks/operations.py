"""What a GPU would be asked to do, counted without one: kernels, bytes, waits, copies and mixed devices.

Run: python benchmarks/operations.py [--length 8192] [--only attention ...] [--shapes] [--steps] [--json FILE]
[--against FILE].
Each mixer type is a model of one layer at the sizes of the acceptance, forward and backward in bfloat16 by autocast,
then one step of decoding. `--shapes` computes no values, in little time and memory, and counts no decoding: for types
whose operations depend on no number. `--steps` counts training steps of 50 M parameters instead, with the optimiser.
`--against` puts the counts of an earlier file beside them: made by the same command with PYTHONPATH at another tree.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from elsewhere import Counts, back, counted, elsewhere, moved, sent
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build
from l2m_design.model.acceptance_values import mixer_types
from l2m_design.training.optimiser import optimiser_of
from l2m_design.training.recipe import Recipe

VOCABULARY, WIDTH, LENGTH = 256, 512, 8192
SMALL = {"heads": 4, "head_dim": 16, "chunk": 32, "window": 64}
SMALL_WIDTH = 64
ATTENTION = {"kind": "attention", "heads": 8, "kv_heads": 2, "head_dim": 64, "qk_norm": True, "short_conv": 4}
MAMBA = {"kind": "mamba2", "d_state": 64, "head_dim": 64}
RECIPES = {  # as benchmarks/accept_gpu.py has them: layers and width of about 50 M parameters
    "A x 12": ([ATTENTION] * 12, 640),
    "M M M A x 3": ([MAMBA, MAMBA, MAMBA, ATTENTION] * 3, 576),
    "W W W A x 3": (([ATTENTION | {"window": 512}] * 3 + [ATTENTION]) * 3, 640),
}
TOKENS, WINDOW = 65536, 4096
COLUMNS = ("kernels", "gigabytes", "waits", "copies", "mixes", "step_kernels", "step_waits")


def model_of(layers: list[dict[str, Any]], width: int) -> LanguageModel:
    """A model with the weights of seed 0."""
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": VOCABULARY, "width": width, "layers": layers}, "operations"))


def taught(model: LanguageModel, tokens: torch.Tensor, cast: bool = False) -> torch.Tensor:
    """The mean loss of tokens [b t], and the gradients; cast: in bfloat16 by autocast, as training has it."""
    with torch.autocast("elsewhere", dtype=torch.bfloat16, enabled=cast):
        loss = model.mean_nats(tokens)
    loss.backward()
    return loss


def layer(drawn: dict[str, Any], width: int, length: int) -> dict[str, float]:
    """Counts of a model of one layer; error: of its loss and gradients in float32 against the CPU's."""
    model = model_of([drawn], width)
    tokens = torch.randint(0, VOCABULARY, (1, length + 1), generator=torch.Generator().manual_seed(1))
    expected = [taught(model, tokens).detach(), *gradients(model)]
    model.zero_grad()
    moved(model)
    there = sent(tokens)
    with counted():
        found = [back(taught(model, there)), *gradients(model)]
    pairs = zip(expected, found, strict=True)
    error = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in pairs)
    model.zero_grad()
    with counted() as counts:
        taught(model, there, cast=True)
    with counted(), torch.no_grad(), torch.autocast("elsewhere", dtype=torch.bfloat16):
        _, state = model.prefill(there[:, :length])
        with counted() as decoding:
            model.step(there[:, length], state)
    step = decoding.plain()
    return summed(counts) | {"step_kernels": step["kernels"], "step_waits": step["waits"], "error": error}


def shapes(drawn: dict[str, Any], width: int, length: int) -> dict[str, float]:
    """Counts of a model of one layer, without values."""
    model = model_of([drawn], width)
    with counted(values=False) as counts:
        moved(model.to("meta"))
        taught(model, sent(torch.zeros(1, length + 1, dtype=torch.long, device="meta")), cast=True)
    return summed(counts)


def gradients(model: LanguageModel) -> list[torch.Tensor]:
    """Of all parameters that have one, on the CPU."""
    return [back(p.grad) for p in model.parameters() if p.grad is not None]


def summed(counts: Counts) -> dict[str, float]:
    """For the table."""
    plain = counts.plain()
    return {**plain, "gigabytes": plain["bytes"] / 1e9}


def step(layers: list[dict[str, Any]], width: int) -> dict[str, float]:
    """Counts of a training step of TOKENS in windows of WINDOW, the step of the optimiser included."""
    model = model_of(layers, width)
    with counted(values=False) as counts:
        moved(model.to("meta"))
        optimiser = optimiser_of(model, Recipe(), fused=True)
        there = sent(torch.zeros(TOKENS // WINDOW, WINDOW + 1, dtype=torch.long, device="meta"))
        with torch.autocast("elsewhere", dtype=torch.bfloat16):
            if hasattr(model, "mean_nats"):
                loss = model.mean_nats(there)
            else:
                loss = F.cross_entropy(model(there[:, :-1]).float().flatten(0, 1), there[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return summed(counts)


def rows(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Named counts."""
    if given.steps:
        yield from ((name, step(*recipe)) for name, recipe in RECIPES.items())
        return
    types = mixer_types(**SMALL) if given.small else mixer_types()
    for name, drawn in types.items():
        if not given.only or name in given.only:
            count = shapes if given.shapes else layer
            yield name, count(drawn, SMALL_WIDTH if given.small else WIDTH, given.length)


def line(name: str, found: dict[str, float], before: dict[str, float]) -> str:
    """A row of the table; what was counted before in brackets."""
    cells = [f"{name:24}"]
    for column in COLUMNS:
        if column in found:
            old = f" ({before[column]:,.4g})" if column in before and before[column] != found[column] else ""
            number = f"{found[column]:,.1f}" if column == "gigabytes" else f"{found[column]:,}"
            cells.append(f"{column} {number}{old}")
    return "  ".join(cells)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens that a layer reads")
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="these mixer types")
    parser.add_argument("--small", action="store_true", help="a width of 64 and heads of 16")
    parser.add_argument("--shapes", action="store_true", help="without values")
    parser.add_argument("--steps", action="store_true", help="training steps of 50 M parameters")
    parser.add_argument("--json", type=Path, help="where the counts go")
    parser.add_argument("--against", type=Path, help="counts of an earlier run")
    given = parser.parse_args(words)
    before = json.loads(given.against.read_text()) if given.against else {}
    elsewhere()
    found: dict[str, dict[str, float]] = {}
    for name, counts in rows(given):
        found[name] = counts
        print(line(name, counts, before.get(name, {})), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
