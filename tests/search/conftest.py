"""A study small enough to run whole in a test."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from l2m_design.architecture import Architecture
from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome
from l2m_design.search.record import Record
from l2m_design.search.results.reading import plain
from l2m_design.search.run import Folders, Search
from l2m_design.search.settings import load_study
from l2m_design.settings import to_yaml
from l2m_design.training.run import Rung
from tests.search.adopted import ADOPTION

CUT = (0.05, 0.15, 0.25)  # what a past that is cut loses, by document
SPACE = """
depth: 2
parameters: 12000
tolerance: 0.1
mlp: {ratio: 2.0}
kinds:
  attention: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8}
  window: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8, window: 16}
  mamba2: {kind: mamba2, d_state: 8, head_dim: 8}
  sparse: {kind: sparse_attention, heads: 2, kv_heads: $kv_heads, head_dim: 8, chunk: 8, exponent: $exponent}
choices:
  kv_heads: [1, 2]
  exponent: [0.3, demand]
"""
STUDY = """
name: tiny
corpus: "santa-fe:beta=0.5,pairs=128,keys=8,documents=200"
space: space.yaml
demand: {beta: 0.5, prefactor: 0.05}
condition: {length: 1024, shortest: 64}
recipe: {length: 64, tokens: 2048, batch_tokens: 256, windows: 16, rungs: [0.5]}
search: {trials: 1, warmup_trials: 4, price: 0.01}
threads: 1
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file with its space beside it."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


@pytest.fixture
def opened(study: Path):
    """Open the study with overrides, in the folder of the test."""

    class Told(Search):
        """Whose answer is read as study.json holds it."""

        def run(self, *arguments: Any, **named: Any) -> Any:
            self.summary = super().run(*arguments, **named)
            return plain(self.summary)

    def open_(*overrides: str, **arguments: Any) -> Search:
        settings, space = load_study(study, overrides)
        folders = Folders(study.parent / "runs", study.parent / "reports")
        tracking = arguments.get("tracking", f"sqlite:///{study.parent}/mlflow.db")
        return Told(settings, space, folders, tracking)

    return open_


@pytest.fixture
def designs() -> set[str]:
    """The known designs that a study of this space trains first."""
    return {
        "all attention",
        "all Mamba-2",
        "all windows",
        "Jamba-like (1 attention in 8)",
        "Samba-like (Mamba-2 + window)",
        "window + attention 3:1",
        "all sparse at the demand",
    }


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Training replaced by a formula of the drawing: fast, and exactly repeatable. Lists the jobs asked for."""
    jobs: list[dict[str, Any]] = []

    def pretend(job, on_rung, on_step, time_limit=None, stop=None) -> Outcome:
        jobs.append(job.architecture)
        drawing = Architecture.parse(job.architecture, "job")
        loss = 2.0 + 0.1 * drawing.picture.count("W") - 0.05 * drawing.picture.count("M")
        if not on_rung(Rung(4, 1024, loss + 0.5)):
            return Outcome(stopped=True)
        return Outcome(result=result(loss, drawing.parameters))

    monkeypatch.setattr(processes, "run_isolated", pretend)
    return jobs


def result(loss: float, parameters: int = 1) -> dict[str, Any]:
    return {
        "late_loss": loss, "late_by_document": [loss, loss], "test_late_loss": loss,
        "test_late_by_document": [loss, loss + 0.1, loss + 0.2], "loss_by_position": [loss] * 8,
        "mi_captured_nats": 1.0, "curve": [(1024, loss)], "parameters": parameters, "tokens": 2048,
        "train_seconds": 1.0,
        "evaluate_seconds": 0.1, "peak_memory_bytes": 1, "device": "cpu", "seed": 0,
    }  # fmt: skip


class Kept(NamedTuple):
    records: dict[int, str]
    states: dict[int, str]


@pytest.fixture
def kept():
    """What a database holds of a study: records and states by the database's number."""

    def read(url: str, name: str = "tiny") -> Kept:
        import sqlalchemy
        from sqlalchemy.exc import SQLAlchemyError

        from l2m_design.search.study.database import driven

        engine = sqlalchemy.create_engine(driven(url), poolclass=sqlalchemy.pool.NullPool)
        attrs = (
            "select t.number, a.value_json from trials t join studies s on s.study_id = t.study_id join "
            "trial_user_attributes a on a.trial_id = t.trial_id where s.study_name = :name and a.key = 'record'"
        )
        states = (
            "select t.number, t.state from trials t join studies s on s.study_id = t.study_id "
            "where s.study_name = :name"
        )
        found = Kept({}, {})
        with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(attrs), {"name": name})
            found.records.update({number: json.loads(text) for number, text in rows})
            found.states.update(tuple(row) for row in connection.execute(sqlalchemy.text(states), {"name": name}))
        return found

    return read


