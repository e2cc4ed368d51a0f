"""Scores once, estimates many: what was scored is kept, what is wrong is named, a stopped run goes on."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from l2m_design.corpus import Corpus, open_corpus
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.information import MeasurementSettings, measure
from l2m_design.information.scores import OracleScorer, Scores, Segments
from l2m_design.information.scores.base import nats_after_plainly
from l2m_design.information.scores.huggingface import load_scorer
from l2m_design.information.scores.table import ScoreTable
from l2m_design.measuring.scorer import open_scores

SPEC = "santa-fe:beta=0.6,pairs=256,keys=500,documents=40"
IDENTITY = {"corpus": "c", "scorer": "s"}


class Counting(OracleScorer):
    """An oracle that counts what it is asked, and goes away after `lasts` calls."""

    batch_tokens = 512

    def __init__(self, corpus: Corpus, lasts: int = 10**9) -> None:
        super().__init__(corpus)
        self.calls, self.lasts = 0, lasts

    def nats(self, tokens: Any) -> Any:
        self.calls += 1
        if self.calls > self.lasts:
            raise RuntimeError("CUDA error: device lost")
        return super().nats(tokens)


def settings(estimator: str = "profile", **others: Any) -> MeasurementSettings:
    return MeasurementSettings(estimator=estimator, shortest=8, windows=40, replicates=100, **others)


def test_many_estimates_need_one_scoring(tmp_path: Path) -> None:
    corpus = open_corpus(SPEC)
    scorer = Counting(corpus)
    with ScoreTable(tmp_path / "x.parquet", corpus.all_documents, IDENTITY) as table:
        scores = Scores(corpus.all_documents, scorer, table)
        first = measure(corpus, settings(), scores)
        calls = scorer.calls
        again = measure(corpus, settings(), scores)
        measure(corpus, settings("direct"), scores)
        measure(corpus, settings("direct", pairing="other"), scores)
        measure(corpus, settings("profile", pairing="none"), scores)
    assert scorer.calls == calls
    np.testing.assert_array_equal(first.curve.nats, again.curve.nats)


def test_a_stopped_run_loses_one_batch_and_goes_on(tmp_path: Path) -> None:
    corpus, path = open_corpus(SPEC), tmp_path / "x.parquet"
    whole = Counting(corpus)
    expected = measure(corpus, settings(), Scores(corpus.all_documents, whole))

    def run(scorer: Counting) -> Any:
        with ScoreTable(path, corpus.all_documents, IDENTITY) as table:
            return measure(corpus, settings(), Scores(corpus.all_documents, scorer, table))

    with pytest.raises(RuntimeError, match="device lost"):
        run(Counting(corpus, lasts=7))
    rest = Counting(corpus)
    found = run(rest)
    assert rest.calls == whole.calls - 7
    np.testing.assert_allclose(found.curve.nats, expected.curve.nats, atol=1e-4)
    assert not path.with_name("x.parquet.parts").exists()


def test_a_killed_run_leaves_its_batches(tmp_path: Path) -> None:
    """Without the final writing, as after kill -9: the parts are read by the next run."""
    corpus, path = open_corpus(SPEC), tmp_path / "x.parquet"
    table = ScoreTable(path, corpus.all_documents, IDENTITY).__enter__()
    begins = corpus.all_documents.spans[:3, 0]
    segments = Segments.alone(begins, np.full(3, 16))
    Scores(corpus.all_documents, OracleScorer(corpus), table).of(segments)
    assert table._lock is not None
    table._lock.close()
    scorer = Counting(corpus)
    with ScoreTable(path, corpus.all_documents, IDENTITY) as table:
        Scores(corpus.all_documents, scorer, table).of(segments)
    assert scorer.calls == 0
    assert pyarrow.parquet.read_table(path)["document"].to_pylist() == [0, 1, 2]


def test_a_full_disk_keeps_the_batches_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, path = open_corpus(SPEC), tmp_path / "x.parquet"
    begins = corpus.all_documents.spans[:2, 0]
    write = pyarrow.parquet.write_table

    def full(*words: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    with (  # noqa: PT012 - the second batch and the closing both fail
        pytest.raises(WorkFailed, match="No space left on device; earlier batches are saved"),
        ScoreTable(path, corpus.all_documents, IDENTITY) as table,
    ):
        scores = Scores(corpus.all_documents, OracleScorer(corpus), table)
        scores.of(Segments.alone(begins[:1], np.array([8])))
        monkeypatch.setattr(pyarrow.parquet, "write_table", full)
        scores.of(Segments.alone(begins[1:], np.array([8])))
    monkeypatch.setattr(pyarrow.parquet, "write_table", write)
    assert not list(tmp_path.rglob(".*"))
    table._release()
    with ScoreTable(path, corpus.all_documents, IDENTITY) as table:
        assert len(table) == 1


def test_a_table_belongs_to_one_corpus_one_scorer_one_run(tmp_path: Path) -> None:
    corpus, path = open_corpus(SPEC), tmp_path / "x.parquet"
    begins = corpus.all_documents.spans[:1, 0]
    with ScoreTable(path, corpus.all_documents, IDENTITY) as table:
        Scores(corpus.all_documents, OracleScorer(corpus), table).of(Segments.alone(begins, np.array([8])))
        with pytest.raises(BadInput, match="another run is writing"):
            ScoreTable(path, corpus.all_documents, IDENTITY).__enter__()
    with pytest.raises(BadInput, match=r"another corpus \(c, not other\)"):
        ScoreTable(path, corpus.all_documents, IDENTITY | {"corpus": "other"}).__enter__()
    (tmp_path / "y.parquet").write_text("no table")
    with pytest.raises(BadInput, match="not a score table"):
        ScoreTable(tmp_path / "y.parquet", corpus.all_documents, IDENTITY).__enter__()


def test_windows_may_start_where_others_are_cut() -> None:
    """Short documents, many windows in many groups: one starts where another one, scored earlier, is read."""
    corpus = open_corpus("markov:stay=0.8,length=40,documents=12")
    asked = MeasurementSettings(estimator="profile", shortest=1, longest=16, windows=600, replicates=100)
    losses = measure(corpus, asked, Scores(corpus.all_documents, Counting(corpus))).losses
    assert losses is not None
    assert losses.by_position[1:].mean() == pytest.approx(0.5004, abs=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_what_is_not_finite_is_named_with_document_and_position(value: float) -> None:
    corpus = open_corpus(SPEC)

    class Broken(OracleScorer):
        def nats(self, tokens: Any) -> Any:
            nats = super().nats(tokens)
            nats[1, 5] = value
            return nats

    begins = corpus.all_documents.spans[[3, 7], 0] + 2
    with pytest.raises(BadInput, match=r"document 7, position 7 is -?(nan|inf|1.0)"):
        Scores(corpus.all_documents, Broken(corpus)).of(Segments.alone(begins, np.array([16, 16])))


def test_segments_behind_a_past_are_scored_together(tiny_llama: Path, text_folder: Path) -> None:
    """Two pasts, each cut at 8 and 16: the nats are those of the joined windows."""
    corpus = open_corpus(str(text_folder), tokenizer=str(tiny_llama))
    scorer = load_scorer(str(tiny_llama), np.zeros(corpus.vocabulary), torch.device("cpu"))
    documents = corpus.all_documents
    begin, past = documents.spans[[0, 0, 1, 1], 0] + [8, 16, 8, 16], documents.spans[[5, 5, 6, 6], 0]
    length = np.array([8, 16, 8, 16])
    found = Scores(documents, scorer).of(Segments(begin, length, past, length))
    for b, n, p in zip(begin.tolist(), length.tolist(), past.tolist(), strict=True):
        joined = np.concatenate([documents.tokens[p : p + n], documents.tokens[b : b + n]]).astype(np.int64)
        np.testing.assert_allclose(found[p, n, b], scorer.nats(joined[None])[0, n:], atol=1e-4)


def test_a_hugging_face_model_is_scored_behind_its_start_token(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    scorer = load_scorer(str(tiny_llama), np.zeros(1000), torch.device("cpu"))
    tokens = np.random.default_rng(0).integers(5, 200, (3, 20))
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    given = torch.cat([torch.zeros(3, 1, dtype=torch.long), torch.from_numpy(tokens)], dim=1)
    with torch.inference_mode():
        logs = model(given).logits[:, :-1].log_softmax(-1)
    exact = -logs.gather(2, given[:, 1:, None])[..., 0].numpy()
    np.testing.assert_allclose(scorer.nats(tokens), exact, atol=1e-5)
    cuts, following = [4, 4, 12], [tokens[:, :6], tokens[:, 3:4], tokens[:, 5:9]]
    for one, other in zip(
        scorer.nats_after(tokens, following, cuts), nats_after_plainly(scorer, tokens, following, cuts), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_window_longer_than_the_model_is_bad_input(tiny_llama: Path, text_folder: Path) -> None:
    corpus = open_corpus(str(text_folder), tokenizer=str(tiny_llama))
    asked = MeasurementSettings(estimator="profile", shortest=8, longest=128)
    with (
        open_scores(corpus, asked, str(tiny_llama)) as scores,
        pytest.raises(BadInput, match=r"its context is 128 tokens, but 256 are required .* `longest` 64"),
    ):
        measure(corpus, asked, scores)


def test_unequal_vocabularies_are_bad_input(tiny_llama: Path) -> None:
    corpus = open_corpus("iid:vocabulary=5000,documents=10")
    with (
        pytest.raises(BadInput, match=r"tokens, .* has 5000: give the tokenizer of the model"),
        open_scores(corpus, settings(), str(tiny_llama)),
    ):
        pass


@pytest.mark.parametrize("source", ["nowhere", "nowhere.gguf"])
def test_a_model_that_is_not_there_is_bad_input(tmp_path: Path, source: str) -> None:
    with pytest.raises(BadInput, match="no such file or folder"):
        load_scorer(str(tmp_path / source), np.zeros(10), torch.device("cpu"))


def test_without_a_wish_the_longest_window_is_the_models(tiny_llama: Path, text_folder: Path) -> None:
    corpus = open_corpus(str(text_folder), tokenizer=str(tiny_llama))
    asked = MeasurementSettings(estimator="profile", windows=40, replicates=100)
    with open_scores(corpus, asked, str(tiny_llama)) as scores:
        found = measure(corpus, asked, scores)
    assert found.curve.lengths.tolist() == [4, 8, 16, 32, 64]


def test_another_configuration_of_the_same_weights_is_another_scorer(tiny_llama: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(tiny_llama, tmp_path / "changed")
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    one, other = (load_scorer(str(folder), np.zeros(1000), torch.device("cpu")) for folder in (tiny_llama, changed))
    again = load_scorer(str(shutil.copytree(tiny_llama, tmp_path / "same")), np.zeros(1000), torch.device("cpu"))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == again.fingerprint


def test_a_batch_that_does_not_fit_is_halved() -> None:
    class Small(Counting):
        def nats(self, tokens: Any) -> Any:
            if len(tokens) > 3:
                raise RuntimeError("CUDA out of memory")
            return super().nats(tokens)

    corpus = open_corpus(SPEC)
    begins = corpus.all_documents.spans[:10, 0]
    found = Scores(corpus.all_documents, Small(corpus)).of(Segments.alone(begins, np.full(10, 16)))
    assert len(found) == 10
