"""Joining a study: what cannot be joined is one line and exit 2, before any work."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from l2m_design.cli import main
from l2m_design.search.run import Folders, Listener, Search
from l2m_design.search.settings import load_study
from l2m_design.search.study.storage import Storage
from l2m_design.search.workers.shared import SharedStudy

STUDY = """
name: tiny
corpus: "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
space: space.yaml
demand: {beta: 0.5, prefactor: 0.05}
condition: {length: 1024, shortest: 64}
recipe: {length: 64, tokens: 2048, batch_tokens: 256, windows: 16}
grace_seconds: 7
"""
SPACE = """
depth: 1
parameters: 12000
tolerance: 0.1
mlp: {ratio: 2.0}
kinds: {a: {kind: attention, heads: 2, kv_heads: 2, head_dim: 8}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "space.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url(folder: Path) -> str:
    """A database in which the study is planned."""
    return published(folder)


def published(folder: Path, **corpus: str) -> str:
    settings, space = load_study(folder / "study.yaml")
    search = Search(settings, space, Folders(folder / "runs", folder / "reports"), "sqlite:///mlflow.db")
    descriptor = search._descriptor(search._demand(Listener())[1])
    place = f"sqlite:///{folder}/study.db"
    SharedStudy(Storage(place), "tiny", replace(descriptor, corpus=descriptor.corpus | corpus)).publish()
    return place


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What a command says that must fail as bad input."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["l2m", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 2
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    return run


def test_an_unknown_study_names_those_that_are_there(refused, url: str) -> None:
    said = refused("worker", "--study", "tinny", "--storage", url)
    assert f"study tinny: not in {url}; studies there: tiny" in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("here", "not a database URL"),
        ("sqlight:///study.db", "no driver for it"),
        ("postgresql://joe:secret@127.0.0.1:1/none", "cannot be opened"),
        ("postgresql://joe@127.0.0.1:1/none?password=secret", "cannot be opened"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_without_its_password(refused, folder, url, words) -> None:
    for command in (("worker", "--study", "tiny"), ("search", "study.yaml")):
        said = refused(*command, "--storage", url)
        assert words in said
        assert "secret" not in said


def test_a_missing_driver_says_what_to_install(refused, folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refused("worker", "--study", "tiny", "--storage", "postgresql://joe:secret@host/name")
    assert "needs a driver: pip install 'l2m-design[postgres]'" in said
    assert "secret" not in said


def test_a_corpus_that_differs_here_is_refused(refused, folder: Path) -> None:
    said = refused("worker", "--study", "tiny", "--storage", published(folder, fingerprint="0" * 16))
    assert "study tiny: its corpus santa-fe" in said
    assert f"instead of {'0' * 16}" in said


def test_kernels_that_a_worker_lacks_are_refused(refused, folder: Path) -> None:
    assert "search.kernels: nonsense: no such kernel here; known: " in refused(
        "search", "study.yaml", "--set", "search.kernels=[nonsense]"
    )
    (folder / "study.yaml").write_text(STUDY + "search: {kernels: [nonsense]}\n")
    settings, space = load_study(folder / "study.yaml")
    plain = settings.model_copy(update={"search": settings.search.model_copy(update={"kernels": ()})})
    search = Search(plain, space, Folders(folder / "runs", folder / "reports"), "sqlite:///mlflow.db")
    descriptor = replace(search._descriptor(search._demand(Listener())[1]), settings=settings)
    url = f"sqlite:///{folder}/study.db"
    SharedStudy(Storage(url), "tiny", descriptor).publish()
    said = refused("worker", "--study", "tiny", "--storage", url)
    assert "search.kernels: nonsense: no such kernel here" in said


def test_a_worker_keeps_the_grace_of_the_study(url: str) -> None:
    from l2m_design.search.workers.join import joined

    shared = joined("tiny", url, print, 1)
    assert shared.storage._backend.grace_period == 7
    assert shared.storage.beat == 1


def test_a_finished_study_sends_a_worker_home(url: str, monkeypatch, capsys) -> None:
    SharedStudy(Storage(url), "tiny").finish()
    monkeypatch.setattr(sys, "argv", ["l2m", "worker", "--study", "tiny", "--storage", url])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "Study tiny: finished; 0 trials were done here." in capsys.readouterr().out
