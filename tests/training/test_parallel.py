"""Parallel: several processes train what one would, and none outlives the first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing import start_processes

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.library.train import train as train_named
from l2m_design.model import LanguageModel, build
from l2m_design.training import parallel
from l2m_design.training.checkpoint import held
from l2m_design.training.optimiser import Optimiser, optimiser_of
from l2m_design.training.parallel import Plan, train_together
from l2m_design.training.ranks import Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.run import Rung, Stopped, train
from l2m_design.training.sharding import like, load, shard, whole
from l2m_design.training.step import Work, take_step

CPU = torch.device("cpu")
SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = Recipe(length=64, tokens=64 * 8 * 12, batch_tokens=512, windows=16, rungs=(0.5,), optimiser="adamw")
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
MAMBA = {"kind": "mamba2", "d_state": 8, "head_dim": 8}
VALUE = {
    "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.5,
    "allocate": "global", "choose": "value",
}  # fmt: skip
USE = VALUE | {"allocate": "layer", "choose": "use"}


def drawing(*layers: dict[str, Any]) -> Architecture:
    return Architecture.parse({"vocabulary": 10, "width": 16, "layers": list(layers)}, "drawing")


def plan(drawn: Architecture, **changes: Any) -> Plan:
    return Plan(**{"architecture": drawn, "corpus": SPEC, "recipe": RECIPE, "device": "cpu", "threads": 1} | changes)


def test_processes_take_the_gpus_from_the_named_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    parallel.check_processes(2, torch.device("cuda:2"))
    with pytest.raises(BadInput, match="2 processes need 2 GPUs from GPU 3 on, but this machine has 4"):
        parallel.check_processes(2, torch.device("cuda:3"))
    ours = plan(drawing(MAMBA), device="cuda:2")
    assert [str(parallel._device(ours, Ranks(rank, 2))) for rank in range(2)] == ["cuda:2", "cuda:3"]


@pytest.mark.parametrize(
    ("layers", "batch_tokens", "optimiser", "within"),
    [
        ((ATTENTION, MAMBA), 512, "adamw", 1e-4),
        ((VALUE, MAMBA), 512, "adamw", 2e-3),  # a last bit decides which token is evicted, from some step on
        ((VALUE, MAMBA), 256, "adamw", 2e-3),
        ((USE, MAMBA), 512, "adamw", 2e-3),
        ((ATTENTION, MAMBA), 512, "muon", 2e-3),  # orthogonalised in bfloat16: a last bit of the sum is 1e-3 of a step
    ],
    ids=["attention and mamba2", "a lesson that is shared", "a lesson that each process has", "use", "muon"],
)
def test_two_processes_train_what_one_trains(
    layers: tuple[dict[str, Any], ...], batch_tokens: int, optimiser: str, within: float
) -> None:
    recipe = RECIPE.model_copy(update={"batch_tokens": batch_tokens, "optimiser": optimiser})
    seen: list[list[Rung]] = [[], []]
    one, alone = train(drawing(*layers), open_corpus(SPEC), recipe, CPU, lambda rung: seen[0].append(rung) is None)
    two, together = train_together(2, plan(drawing(*layers), recipe=recipe), lambda rung: seen[1].append(rung) is None)
    assert together.late_loss == pytest.approx(alone.late_loss, abs=within)
    exact = 1e-5 if optimiser == "adamw" else within
    for index, ((tokens, loss), (tokens_alone, loss_alone)) in enumerate(zip(together.curve, alone.curve, strict=True)):
        assert tokens == tokens_alone
        assert loss == pytest.approx(loss_alone, abs=exact if index < len(alone.curve) // 3 else within)
    assert [rung.step for rung in seen[1]] == [rung.step for rung in seen[0]]
    for name, p in two.named_parameters():
        torch.testing.assert_close(p, one.get_parameter(name), atol=20 * within, rtol=1e-2, msg=name)


@pytest.mark.parametrize(("optimiser", "within"), [("adamw", 1e-4), ("muon", 2e-3)])
def test_two_processes_that_share_the_weights_train_what_one_trains(optimiser: str, within: float) -> None:
    recipe = RECIPE.model_copy(update={"optimiser": optimiser})
    drawn = drawing(ATTENTION, MAMBA, ATTENTION | {"window": 16}, {"kind": "gated_deltanet", "heads": 2, "head_dim": 8})
    one, alone = train(drawn, open_corpus(SPEC), recipe, CPU)
    two, together = train_together(2, plan(drawn, recipe=recipe, shard=True))
    assert together.late_loss == pytest.approx(alone.late_loss, abs=within)
    assert [loss for _, loss in together.curve][:4] == pytest.approx([loss for _, loss in alone.curve][:4], abs=within)
    for name, p in two.named_parameters():
        torch.testing.assert_close(p, one.get_parameter(name), atol=20 * within, rtol=1e-2, msg=name)


def _sharded_gradients(rank: int, meeting: str, out: str) -> None:
    """Of two processes: what take_step leaves of a batch, in the first one's file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    work = whole_work(Ranks(rank, 2, shard=True))
    loss = take_step(work, BATCH, 0)
    local = sum(p.to_local().numel() for p in work.model.parameters())
    found = {name: whole(p.grad) for name, p in work.model.named_parameters()}
    if rank == 0:
        torch.save({"loss": loss, "local": local, "gradients": found}, out)
    distributed.destroy_process_group()


