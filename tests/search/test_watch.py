"""Where a search stands: the best so far, what runs, what was rejected, the time left; kept in a file."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from l2m_design.cli.status import Live, clock, status_table
from l2m_design.errors import BadInput
from l2m_design.search import watch as watching
from l2m_design.search.record import Record
from l2m_design.search.watch import STATUS, Best, Running, Stage, Status, Watch, status_of
from tests.command import l2m


@pytest.fixture(autouse=True)
def _every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "EVERY", 0.0)


def record(number: int, loss: float | None, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "number": number, "state": "complete", "architecture": {}, "picture": "A W", "fingerprint": str(number),
        "parameters": 1, "state_bytes": 2048, "verdict": {}, "feasible": True, "params": {}, "value": loss,
        "result": {"late_loss": loss} if loss else None,
    }  # fmt: skip
    return Record(**{**fields, **changes})


def status(**changes: Any) -> Status:
    return replace(Status("tiny", "running", 1e9, socket.gethostname(), os.getpid()), **changes)


def drawn(found: Status) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(status_table(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_watch_knows_the_best_what_runs_and_what_was_rejected(tmp_path: Path) -> None:
    seen: list[Status] = []
    watch = Watch(tmp_path / STATUS, "tiny", seen.append)
    watch.know([record(0, 3.0)])
    watch.progress("trials", 1, 5)
    watch.step("trial 1, A W", 10, 100, "loss 3.1 after 64 tokens")
    watch.step("trial 2, A W", 5, 100, "")
    assert [run.name for run in status_of(tmp_path).running] == ["trial 1, A W", "trial 2, A W"]
    watch.trial(record(1, 2.0))
    watch.trial(record(3, 1.0, feasible=False))  # a baseline that does not meet the condition is not the best
    watch.trial(record(4, None, state="infeasible"))
    watch.trial(record(5, 1.5, copy_of=1))
    watch.progress("trials", 3, 5)
    found = status_of(tmp_path)
    assert found == seen[-1]
    assert found.best == Best(1, None, "A W", 2.0, 2048)
    assert [run.name for run in found.running] == ["trial 2, A W"]
    assert found.trials == {"complete": 3, "pruned": 0, "infeasible": 1, "failed": 0}
    assert (found.stage, found.done, found.total) == ("trials", 3, 5)
    assert found.seconds_left is not None


def test_a_run_that_ends_and_a_stage_that_ends_run_no_more(tmp_path: Path) -> None:
    watch = Watch(tmp_path / STATUS, "tiny")
    watch.progress("finalists", 0, 2)
    watch.step("all attention, seed 0", 1, 2, "")
    watch.step("all windows, seed 0", 1, 2, "")
    watch.step("all attention, seed 0", 2, 2, "")
    assert [run.name for run in status_of(tmp_path).running] == ["all windows, seed 0"]
    watch.progress("finalists: recall", 0, 2)
    assert status_of(tmp_path).running == []
    watch.end("finished")
    watch.end("failed")
    assert status_of(tmp_path).state == "finished"


STAGES = [Stage("costs", 0, 10, 1.0), Stage("budget 1: test", 0, 2, 10.0), Stage("budget 2: test", 0, 2, 10.0)]


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    return lambda at: now.__setitem__(0, 100.0 + at)


def test_a_planned_study_says_what_is_measured_and_the_time_left_in_all(
    tmp_path: Path, clock_at: Callable[[float], None]
) -> None:
    watch = Watch(tmp_path / STATUS, "tiny")
    watch.plan(STAGES)
    for at, done in ((0.0, 4), (0.001, 5), (2.001, 6), (4.001, 7)):  # 5 are known from an earlier session
        clock_at(at)
        watch.progress("costs", done, 10)
    found = status_of(tmp_path)
    assert [(stage.done, stage.total) for stage in found.stages] == [(7, 10), (0, 2), (0, 2)]
    assert found.seconds_left == pytest.approx(3 * 2.0)
    assert found.seconds_left_in_all == pytest.approx(2.0 * (3 + 40))
    clock_at(25.0)
    watch.progress("budget 2: test", 1, 3)  # those before it were known; this one has more parts than planned
    found = status_of(tmp_path)
    assert [(stage.done, stage.total) for stage in found.stages] == [(10, 10), (2, 2), (1, 3)]
    assert found.seconds_left is None
    assert found.seconds_left_in_all == pytest.approx(2.0 * 20)
    watch.end("finished")
    found = status_of(tmp_path)
    assert all(stage.done == stage.total for stage in found.stages)
    assert found.seconds_left_in_all is None


def test_the_table_of_a_planned_study_counts_all_budgets_together() -> None:
    stages = [replace(STAGES[0], done=10), replace(STAGES[1], done=2), replace(STAGES[2], done=1)]
    shown = drawn(
        status(stage="budget 2: test", done=1, total=2, seconds=60.0, seconds_left=20.0, stages=stages,
               seconds_left_in_all=130.0, trials={"complete": 0, "pruned": 0, "infeasible": 0, "failed": 0})
    )  # fmt: skip
    for part in ("budget 2: test: 1 of 2", "costs  10 of 10 measured", "test   3 of 4 measured", "1 min 00 s",
                 "about 20 s for budget 2: test, about 2 min 10 s in all"):  # fmt: skip
        assert " ".join(part.split()) in " ".join(shown.split())
    assert "trials" not in shown
    assert "rejected" not in shown


def test_a_search_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    Watch(tmp_path / STATUS, "tiny").progress("trials", 0, 1)
    kept = json.loads((tmp_path / STATUS).read_text())
    (tmp_path / STATUS).write_text(json.dumps(kept | {"pid": int(done.stdout)}))
    assert status_of(tmp_path).state == "lost"
    (tmp_path / STATUS).write_text(json.dumps(kept | {"host": "elsewhere", "updated": 0.0}))
    assert status_of(tmp_path).state == "lost"


def test_what_is_no_status_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no readable status; `l2m search` writes one"):
        status_of(tmp_path)
    (tmp_path / STATUS).write_text('{"study": 1}')
    with pytest.raises(BadInput, match=r"status\.json: not a status: study"):
        status_of(tmp_path)


def test_the_table_says_it_all_and_names_are_text() -> None:
    shown = drawn(
        status(
            stage="trials", done=4, total=16, seconds=100.0, seconds_left=3725.0,
            trials={"complete": 2, "pruned": 1, "infeasible": 7, "failed": 0},
            best=Best(3, "[red]mine[/red]", "W A", 3.9561, 8 * 2**20),
            running=[Running("trial 5, M A", 12, 48, "loss 5.1 after 64 tokens")],
        )
    )  # fmt: skip
    for part in ("tiny: running", "trials: 4 of 16", "trial 3 W A ([red]mine[/red]): late loss 3.956, state 8 MiB",
                 "2 complete, 1 pruned", "rejected", " 7", "trial 5, M A: 12 of 48 steps, loss 5.1",
                 "about 1 h 02 min for trials"):  # fmt: skip
        assert part in shown
    assert [clock(seconds) for seconds in (8, 750, 7500)] == ["8 s", "12 min 30 s", "2 h 05 min"]


def test_a_terminal_shows_the_table_below_what_is_said() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False)
    live = Live(console)
    live.show(status(stage="trials", done=1, total=2))
    live.note("trial 1 [bold]: late loss 2.0")
    live.stop()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "trials: 1 of 2" in text
    assert "trial 1 [bold]: late loss 2.0" in text


def test_the_command_prints_it_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    Watch(tmp_path / "runs" / "tiny" / STATUS, "tiny").end("finished")
    said = l2m("status", "tiny", cwd=tmp_path)
    assert (said.returncode, "tiny: finished" in said.stdout) == (0, True)
    assert json.loads(l2m("status", "runs/tiny", "--json", cwd=tmp_path).stdout)["state"] == "finished"
    refused = l2m("status", "other", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "l2m: runs/other/status.json: no readable status; `l2m search` writes one within the first minute of a study"
    ]