@pytest.fixture
def exactly_once(kept):
    """Hold a database to the promise: each planned trial there once, nothing open."""

    def hold(url: str, planned: int, name: str = "tiny") -> None:
        found = kept(url, name)
        records = [json.loads(text) for text in found.records.values()]
        trained = [r for r in records if r["state"] != "infeasible" and r["copy_of"] is None]
        assert not {"RUNNING", "WAITING"} & set(found.states.values())
        assert len(trained) == planned
        drawings = [(r["fingerprint"], r["rate"]) for r in trained]
        assert len(drawings) == len(set(drawings))
        designs = [(r["design"], r["rate"]) for r in trained if r["design"]]
        assert len(designs) == len(set(designs))
        assert [r["reason"] for r in trained if r["state"] == "failed"] == []

    return hold


class Started:
    """A command that runs in the background; what it said is in a file."""

    def __init__(self, words: tuple[str, ...], folder: Path, number: int) -> None:
        self.log = folder / f"said-{number}.txt"
        command = [sys.executable, "-m", "l2m_design", *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(study: Path) -> Iterator[Callable[..., Started]]:
    """Start the command line in the study's folder; whatever still runs at the end is killed."""
    started: list[Started] = []

    def start_(*words: str) -> Started:
        started.append(Started(words, study.parent, len(started)))
        return started[-1]

    yield start_
    for one in started:
        one.kill()


@pytest.fixture
def until():
    """Wait for something, looking ten times a second; how long that took."""

    def wait(there: Callable[[], Any], seconds: float = 120.0) -> float:
        began = time.monotonic()
        while not there():
            assert time.monotonic() - began < seconds, "waited in vain"
            time.sleep(0.1)
        return time.monotonic() - began

    return wait


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store that several studies share."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def records(opened, trained) -> list[Record]:
    """What became of some trials."""
    summary = opened("search.trials=0", tracking="sqlite:////proc/nowhere/mlflow.db").run()
    return [Record(**row) for row in summary["records"]]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """To make a new store takes longer than a study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('tracked')}/mlflow.db")
        yield


@pytest.fixture
def place(tmp_path: Path, tiny_llama: Path, many_texts: Path) -> Path:
    (tmp_path / "model").symlink_to(tiny_llama)
    (tmp_path / "study.yaml").write_text(to_yaml(ADOPTION))
    return tmp_path


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Training by a formula: windows are bad, sparse keys as good as attention, half the learning rate is better."""
    ran: list[Any] = []

    def pretend(job, on_rung, on_step, time_limit=None, stop=None) -> Outcome:
        ran.append(job)
        drawing = Architecture.parse(job.architecture, "job")
        loss = 2.0 + 0.1 * drawing.picture.count("W") + 0.05 * drawing.picture.count("M")
        loss += 0.01 * (job.recipe["learning_rate"] > 0.009) + 0.001 * (job.recipe["seed"] % 2)
        recall = 0.2 * drawing.picture.count("M") if job.corpus.startswith("santa-fe:beta=0.5,keys=8,") else None
        return Outcome(result={
            "late_loss": loss, "late_by_document": [loss, loss + 0.1], "test_late_loss": loss,
            "test_late_by_document": [loss, loss + 0.1, loss + 0.2], "loss_by_position": [loss] * 8,
            "mi_captured_nats": 1.0, "curve": [(1024, loss)], "parameters": 1, "tokens": 2048, "train_seconds": 1.0,
            "evaluate_seconds": 0.1,
            "peak_memory_bytes": 10**9, "device": "cpu", "seed": job.recipe["seed"], "late_excess_nats": recall,
            "decode_ms": 2.0 if job.latency else None,
            "test_late_by_context": {str(c): [loss + x for x in CUT] for c in job.recipe["contexts"] or ()},
        })  # fmt: skip

    monkeypatch.setattr(processes, "run_isolated", pretend)
    return ran
