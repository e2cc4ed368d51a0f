"""One training run: an architecture, a corpus and a recipe become a model and its Result."""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.corpus.synthetic import knows_information
from l2m_design.corpus.windows import Windows
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.model import LanguageModel, build
from l2m_design.model.backends import keep_freed_memory, matmul_precision
from l2m_design.model.probes import chosen, said, serving
from l2m_design.model.probing import Probe
from l2m_design.training.batches import held_out_windows, training_batches
from l2m_design.training.checkpoint import Checkpoint, Progress, Stopwatch, held, identity
from l2m_design.training.context import contexts_of, late_with_cut_past
from l2m_design.training.evaluate import evaluate
from l2m_design.training.excess import excess
from l2m_design.training.interrupts import whole_step
from l2m_design.training.optimiser import optimiser_of
from l2m_design.training.ranks import ALONE, Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.sharding import check_shards, shard
from l2m_design.training.step import Work, compiled, take_step, whole_model

CURVE_POINTS = 64
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Rung:
    """A look at a run on its way: optimiser steps done, tokens read, late loss in nats per token.

    seconds: that training and evaluating took so far.
    """

    step: int
    tokens: int
    late_loss: float
    seconds: float = field(default=0.0, compare=False)


class Stopped(Exception):
    """The run was told to stop at a rung."""


def check_vocabulary(architecture: Architecture, corpus: Corpus, where: str = "architecture") -> None:
    """Raises BadInput if the corpus has tokens that the architecture does not have. where: how messages name the
    architecture.
    """
    if architecture.vocabulary < corpus.vocabulary:
        raise BadInput(
            f"{where}: vocabulary: {architecture.vocabulary}, the corpus {corpus.name} has {corpus.vocabulary}"
        )


def check_compile(recipe: Recipe, device: torch.device) -> None:
    """Raises BadInput where a recipe is to be compiled for a CPU, which works but does not pay (docs/lab-book.md)."""
    if recipe.compile and device.type != "cuda":
        slow = "where compiling takes minutes and saves hardly any time"
        raise BadInput(f"compile: for GPUs only, the device is {device.type}, {slow}; leave it out")


def check_shares(recipe: Recipe, processes: int) -> None:
    """Raises BadInput when so many processes cannot share a batch evenly."""
    if recipe.batch % processes:
        raise BadInput(
            f"recipe.batch_tokens: {recipe.batch_tokens} hold {recipe.batch} windows of {recipe.length}, "
            f"which cannot be divided evenly among {processes} processes"
        )


def _check(architecture: Architecture, corpus: Corpus, recipe: Recipe, device: torch.device, ranks: Ranks) -> None:
    check_vocabulary(architecture, corpus)
    architecture.check_context(recipe.length, "recipe")
    check_compile(recipe, device)
    check_shares(recipe, ranks.count)
    if ranks.shard:
        check_shards(architecture)


@dataclass(frozen=True)
class _Run:
    """What a process trains with, on what; the probes of its kernels, and the seconds that compiling took."""

    work: Work
    corpus: Corpus
    probes: tuple[Probe, ...]
    compile_seconds: float


def _prepared(
    architecture: Architecture,
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    ranks: Ranks,
    known: tuple[Probe, ...] | None = None,
) -> _Run:
    """Checked, probed, built and compiled."""
    _check(architecture, corpus, recipe, device, ranks)
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    if recipe.kernels == "torch":
        known = ()
    with matmul_precision("highest"):  # kernels are held to torch's own values
        kernels, probes = serving(architecture, device) if known is None else chosen(known)
    model = build(architecture, kernels, recipe.recompute).to(device)
    if ranks.shard:
        shard(model, device)
    share = recipe.batch // ranks.count
    windows = share if recipe.micro_batch == "auto" else min(share, recipe.micro_batch)
    work = Work(model, optimiser_of(model, recipe), recipe, device, ranks, windows, kernels)
    seconds = compiled(work) if recipe.compile else 0.0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # the memory of probes and compiling is not the run's
    return _Run(work, corpus, probes, seconds)


def _begin(work: Work, kept: Checkpoint) -> Progress:
    """At the first step, or where a checkpoint stands that every process has read."""
    progress = Progress(torch.zeros(work.recipe.steps, device=work.device))
    saved = kept.read(work.model)
    if work.ranks.agree(saved.step if saved else 0, work.device) and saved:
        saved.restore(work.model, work.optimiser, progress)
    return progress