BATCH = np.random.default_rng(0).integers(0, 10, (8, 65))


def whole_work(ranks: Ranks) -> Work:
    torch.manual_seed(0)
    model = build(drawing(ATTENTION, MAMBA))
    if ranks.shard:
        shard(model, CPU)
    return Work(model, optimiser_of(model, RECIPE), RECIPE, CPU, ranks, 8 // ranks.count)


def test_loss_and_gradients_of_shards_are_those_of_one_process(tmp_path: Path) -> None:
    """After clipping; and each process holds half of the weights."""
    alone = whole_work(Ranks())
    loss = take_step(alone, BATCH, 0)
    start_processes(_sharded_gradients, (str(tmp_path / "meeting"), str(tmp_path / "out")), 2, start_method="spawn")
    found = torch.load(tmp_path / "out")
    assert float(found["loss"]) == pytest.approx(float(loss), abs=1e-6)
    for name, p in alone.model.named_parameters():
        torch.testing.assert_close(found["gradients"][name], p.grad, atol=1e-6, rtol=1e-5, msg=name)
    assert found["local"] == pytest.approx(alone.model.architecture.parameters / 2, rel=0.05)


def muon_step(model: LanguageModel, kept: dict[int, dict[str, Tensor]], batched: bool) -> Optimiser:
    """A step with drawn gradients, the optimiser going on from what was kept."""
    optimiser = optimiser_of(model, RECIPE.model_copy(update={"optimiser": "muon"}), batched)
    optimiser.restore(kept)
    generator = torch.Generator().manual_seed(len(kept))
    for p in model.parameters():
        p.grad = like(torch.randn(p.shape, generator=generator), p)
    optimiser.rate(0.01)
    optimiser.step()
    return optimiser


def _sharded_muon(rank: int, meeting: str, given: str) -> None:
    """Of two processes: a step from the weights and states of one, in the first one's file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    model, (weights, kept) = whole_work(Ranks(rank, 2, shard=True)).model, torch.load(given)
    load(model, weights)
    found = held(model, muon_step(model, kept, batched=True))
    distributed.barrier()
    if rank == 0:
        torch.save(found, given)
    distributed.destroy_process_group()


def test_muon_in_batches_over_shards_steps_as_torchs_in_one_process(tmp_path: Path) -> None:
    """From a state that torch's made, and to the same."""
    model = whole_work(Ranks()).model
    kept = muon_step(model, {}, batched=False).state()
    torch.save((model.state_dict(), kept), given := str(tmp_path / "given"))
    expected = held(model, muon_step(model, kept, batched=False))
    start_processes(_sharded_muon, (str(tmp_path / "meeting"), given), 2, start_method="spawn")
    torch.testing.assert_close(torch.load(given), expected)


def test_sharded_processes_go_on_from_a_checkpoint_of_one_and_one_from_theirs(tmp_path: Path) -> None:
    """A checkpoint holds all whole: it says nothing of how many held it."""
    drawn, kept = drawing(ATTENTION, MAMBA), tmp_path / "kept"
    _, alone = train(drawn, open_corpus(SPEC), RECIPE, CPU)

    def stop(done: int, total: int) -> None:
        if done > total // 2 + 1:
            raise ZeroDivisionError

    for begin_sharded in (True, False):
        with pytest.raises(ZeroDivisionError):
            run_kept(begin_sharded, kept, stop)
        assert kept.exists()
        resumed: list[int] = []
        result = run_kept(not begin_sharded, kept, lambda done, total, seen=resumed: seen.append(done))  # type: ignore[misc]
        assert resumed[0] == RECIPE.steps // 2 + 1
        assert result.late_loss == pytest.approx(alone.late_loss, abs=1e-4)


def run_kept(sharded: bool, kept: Path, on_step: Callable[[int, int], None]) -> Result:
    drawn = drawing(ATTENTION, MAMBA)
    if sharded:
        return train_together(2, plan(drawn, shard=True, checkpoint=kept), on_step=on_step, checkpoint_seconds=1e6)[1]
    return train(drawn, open_corpus(SPEC), RECIPE, CPU, on_step=on_step, checkpoint=kept, checkpoint_seconds=1e6)[1]


def test_lessons_are_refused_where_weights_are_shared() -> None:
    with pytest.raises(BadInput, match=r"layers\.0 has choose: value"):
        train_together(2, plan(drawing(VALUE, MAMBA), shard=True))


def test_a_run_in_a_folder_is_shared_by_its_corpus_name(tmp_path: Path) -> None:
    given = RECIPE.plain() | {"tokens": 64 * 8 * 4}
    alone = train_named(drawing(MAMBA), SPEC, **given)
    together = train_named(drawing(MAMBA), SPEC, out=tmp_path / "made", processes=2, **given)
    assert together.result.late_loss == pytest.approx(alone.result.late_loss, abs=1e-4)
    assert (tmp_path / "made" / "weights.safetensors").exists()
    with pytest.raises(BadInput, match="several processes need the name of the corpus"):
        train_named(drawing(MAMBA), open_corpus(SPEC), processes=2, **given)
    with pytest.raises(BadInput, match="hold 8 windows of 64, which cannot be divided evenly among 3 processes"):
        train_named(drawing(MAMBA), SPEC, processes=3, **given)


def test_the_first_process_decides_for_all_when_to_stop() -> None:
    with pytest.raises(Stopped):
        train_together(2, plan(drawing(MAMBA)), lambda rung: False)
    assert not others()


def test_a_batch_that_cannot_be_shared_is_bad_input() -> None:
    with pytest.raises(
        BadInput,
        match=r"recipe\.batch_tokens: 512 hold 8 windows of 64, which cannot be divided evenly among 3 processes",
    ):
        train_together(3, plan(drawing(MAMBA)))
    assert not others()


def test_an_error_of_the_first_process_ends_the_others() -> None:
    def fail(done: int, total: int) -> None:
        raise KeyError("from the first")

    with pytest.raises(KeyError, match="from the first"):
        train_together(2, plan(drawing(MAMBA)), on_step=fail)
    assert not others()


def test_a_killed_process_is_an_error_of_the_run() -> None:
    def kill(done: int, total: int) -> None:
        if done == 2:
            for child in others():
                child.send_signal(signal.SIGKILL)

    with pytest.raises(WorkFailed, match="process 2 of 2: it ended without a message"):
        train_together(2, plan(drawing(MAMBA)), on_step=kill)
    assert not others()


def test_an_error_of_another_process_is_an_error_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        parallel, "open_corpus", lambda spec, tokenizer: open_corpus(SPEC)
    )  # in the first process alone
    with pytest.raises(WorkFailed, match=r"process 2 of 2: BadInput: nowhere\.txt: no such corpus"):
        train_together(2, plan(drawing(MAMBA), corpus="nowhere.txt"))
    assert not others()


