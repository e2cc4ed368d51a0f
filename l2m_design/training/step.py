"""One step of the optimiser: gradients of a batch, as many windows a pass as memory holds, and the step itself."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2m_design.model import LanguageModel, build
from l2m_design.model.backends import autocast, on_device
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.lessons import lesson
from l2m_design.training.optimiser import Optimiser
from l2m_design.training.ranks import Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.sharding import whole

OutOfMemory = torch.OutOfMemoryError  # for rooms that do not import torch
LESSON_ROWS = 4  # one sequence in so many, of one batch or several, teaches what tokens are worth
SOFT_STEPS = 0.7  # the share of steps with a soft choice by use; the last ones read what a cache holds
SOFTEST, HARDEST = 0.5, 0.05  # nats


@dataclass
class Work:
    """What a process trains with. windows: of its share of a batch, how many pass through the model at once. kernels:
    that the model computes with.
    """

    model: LanguageModel
    optimiser: Optimiser
    recipe: Recipe
    device: torch.device
    ranks: Ranks
    windows: int
    kernels: Kernels = TORCH


def whole_model(work: Work) -> LanguageModel:
    """The model, for evaluation: where it is divided among processes a copy of it, which all make at once."""
    if not work.ranks.shard:
        return work.model
    state = {name: whole(value) for name, value in work.model.state_dict().items()}
    with torch.random.fork_rng([work.device] if work.device.type == "cuda" else []):
        copy = build(work.model.architecture, work.kernels, work.recipe.recompute)
    copy.load_state_dict(state)
    return copy.to(work.device)


def take_step(work: Work, batch: NDArray[np.int64], step: int) -> Tensor:
    """One step of the optimiser on a batch [b length+1]; the loss before it, nats per token."""
    model, ranks, recipe, taught = work.model, work.ranks, work.recipe, work.model.value_parameters
    work.optimiser.rate(recipe.rate(step))
    work.optimiser.zero_grad()
    chosen = {getattr(layer, "choose", None) for layer in model.architecture.layers}
    soft = softness(step / recipe.steps) if "use" in chosen else None
    known = gradients(work, on_device(batch[ranks.rows(len(batch))], work.device), soft)
    if "value" in chosen and step % max(1, LESSON_ROWS // len(batch)) == 0:
        _lesson(work, batch[: -(-len(batch) // LESSON_ROWS)]).backward()
    parameters = list(model.parameters())
    known = ranks.average(parameters, known)
    apart = {id(p) for p in taught}
    for clipped in ([p for p in parameters if id(p) not in apart], taught):
        nn.utils.clip_grad_norm_(clipped, recipe.clip)  # apart, so that lessons do not shorten the model's steps
    work.optimiser.step()
    return known


def softness(share: float) -> float | None:
    """Of the choice by use after this share of the steps, in nats: it falls, then the choice is that of the cache."""
    along = share / SOFT_STEPS
    return SOFTEST * (HARDEST / SOFTEST) ** along if along < 1 else None


def gradients(work: Work, tokens: Tensor, soft: float | None = None) -> Tensor:
    """Give every parameter its gradient of the mean loss of tokens [b t]; that loss, nats per token.

    soft: see softness.

    Where a GPU's memory runs out and the recipe says `auto`, half as many windows pass at once from here on. Raises
    torch.OutOfMemoryError where that cannot be.
    """
    while True:
        try:
            return _in_passes(work, tokens, soft)
        except torch.OutOfMemoryError:
            if work.recipe.micro_batch != "auto" or work.windows == 1 or work.ranks.shard:
                raise  # where weights are shared, all processes pass through the layers as often
        work.optimiser.zero_grad()
        work.windows = -(-work.windows // 2)
        if work.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(work.device)  # what did not fit is not what the run takes


def _in_passes(work: Work, tokens: Tensor, soft: float | None) -> Tensor:
    passes = []
    for piece in tokens.split(work.windows):
        with autocast(work.device):
            loss = work.model.mean_nats(piece, soft) * (len(piece) / len(tokens))
        loss.backward()
        passes.append(loss.detach())
    return torch.stack(passes).sum()


def _lesson(work: Work, batch: NDArray[np.int64]) -> Tensor:
    """The training signal of a score for these rows of the batch, computed jointly by all processes if possible."""
    ranks = work.ranks
    if ranks.count == 1 or len(batch) % ranks.count:
        return lesson(work.model, on_device(batch, work.device))
    return lesson(work.model, on_device(batch[ranks.rows(len(batch))], work.device), ranks.mean)


def compiled(work: Work) -> float:
    """Compile a model's layers for training steps; the seconds it took. Leaves no other trace."""
    began, device, recipe = time.perf_counter(), work.device, work.recipe
    rows = recipe.batch // work.ranks.count
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        work.model.compile_layers()
        gradients(work, torch.zeros(rows, recipe.length + 1, dtype=torch.long, device=device))
    work.optimiser.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
