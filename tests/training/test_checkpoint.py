"""Checkpoints: a run cut short ends as one that was not, bit for bit; what does not belong to it is ignored."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import l2m_design.training.checkpoint as checkpoints
import l2m_design.training.run as run
from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import Windows
from l2m_design.model import LanguageModel
from l2m_design.model.language import Block
from l2m_design.training.batches import training_batches
from l2m_design.training.optimiser import optimiser_of
from l2m_design.training.ranks import ALONE
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.run import Stopped, train
from l2m_design.training.step import Work, compiled

CPU = torch.device("cpu")
SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = Recipe(length=64, tokens=64 * 64, batch_tokens=256, windows=16, rungs=(0.25, 0.75))
KINDS: dict[str, dict[str, Any]] = {
    "mamba2": {"kind": "mamba2", "d_state": 8, "head_dim": 8},
    "attention": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    "value": {
        "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.5,
        "allocate": "global", "choose": "value",
    },
    "use": {
        "kind": "sparse_attention", "heads": 2, "kv_heads": 2, "head_dim": 8, "chunk": 8, "exponent": 0.5,
        "allocate": "layer", "choose": "use",
    },
}  # fmt: skip
SECONDS = ("train_seconds", "evaluate_seconds", "context_seconds", "compile_seconds", "peak_memory_bytes")


class Cut(Exception):
    """The run was cut short."""


def drawing(*kinds: str) -> Architecture:
    return Architecture.parse({"vocabulary": 10, "width": 16, "layers": [KINDS[kind] for kind in kinds]}, "drawing")


def trained(drawn: Architecture, recipe: Recipe = RECIPE, **more: Any) -> tuple[LanguageModel, Result]:
    return train(drawn, open_corpus(SPEC), recipe, CPU, **more)


def cut(path: Path, step: int, drawn: Architecture, recipe: Recipe = RECIPE, every: float = 0.0) -> None:
    """A run that is cut short after a step, just before its checkpoint."""

    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Cut

    with pytest.raises(Cut):
        trained(drawn, recipe, on_step=on_step, checkpoint=path, checkpoint_seconds=every)
    assert path.exists()


def same(one: tuple[LanguageModel, Result], two: tuple[LanguageModel, Result]) -> bool:
    weights = all(torch.equal(p, two[0].get_parameter(name)) for name, p in one[0].named_parameters())
    ours, theirs = (vars(result).items() for _, result in (one, two))
    return weights and all(a == b for (name, a), (_, b) in zip(ours, theirs, strict=True) if name not in SECONDS)


@pytest.mark.parametrize("kinds", [("mamba2", "attention"), ("value", "mamba2"), ("use", "mamba2")])
def test_two_runs_of_the_same_on_a_cpu_are_bit_equal(kinds: tuple[str, ...]) -> None:
    assert same(trained(drawing(*kinds)), trained(drawing(*kinds)))


@pytest.mark.parametrize("kinds", [("mamba2", "attention"), ("value", "mamba2"), ("use", "mamba2")])
@pytest.mark.parametrize(("step", "begins"), [(3, 2), (10, 9), (16, 15)])
def test_a_run_cut_short_ends_bit_equal(tmp_path: Path, kinds: tuple[str, ...], step: int, begins: int) -> None:
    path, steps = tmp_path / "runs" / "one", []
    cut(path, step, drawing(*kinds))
    torch.manual_seed(99)
    again = trained(drawing(*kinds), checkpoint=path, on_step=lambda done, total: steps.append(done))
    assert steps == list(range(begins + 1, 17))
    assert same(again, trained(drawing(*kinds)))
    assert not path.exists()
    assert not list(path.parent.iterdir())


def test_rungs_already_passed_are_reported_again_without_another_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first, again, looks = tmp_path / "one", [], [], []
    with pytest.raises(Cut):
        trained(drawing("mamba2"), checkpoint=path, on_rung=lambda r: first.append(r) is None, on_step=_cut_at(10))
    evaluate = run.evaluate
    monkeypatch.setattr(run, "evaluate", lambda *a: (looks.append(a), evaluate(*a))[1])
    trained(drawing("mamba2"), checkpoint=path, on_rung=lambda rung: again.append(rung) is None)
    assert again[0] == first[0]
    assert [rung.step for rung in again] == [4, 12]
    assert len(looks) == 3  # the second rung, validation, test


def test_time_spent_before_the_cut_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with pytest.raises(Cut):
        trained(drawing("mamba2"), checkpoint=path, on_step=lambda done, total: _sleep_then_cut(done))
    _, result = trained(drawing("mamba2"), checkpoint=path)
    assert result.train_seconds > 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_end_of_a_step_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path, raised, step = tmp_path / "kept", list[int](), run.take_step

    def interrupted(work: Any, batch: Any, at: int) -> Any:
        if at == 5 and not raised:
            raised.append(at)
            signal.raise_signal(number)
        return step(work, batch, at)

    whole = trained(drawing("mamba2"))
    monkeypatch.setattr(run, "take_step", interrupted)
    before = signal.signal(number, signal.default_int_handler)  # as the command line has it; a batch may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(drawing("mamba2"), checkpoint=path, checkpoint_seconds=1e9)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    steps: list[int] = []
    again = trained(drawing("mamba2"), checkpoint=path, on_step=lambda done, total: steps.append(done))
    assert steps[0] == 7
    assert same(whole, again)


def test_an_interrupted_evaluation_keeps_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*evaluated: Any) -> None:
        raise KeyboardInterrupt

    path, steps = tmp_path / "kept", list[int]()
    with monkeypatch.context() as patched:
        patched.setattr(run, "_result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(drawing("mamba2"), checkpoint=path, checkpoint_seconds=1e9)
    again = trained(drawing("mamba2"), checkpoint=path, on_step=lambda done, total: steps.append(done))
    assert not steps
    assert same(trained(drawing("mamba2")), again)


@pytest.mark.parametrize("other", ["recipe", "drawing", "corpus", "broken", "empty", "cut off"])
def test_what_is_no_checkpoint_of_this_run_is_ignored(tmp_path: Path, other: str) -> None:
    path, steps, recipe, spec = tmp_path / "one", [], RECIPE, SPEC
    cut(path, 6, drawing("attention") if other == "drawing" else drawing("mamba2"))
    if other == "recipe":
        recipe = RECIPE.model_copy(update={"seed": 1})
    if other == "corpus":
        spec = SPEC + ",seed=1"
    content = {"broken": b"\x00" * 999, "empty": b"", "cut off": path.read_bytes()[:-100]}
    path.write_bytes(content.get(other, path.read_bytes()))
    corpus = open_corpus(spec)
    train(drawing("mamba2"), corpus, recipe, CPU, on_step=lambda done, total: steps.append(done), checkpoint=path)
    assert steps[0] == 1
    assert not path.exists()


def test_a_disk_that_refuses_costs_no_run_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, write = [], checkpoints.write_tensors

    def refuse(*arguments: Any) -> None:
        tries.append(arguments)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoints, "write_tensors", refuse)
    cut(tmp_path / "one", 5, drawing("mamba2"))
    assert len(tries) == 4
    nowhere = Path("/dev/null/one")
    monkeypatch.undo()
    assert same(trained(drawing("mamba2"), checkpoint=nowhere), trained(drawing("mamba2")))


def test_a_stopped_run_leaves_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with pytest.raises(Stopped):
        trained(drawing("mamba2"), on_rung=lambda rung: rung.step < 12, checkpoint=path)
    assert not path.exists()


def test_checkpoints_are_written_at_rungs_and_by_the_clock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, write = [], checkpoints.write_tensors
    monkeypatch.setattr(checkpoints, "write_tensors", lambda *a: (steps.append(a[2]["notes"][:12]), write(*a)))
    trained(drawing("mamba2"), checkpoint=tmp_path / "one", checkpoint_seconds=1e6)
    assert steps == ['{"step": 4, ', '{"step": 12,']


def test_batches_can_begin_at_a_step_without_reading_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, read, tokens = open_corpus(SPEC), [], Windows.tokens
    whole = list(training_batches(corpus, RECIPE))
    monkeypatch.setattr(Windows, "tokens", lambda self, rows: (read.append(rows.start), tokens(self, rows))[1])
    rest = list(training_batches(corpus, RECIPE, 13))
    assert read == [52, 56, 60]
    assert all((a == b).all() for a, b in zip(rest, whole[13:], strict=True))


def test_compiling_is_timed_apart_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for torch.compile that takes two seconds and draws random numbers at the first call."""
    alone = trained(drawing("mamba2"))
    forward, calls = Block.forward, []

    def slow(self: Block, x: torch.Tensor, *rest: Any) -> Any:
        calls.append(x.shape[:2])
        if len(calls) == 1:
            torch.rand(3)
            time.sleep(2.0)
        return forward(self, x, *rest)

    monkeypatch.setattr(LanguageModel, "compile_layers", lambda self: monkeypatch.setattr(Block, "forward", slow))
    monkeypatch.setattr(run, "_check", lambda *arguments: None)
    ready: list[int] = []
    recipe = RECIPE.model_copy(update={"compile": True})
    both = trained(drawing("mamba2"), recipe, on_ready=lambda: ready.append(len(calls)))
    assert ready == [1]
    assert calls[0] == calls[1] == (4, 64)
    assert both[1].compile_seconds > 2.0
    assert both[1].train_seconds < 2.0
    assert same(both, alone)


def test_a_compiled_model_has_no_gradients_and_the_random_numbers_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from l2m_design.model import build

    monkeypatch.setattr(LanguageModel, "compile_layers", lambda self: torch.rand(1))
    model, before = build(drawing("mamba2")), torch.get_rng_state()
    assert compiled(Work(model, optimiser_of(model, RECIPE), RECIPE, CPU, ALONE, 4)) > 0.0
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in model.parameters())


def test_the_listener_hears_once_that_all_is_ready_before_the_first_step() -> None:
    heard: list[Any] = []
    trained(
        drawing("mamba2"),
        on_ready=lambda: heard.append("ready"),
        on_step=lambda done, total: heard.append(done),
        on_rung=lambda rung: heard.append(rung.step) is None,
    )
    assert heard[:2] == ["ready", 1]
    assert heard.count("ready") == 1


def _cut_at(step: int) -> Any:
    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Cut

    return on_step


def _sleep_then_cut(done: int) -> None:
    if done == 2:
        time.sleep(1.0)
    if done == 6:
        raise Cut