def _as_precise_as_asked(
    function: Callable[Concatenate[Architecture, Corpus, Recipe, P], R],
) -> Callable[Concatenate[Architecture, Corpus, Recipe, P], R]:
    """The same function, within whose calls products of matrices are as precise as the recipe says."""

    @wraps(function)
    def precise(architecture: Architecture, corpus: Corpus, recipe: Recipe, /, *rest: P.args, **named: P.kwargs) -> R:
        with matmul_precision(recipe.matmul_precision):
            return function(architecture, corpus, recipe, *rest, **named)

    return precise


@_as_precise_as_asked
def train(
    architecture: Architecture,
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    on_rung: Callable[[Rung], bool] = lambda rung: True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_ready: Callable[[], None] = lambda: None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    ranks: Ranks = ALONE,
    probes: tuple[Probe, ...] | None = None,
    on_loss: Callable[[int, float], None] | None = None,
) -> tuple[LanguageModel, Result]:
    """Train and evaluate one candidate; on_rung answers whether to go on.

    on_ready: called when all is compiled, before the first step; from here on time counts. checkpoint: file of the
    run's state, written at rungs, every so many seconds and on an interrupt, and read to resume (rungs passed are
    reported again). ranks: of several processes. probes: of kernels. on_loss: receives tokens read, nats per token.

    Raises BadInput when documents are too short or vocabulary, device or processes do not fit, Stopped when told to
    stop, FloatingPointError when the loss is not finite, torch.OutOfMemoryError when a GPU does not hold one window.
    """
    run = _prepared(architecture, corpus, recipe, device, ranks, probes)
    progress = _begin(run.work, kept := _kept(checkpoint, checkpoint_seconds, architecture, corpus, recipe))
    validation = held_out_windows(corpus, "validation", recipe.length, recipe.windows)
    first = unigram_nats(corpus.documents("train"), corpus.vocabulary)

    def look(step: int) -> bool:
        watch.into("train")
        if step not in progress.looked:
            seen = evaluate(whole_model(run.work), validation, device, first, max(8, recipe.windows // 4))
            progress.looked[step] = seen.late_loss
        watch.into("evaluate")
        spent = progress.seconds["train"] + progress.seconds["evaluate"]
        answer = on_rung(Rung(step, step * recipe.batch * recipe.length, progress.looked[step], spent))
        watch.into("wait")
        return answer

    def keep(at_rung: bool) -> None:
        if at_rung or (kept.due and not ranks.shard):  # only at rungs do all processes take part
            watch.into("train")
            kept.write(run.work.model, run.work.optimiser, progress)
            watch.into("write")

    on_ready()
    watch = Stopwatch(progress.seconds)
    try:
        _optimise(run, progress, look, on_step, keep, on_loss)
        watch.into("train")
        result = _result(run, model := whole_model(run.work), progress, validation, first, watch)
    except (Stopped, FloatingPointError, torch.OutOfMemoryError):
        kept.remove()
        raise
    except KeyboardInterrupt:
        if not ranks.shard:
            keep(at_rung=True)
        raise
    kept.remove()
    return model, result


@_as_precise_as_asked
def follow(
    architecture: Architecture,
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    checkpoint: Path | None,
    ranks: Ranks,
    *,
    probes: tuple[Probe, ...] | None = None,
) -> None:
    """The part in a run of every process but the first, which leads in `train`. Raises as `train` does."""
    run = _prepared(architecture, corpus, recipe, device, ranks, probes)
    progress = _begin(run.work, _kept(checkpoint, 0.0, architecture, corpus, recipe))

    def look(step: int) -> bool:
        if step not in progress.looked:
            whole_model(run.work)
        return True

    def keep(at_rung: bool) -> None:
        if at_rung and ranks.shard and checkpoint is not None:
            held(run.work.model, run.work.optimiser)

    _optimise(run, progress, look, lambda done, total: None, keep, None)
    whole_model(run.work)


def _kept(path: Path | None, every: float, architecture: Architecture, corpus: Corpus, recipe: Recipe) -> Checkpoint:
    return Checkpoint(path, every, identity(architecture, corpus, recipe) if path else "")


def _optimise(
    run: _Run,
    progress: Progress,
    look: Callable[[int], bool],
    on_step: Callable[[int, int], None],
    keep: Callable[[bool], None],
    on_loss: Callable[[int, float], None] | None,
) -> None:
    work, recipe = run.work, run.work.recipe
    looks = set(recipe.rung_steps)
    points = {piece.stop: piece for piece in _pieces(recipe.steps)} if on_loss else {}
    for step in sorted(progress.looked):
        if not work.ranks.answer(look(step), work.device):
            raise Stopped
    for batch in training_batches(run.corpus, recipe, progress.step):
        with whole_step():
            progress.losses[progress.step] = take_step(work, batch, progress.step)
            progress.step += 1
        if on_loss and (piece := points.get(progress.step)):
            mean = progress.losses[piece.start : piece.stop].double().mean()
            on_loss(progress.step * recipe.batch * recipe.length, float(mean))
        on_step(progress.step, recipe.steps)
        if progress.step in looks:
            if not torch.isfinite(progress.losses[progress.step - 1]):
                raise FloatingPointError(f"the training loss is not finite at step {progress.step}")
            if not work.ranks.answer(look(progress.step), work.device):
                raise Stopped
        keep(progress.step in looks)
    finite = torch.isfinite(progress.losses)
    if not finite.all():
        raise FloatingPointError(f"the training loss is not finite at step {int(finite.int().argmin())}")


def _result(
    run: _Run, model: LanguageModel, progress: Progress, validation: Windows, first: Floats, watch: Stopwatch
) -> Result:
    """Evaluate a trained model, as a whole."""
    work, corpus, recipe, device = run.work, run.corpus, run.work.recipe, run.work.device
    curve = _curve(progress.losses.double().cpu().numpy(), recipe.batch * recipe.length)
    losses = evaluate(model, validation, device, first)
    testing = held_out_windows(corpus, "test", recipe.length, recipe.windows)
    test = evaluate(model, testing, device, first)
    if not np.isfinite([losses.late_loss, test.late_loss]).all():
        raise FloatingPointError("the held-out loss is not finite at the end")
    watch.into("evaluate")
    contexts = contexts_of(recipe.length) if recipe.contexts is None else recipe.contexts
    contexts = tuple(c for c in contexts if not model.architecture.too_short(c))
    cut = late_with_cut_past(model, testing, contexts, device)
    watch.into("context")
    over, test_over = excess(losses, validation, corpus), excess(test, testing, corpus)
    watch.into("evaluate")
    return Result(
        late_loss=losses.late_loss,
        late_by_document=losses.late_by_document().tolist(),
        test_late_loss=test.late_loss,
        test_late_by_document=test.late_by_document().tolist(),
        loss_by_position=losses.by_position().tolist(),
        mi_captured_nats=over.captured(corpus) if over and knows_information(corpus) else losses.captured(),
        curve=curve,
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=recipe.spent,
        train_seconds=progress.seconds["train"],
        evaluate_seconds=progress.seconds["evaluate"] + progress.seconds["context"],
        peak_memory_bytes=_peak_memory(device),
        device=str(device),
        seed=recipe.seed,
        kernels=said(run.probes, device),
        probes=[probe.plain() for probe in run.probes if probe.on],
        compile_seconds=run.compile_seconds,
        late_excess_nats=over.late() if over else None,
        test_late_excess_by_document=test_over.late_by_document().tolist() if test_over else None,
        test_excess_by_position=test_over.by_position().tolist() if test_over else None,
        test_late_by_context={str(c): late.tolist() for c, late in cut.items()},
        context_seconds=progress.seconds["context"],
        micro_batch=work.windows,
        matmul_precision=torch.get_float32_matmul_precision(),
    )


def _curve(values: Floats, tokens: int) -> list[tuple[int, float]]:
    """(tokens read, mean loss in nats) at up to CURVE_POINTS points of the steps' losses, `tokens` a step."""
    pieces = _pieces(len(values))
    return [(piece.stop * tokens, float(values[piece.start : piece.stop].mean())) for piece in pieces]


def _pieces(steps: int) -> list[range]:
    """The steps of each point of the curve."""
    pieces = np.array_split(np.arange(steps), min(CURVE_POINTS, steps))
    return [range(int(piece[0]), int(piece[-1]) + 1) for piece in pieces]


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
