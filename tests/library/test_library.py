"""The library: public names that are there, typed and lazy, and verbs that do what their names promise."""

import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import l2m_design as l2m
from l2m_design.advice.by_length import AtLength, Required
from l2m_design.information.measured import Measured
from l2m_design.library.answer import CheckAnswer
from l2m_design.settings import to_json
from l2m_design.training import run

LAYER = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 16}
DRAWING = l2m.Architecture.parse({"vocabulary": 256, "width": 32, "layers": [LAYER]}, "drawing")
SPACE = """
depth: 1
parameters: 9000
tolerance: 0.2
kinds: {attention: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8}}
choices: {kv_heads: [1, 2]}
"""
STUDY = """
name: tiny
corpus: texts
space: space.yaml
demand: {beta: 0.5}
condition: {length: 1024, shortest: 64}
recipe: {length: 64, tokens: 1024, batch_tokens: 256, windows: 8, rungs: []}
search: {trials: 2, known_designs: false}
threads: 1
"""
RETURNED = {"Checked", "Corpus", "LanguageModel", "Measurement", "StudySummary", "Trained", "Verdict", "WorkFailed"}
RECIPE = {"tokens": 2048, "length": 64, "batch_tokens": 256, "windows": 8}


def test_every_public_name_is_there_and_looking_imports_nothing_heavy() -> None:
    assert all(getattr(l2m, name) is not None for name in l2m.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = l2m.serach  # type: ignore[attr-defined]
    seen = "import sys, l2m_design; print([m for m in ('torch', 'numpy', 'pydantic', 'optuna') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", seen], text=True).strip() == "[]"


def test_rooms_that_are_verbs_stay_rooms() -> None:
    from l2m_design.search.settings import load_study

    assert callable(l2m.search)
    assert callable(l2m.export)
    assert importlib.import_module("l2m_design.search.settings").load_study is load_study


@pytest.mark.parametrize("name", sorted(set(l2m.__all__) - RETURNED - {"export", "search"}))
def test_the_example_of_a_public_name_runs(name: str) -> None:
    """What functions return is shown in their examples; those of export and search are in the documentation's pages."""
    module = importlib.import_module(getattr(l2m, name).__module__)
    (found,) = [test for test in doctest.DocTestFinder().find(module) if test.name == f"{module.__name__}.{name}"]
    assert found.examples
    assert not doctest.DocTestRunner().run(found).failed


def test_a_measurement_judges_a_model_as_its_file_does(tmp_path: Path) -> None:
    found = l2m.estimate("markov:stay=0.9,documents=60,length=1024", longest=256, windows=32)
    (tmp_path / "demand.json").write_text(json.dumps(found.plain()))
    assert "<svg" in found._repr_html_()
    assert "<p>No beta: the preferred law is &#x27;constant&#x27;" in found._repr_html_()
    options = {"length": 4096, "lengths": [1024], "fits": "1MiB"}
    direct = l2m.check(DRAWING, found, **options)
    assert direct.data == l2m.check(DRAWING, tmp_path / "demand.json", **options).data | {
        "demand": direct.data["demand"]
    }
    assert direct.data["demand"]["source"] == "the measurement"
    assert (direct.enough, direct.meets) == ("yes", True)
    assert direct.data["fits"]["tokens"] == 2**20 // (2 * 2 * 32)
    assert "Enough state up to 4,096 tokens? Yes" in str(direct)
    assert direct._repr_html_().startswith("<p>architecture: A</p>")
    law = l2m.PowerLaw(2.0, 0.5)
    assert l2m.check(DRAWING, law).verdict.has_level
    assert not l2m.check(DRAWING, 0.5).verdict.has_level
    assert "PG19" in l2m.check(DRAWING).data["demand"]["source"]
    assert l2m.check(DRAWING, found, length="4k", lengths="1k", fits=2**20).data == direct.data
    assert len(repr(found)) + len(repr(direct)) + len(repr(found.required)) < 1000
    read = Measured.of_plain(json.loads((tmp_path / "demand.json").read_text()))
    assert json.loads(to_json(read.plain())) == json.loads((tmp_path / "demand.json").read_text())


def test_what_check_answers_has_the_keys_that_it_promises() -> None:
    found = l2m.check(DRAWING, 0.7, length=4096).data
    assert set(found) == CheckAnswer.__required_keys__
    more = l2m.check(DRAWING, 0.7, length=4096, lengths="1k,2k", fits="1MiB").data
    assert set(more) - set(found) == CheckAnswer.__optional_keys__ - {"allotted"}
    assert {key for row in more["by_length"] for key in row} == AtLength.__required_keys__ | Required.__required_keys__


@pytest.mark.parametrize(
    ("model", "demand", "options", "said"),
    [
        (DRAWING, None, {"lenght": 5}, "unknown key 'lenght'; did you mean 'length'"),
        (DRAWING, True, {}, "demand: must be an exponent, a PowerLaw, a Measurement or its file, found bool"),
        (DRAWING, None, {"runtime": "vllm"}, "runtime: works for published models only"),
        (DRAWING, None, {"length": "64q"}, "must be a length such as 4096, 32k or 1M"),
        ({"vocabulary": 9}, None, {}, "must be a path or an Architecture, found dict"),
    ],
)
def test_what_check_cannot_take_is_told(model, demand, options: dict[str, object], said: str) -> None:
    with pytest.raises(l2m.BadInput, match=re.escape(said)):
        l2m.check(model, demand, **options)


