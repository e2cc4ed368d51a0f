"""The optimiser of a run: Muon for the matrices of hidden layers and AdamW for all else, or AdamW alone.

Rates are those of a model of width REFERENCE_WIDTH and are carried to other widths matrix by matrix, so that the best
one hardly moves: a step of Muon has spectral norm MATCHED · rate · sqrt(max(1, fan out / fan in)), nearly what keeps
activations' changes alike (Yang, Simon & Bernstein, arXiv 2310.17813), a step of AdamW on a hidden matrix shrinks as 1
/ fan in (muP, arXiv 2203.03466). Tables start with entries of 1 / sqrt(width), and their steps keep that proportion.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from l2m_design.model import LanguageModel
from l2m_design.training.muon import BatchedMuon
from l2m_design.training.recipe import Recipe
from l2m_design.training.sharding import like

MOMENTS = (0.9, 0.95)
MOMENTUM = 0.9  # of Muon: 0.95, its usual one, is for longer runs (docs/lab-book.md)
REFERENCE_WIDTH = 128
TABLES = 2.0  # embeddings and the output table learn best at twice the rate of the rest
MATCHED = 0.2 * math.sqrt(REFERENCE_WIDTH)  # Muon's step of this size has AdamW's mean square (arXiv 2502.16982)
SHARE = "share"  # a group's rate over the recipe's


class Optimiser:
    """One or two of torch's optimisers that step together; states are numbered as if they were one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def rate(self, rate: float) -> None:
        """Set the learning rate of the next step; each group takes its share of it."""
        for group in self.param_groups:
            group["lr"] = rate * group[SHARE]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take a step."""
        for part in self.parts:
            part.step()

    def state(self) -> dict[int, dict[str, Tensor]]:
        """By parameter's number, what its optimiser keeps of it."""
        return {
            first + index: kept
            for first, part in self._numbered()
            for index, kept in part.state_dict()["state"].items()
        }

    def restore(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Take over what `state` gave."""
        for first, part in self._numbered():
            count = _count(part)
            held = [weight for group in part.param_groups for weight in group["params"]]
            own = {
                index - first: {name: like(value, held[index - first]) for name, value in kept.items()}
                for index, kept in state.items()
                if first <= index < first + count
            }
            part.load_state_dict({"state": own, "param_groups": part.state_dict()["param_groups"]})

    def _numbered(self) -> Iterable[tuple[int, torch.optim.Optimizer]]:
        first = 0
        for part in self.parts:
            yield first, part
            first += _count(part)


def _count(part: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in part.param_groups)


def optimiser_of(model: LanguageModel, recipe: Recipe, fused: bool | None = None) -> Optimiser:
    """Weight decay is for projections and embeddings only, never for norms, biases, convolutions or decay rates.

    fused: few kernels for a step of AdamW and Muon; unless said, on GPUs, where launches cost more than a last bit's
    difference.
    """
    fused = model.embedding.weight.is_cuda if fused is None else fused
    taught = {id(p) for p in model.value_parameters}  # trained by a loss of their own, as AdamW does it
    linear = [m.weight for m in model.blocks.modules() if isinstance(m, nn.Linear)]
    hidden = [weight for weight in linear if id(weight) not in taught]
    scores = [weight for weight in linear if id(weight) in taught]
    tables = [model.embedding.weight] + ([] if model.head is None else [model.head.weight])
    named = {id(weight) for weight in [*linear, *tables]}
    others = [p for p in model.parameters() if id(p) not in named]
    decay, width = recipe.weight_decay, model.architecture.width
    groups = [
        _group(tables, decay, TABLES * math.sqrt(REFERENCE_WIDTH / width)),
        _group(scores, decay, 1.0),
        _group(others, 0.0, 1.0),
    ]
    if recipe.optimiser == "muon":
        own = _group(hidden, decay / MATCHED, MATCHED)  # weights shrink by rate · decay, as AdamW's do
        muon = (BatchedMuon if fused else torch.optim.Muon)([own], lr=recipe.learning_rate, momentum=MOMENTUM)
        return Optimiser([muon, _adamw(groups, recipe, fused)])
    by_fan_in: dict[int, list[Tensor]] = {}
    for weight in hidden:
        by_fan_in.setdefault(weight.shape[1], []).append(weight)
    groups += [_group(weights, decay, REFERENCE_WIDTH / fan_in) for fan_in, weights in by_fan_in.items()]
    return Optimiser([_adamw(groups, recipe, fused)])


def _adamw(groups: list[dict[str, Any]], recipe: Recipe, fused: bool) -> torch.optim.AdamW:
    there = [group for group in groups if group["params"]]
    return torch.optim.AdamW(there, lr=recipe.learning_rate, betas=MOMENTS, fused=fused or None)


def _group(weights: Sequence[Tensor], decay: float, share: float) -> dict[str, Any]:
    return {"params": list(weights), "weight_decay": decay, SHARE: share}
