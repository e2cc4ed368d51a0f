"""One training run: a drawing, a corpus and a recipe become a model and its Result."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel, build
from l2m_design.model.backends import autocast, keep_freed_memory
from l2m_design.model.kernels import TORCH
from l2m_design.model.probes import probed, said
from l2m_design.model.value import value_lesson
from l2m_design.training.batches import held_out_windows, training_batches
from l2m_design.training.evaluate import evaluate
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result

CURVE_POINTS = 64
FIRST_MOMENTS = (0.9, 0.95)
LESSON_ROWS = 4  # one sequence in so many, of one batch or several, teaches what tokens are worth


@dataclass(frozen=True)
class Rung:
    """A look at a run on its way: optimiser steps done, tokens read, late loss in nats a token."""

    step: int
    tokens: int
    late_loss: float


class Stopped(Exception):
    """The run was told to stop at a rung."""


def check_vocabulary(architecture: Architecture, corpus: Corpus) -> None:
    """Raises BadInput when a corpus has tokens that a drawing has not."""
    if architecture.vocabulary < corpus.vocabulary:
        raise BadInput(
            f"vocabulary: the drawing has {architecture.vocabulary} tokens, {corpus.name} needs {corpus.vocabulary}"
        )


def _check(architecture: Architecture, corpus: Corpus, recipe: Recipe, device: torch.device) -> None:
    check_vocabulary(architecture, corpus)
    architecture.check_context(recipe.length, "recipe")
    if recipe.compile and device.type != "cuda":
        raise BadInput(f"compile: torch.compile is for GPUs, this device is {device.type}; leave it out")


def train(
    architecture: Architecture,
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    on_rung: Callable[[Rung], bool] = lambda rung: True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LanguageModel, Result]:
    """Train and evaluate one candidate; on_rung answers whether to go on.

    Raises BadInput when documents are too short or vocabulary or device do not fit, Stopped when told to stop,
    FloatingPointError when the loss is not finite.
    """
    _check(architecture, corpus, recipe, device)
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    kernels, probes = (TORCH, ()) if recipe.kernels == "torch" else probed(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # the probes' memory is not the run's
    model = build(architecture, kernels, recipe.recompute).to(device)
    if recipe.compile:
        model.compile()
    began = time.perf_counter()
    validation = held_out_windows(corpus, "validation", recipe.length, recipe.windows)
    first = unigram_nats(corpus.documents("train"), corpus.vocabulary)
    evaluating = 0.0

    def look(step: int) -> bool:
        nonlocal evaluating
        started = time.perf_counter()
        losses = evaluate(model, validation, device, first, max(8, recipe.windows // 4))
        tokens = step * recipe.batch * recipe.length
        answer = on_rung(Rung(step, tokens, losses.late_loss))
        evaluating += time.perf_counter() - started
        return answer

    curve = _optimise(model, corpus, recipe, device, look, on_step)
    trained = time.perf_counter()
    losses = evaluate(model, validation, device, first)
    test = evaluate(model, held_out_windows(corpus, "test", recipe.length, recipe.windows), device, first)
    result = Result(
        late_loss=losses.late_loss,
        late_by_document=losses.late_by_document().tolist(),
        test_late_loss=test.late_loss,
        test_late_by_document=test.late_by_document().tolist(),
        loss_by_position=losses.by_position().tolist(),
        mi_captured_nats=losses.captured(),
        curve=curve,
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=recipe.steps * recipe.batch * recipe.length,
        train_seconds=trained - began - evaluating,
        evaluate_seconds=time.perf_counter() - trained + evaluating,
        peak_memory_bytes=_peak_memory(device),
        device=str(device),
        seed=recipe.seed,
        kernels=said(probes, device),
    )
    return model, result


def _optimise(
    model: LanguageModel,
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    look: Callable[[int], bool],
    on_step: Callable[[int, int], None],
) -> list[tuple[int, float]]:
    optimiser = adamw(model, recipe)
    losses = torch.empty(recipe.steps, device=device)  # kept in one place: small pieces would part the freed memory
    looks = set(recipe.rung_steps)
    taught = model.value_parameters
    known = {id(p) for p in taught}
    clipped = [[p for p in model.parameters() if id(p) not in known], taught]
    for step, batch in enumerate(training_batches(corpus, recipe)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        tokens = torch.from_numpy(batch).to(device)
        with autocast(device):
            logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        losses[step] = loss.detach()
        if taught and step % max(1, LESSON_ROWS // len(tokens)) == 0:
            loss = loss + value_lesson(model, tokens[: -(-len(tokens) // LESSON_ROWS)])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for parameters in clipped:  # apart, so that lessons do not shorten the model's steps
            nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimiser.step()
        on_step(step + 1, recipe.steps)
        if step + 1 in looks:
            if not torch.isfinite(losses[step]):
                raise FloatingPointError(f"the training loss is not finite at step {step + 1}")
            if not look(step + 1):
                raise Stopped
    values = losses.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise FloatingPointError(f"the training loss is not finite at step {int(np.argmin(np.isfinite(values)))}")
    pieces = np.array_split(np.arange(len(values)), min(CURVE_POINTS, len(values)))
    per_step = recipe.batch * recipe.length
    return [(int(piece[-1] + 1) * per_step, float(values[piece].mean())) for piece in pieces]


def adamw(model: LanguageModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays projections and embeddings only, never norms, biases, convolutions or decay rates."""
    modules = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)]
    matrices = {id(module.weight): module.weight for module in modules}
    others = [p for p in model.parameters() if id(p) not in matrices]
    groups = [
        {"params": list(matrices.values()), "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=FIRST_MOMENTS)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