def test_verbs_say_what_they_take() -> None:
    assert list(inspect.signature(l2m.search).parameters)[:2] == ["study", "overrides"]
    assert "force" in inspect.signature(l2m.export).parameters
    assert "library.export.export" in str(l2m.export.__doc__)
    assert set(l2m.__all__) <= set(dir(l2m))
    with pytest.raises(l2m.BadInput, match="corpus: must be a name, a path or a Corpus, found list"):
        l2m.estimate([1, 2])


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = l2m.train(DRAWING, text_folder, **RECIPE)

    def cut(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    out = tmp_path / "trained"
    with pytest.raises(KeyboardInterrupt):
        l2m.train(DRAWING, text_folder, out=out, on_step=cut, **RECIPE, rungs=[0.5])
    assert [path.name for path in out.iterdir()] == ["checkpoint.safetensors"]
    with pytest.raises(l2m.BadInput, match="unfinished run of another architecture, corpus or recipe"):
        l2m.train(DRAWING, text_folder, out=out, **RECIPE, seed=1)
    steps = []
    again = l2m.train(
        DRAWING, text_folder, out=out, on_step=lambda done, total: steps.append(done), **RECIPE, rungs=[0.5]
    )
    assert steps[0] == 7  # the interrupt came after the sixth
    assert again.result.late_loss == pytest.approx(whole.result.late_loss, abs=1e-5)
    assert {path.name for path in out.iterdir()} >= {"architecture.yaml", "weights.safetensors", "result.json"}
    assert not (out / "checkpoint.safetensors").exists()


def test_export_takes_the_weights_of_a_trained_folder_and_names_their_losses_alone(
    text_folder: Path, tmp_path: Path
) -> None:
    trained = l2m.train(DRAWING, text_folder, out=tmp_path / "trained", **RECIPE)
    card = json.loads((tmp_path / "trained" / "result.json").read_text())
    study = {"architecture": DRAWING.plain(), "provenance": {"study": "other", "loss": 9.0, "difference": 9.0}}
    (tmp_path / "trained" / "card.json").write_text(json.dumps(study))
    done = l2m.export(tmp_path / "trained", "huggingface", tmp_path / "out")
    assert done["weights"] == str(tmp_path / "trained" / "weights.safetensors")
    found = json.loads((tmp_path / "out" / "card.json").read_text())["provenance"]
    assert found["loss"]["value"] == pytest.approx(card["late_loss"], abs=1e-4)
    assert found["other_weights"] == {"loss": 9.0, "difference": 9.0}
    assert "difference" not in found
    assert trained.plain()["late_loss"] == card["late_loss"]
    held = l2m.export(trained, "huggingface", tmp_path / "held")
    assert held["max_logit_difference"] == done["max_logit_difference"]
    assert json.loads((tmp_path / "held" / "card.json").read_text())["provenance"]["loss"] == found["loss"]
    assert l2m.export(DRAWING, "yaml", tmp_path / "card")["loads"]
    l2m.export(tmp_path / "trained", "card", tmp_path / "alone")
    assert json.loads((tmp_path / "alone" / "card.json").read_text())["provenance"]["loss"] == found["loss"]
    fresh = l2m.export(tmp_path / "trained", "huggingface", tmp_path / "fresh", weights="fresh")
    assert fresh["weights"] is None
    assert "loss" not in json.loads((tmp_path / "fresh" / "card.json").read_text())["provenance"]
    assert "with other weights" in (tmp_path / "fresh" / "README.md").read_text()


def test_a_vocabulary_that_is_too_small_names_the_drawing(text_folder: Path) -> None:
    small = DRAWING.model_copy(update={"vocabulary": 4})
    with pytest.raises(l2m.BadInput, match="architecture: vocabulary: 4, the corpus"):
        l2m.train(small, text_folder, **RECIPE)
    assert run.check_vocabulary(DRAWING, l2m.open_corpus(str(text_folder))) is None


def test_a_script_without_a_main_guard_searches_a_corpus_beside_its_study(text_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    text_folder.rename(folder / "texts")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "study.yaml").write_text(STUDY)
    script = tmp_path / "script.py"
    script.write_text(
        "import l2m_design as l2m\n"
        "found = l2m.search('study/study.yaml', tracking='sqlite:///mlflow.db')\n"
        "print(found.chosen.picture, found.data['trials']['complete'], '<svg' in found._repr_html_(), found, sep='|')\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picture, complete, drawn, said = done.stdout.split("|", 3)
    assert (picture, complete, drawn) == ("A", "2", "True")
    assert "A" in said
    assert (tmp_path / "reports" / "tiny" / "index.html").exists()


def test_runs_in_threads_are_as_alone(text_folder: Path, tmp_path: Path) -> None:
    alone, found = l2m.train(DRAWING, text_folder, **RECIPE).result.late_loss, []
    threads = [
        threading.Thread(target=lambda: found.append(l2m.train(DRAWING, text_folder, **RECIPE).result.late_loss))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone, alone]
    (tmp_path / "file").write_text("")
    with pytest.raises(l2m.BadInput, match="must be a folder, found a file"):
        l2m.train(DRAWING, text_folder, out=tmp_path / "file", **RECIPE)