def test_two_processes_go_on_from_a_checkpoint_of_two_and_one_from_theirs(tmp_path: Path) -> None:
    path = tmp_path / "one"

    def cut_at(step: int) -> Callable[[int, int], None]:
        def on_step(done: int, total: int) -> None:
            steps.append(done)
            if done == step:
                raise KeyError("cut")

        return on_step

    steps: list[int] = []
    _, whole = train(drawing(MAMBA), open_corpus(SPEC), RECIPE, CPU)
    for step in (4, 8):
        with pytest.raises(KeyError):
            train_together(2, plan(drawing(MAMBA), checkpoint=path), on_step=cut_at(step), checkpoint_seconds=0.0)
    _, last = train(drawing(MAMBA), open_corpus(SPEC), RECIPE, CPU, on_step=cut_at(99), checkpoint=path)
    assert steps == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12]
    assert last.late_loss == pytest.approx(whole.late_loss, abs=1e-4)
    assert np.array(last.curve) == pytest.approx(np.array(whole.curve), abs=1e-4)
    assert not path.exists()


def test_the_others_end_when_the_first_is_killed() -> None:
    code = f"""
import time
from l2m_design.architecture import Architecture
from l2m_design.training.parallel import Plan, train_together
from l2m_design.training.recipe import Recipe
if __name__ == "__main__":
    drawing = Architecture.parse({drawing(MAMBA).plain()!r}, "drawing")
    recipe = Recipe(length=64, batch_tokens=512, tokens=512 * 8, rungs=())
    def wait(done, total):
        print("in training", flush=True)
        time.sleep(600)
    train_together(2, Plan(drawing, {SPEC!r}, recipe, "cpu", 1), on_step=wait)
"""
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "in training\n"
    children = [child for child in psutil.Process(first.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(children) == 1
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, gone


def others() -> list[psutil.Process]:
    """The processes that train with this one."""
    time.sleep(0.1)
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
