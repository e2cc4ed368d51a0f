"""Padding is noticed, said and cut; what only looks like it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from l2m_design.corpus import open_corpus, token_files
from l2m_design.errors import BadInput

WIDTH = 200


def rows(rng: np.random.Generator, count: int = 60) -> list[NDArray[np.int64]]:
    return [rng.integers(1, 500, rng.integers(50, WIDTH + 1)) for _ in range(count)]


def padded(documents: list[NDArray[np.int64]], token: int, left: bool) -> NDArray[np.int64]:
    filled = np.full((len(documents), WIDTH), token)
    for row, document in zip(filled, documents, strict=True):
        row[WIDTH - len(document) if left else 0 :][: len(document)] = document
    return filled


def read(path: Path, array: NDArray[Any], options: str = "vocabulary=501") -> Any:
    np.save(path, array)
    return open_corpus(f"{path}:{options}")


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("token", [0, 500, -100])
def test_rows_filled_up_with_one_token_are_the_documents_without_it(tmp_path: Path, left: bool, token: int) -> None:
    documents = rows(np.random.default_rng(0))
    corpus = read(tmp_path / "x.npy", padded(documents, token, left))
    assert [list(found) for found in corpus.all_documents] == [list(document) for document in documents]
    assert f"rows {'begin' if left else 'end'} with runs of token {token}" in corpus.notes[0]


def test_padding_can_be_named_and_kept(tmp_path: Path) -> None:
    documents = [np.append(np.arange(1, 20), 7)] * 3  # too short a run to be noticed
    filled = np.stack([np.append(document, [0] * 5) for document in documents])
    assert read(tmp_path / "a.npy", filled).all_documents.size == filled.size
    assert read(tmp_path / "a.npy", filled, "vocabulary=501,pad=0").all_documents.size == filled.size - 15
    long = padded(rows(np.random.default_rng(1)), 0, False)
    assert read(tmp_path / "b.npy", long, "vocabulary=501,pad=-1").all_documents.size == long.size


def test_a_common_token_and_full_rows_are_no_padding(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    quiet = rng.integers(0, 500, (60, WIDTH))
    quiet[:, 60:100] = 0
    quiet[:30, -40:] = 0
    full = rng.integers(0, 4, (60, WIDTH))
    for array in (quiet, full):
        corpus = read(tmp_path / "x.npy", array)
        assert corpus.all_documents.size == array.size
        assert not any("padding" in note for note in corpus.notes)


@pytest.mark.parametrize(("magic", "dtype"), [(20240520, "uint16"), (20240801, "uint32")])
def test_the_header_of_a_shard_is_no_token(tmp_path: Path, magic: int, dtype: str) -> None:
    tokens = np.random.default_rng(3).integers(0, 500, 5000).astype(dtype)
    head = np.zeros(256, dtype="<i4")
    head[:3] = magic, 1, len(tokens)
    (tmp_path / "x.bin").write_bytes(head.tobytes() + tokens.tobytes())
    assert (open_corpus(f"{tmp_path / 'x.bin'}:vocabulary=501").all_documents.tokens == tokens).all()
    (tmp_path / "x.bin").write_bytes(head.tobytes() + tokens[:-9].tobytes())
    with pytest.raises(BadInput, match="says 5,000 tokens, but it contains 4,991"):
        open_corpus(f"{tmp_path / 'x.bin'}:vocabulary=501")


@pytest.mark.parametrize("token", [7, 3])
def test_a_token_that_stands_elsewhere_too_pads_by_its_runs(tmp_path: Path, token: int) -> None:
    """7 is 3% of the text; 3 is its most frequent token, every tenth."""
    rng = np.random.default_rng(5)
    documents = [np.where(rng.random(len(row)) < (0.03 if token == 7 else 0.1), token, row) for row in rows(rng)]
    for document in documents:
        document[[0, -1]] = 1
    corpus = read(tmp_path / "x.npy", padded(documents, token, False))
    assert [list(found) for found in corpus.all_documents] == [list(document) for document in documents]
    assert f"rows end with runs of token {token}, which are rare inside rows" in corpus.notes[0]


def test_rows_padded_on_both_sides_are_cut_on_both(tmp_path: Path) -> None:
    documents = rows(np.random.default_rng(6))
    filled = np.zeros((len(documents), WIDTH), dtype=np.int64)
    for row, document in zip(filled, documents, strict=True):
        row[(WIDTH - len(document)) // 2 :][: len(document)] = document
    for options in ("vocabulary=501", "vocabulary=501,pad=0"):
        corpus = read(tmp_path / "x.npy", filled, options)
        assert [list(found) for found in corpus.all_documents] == [list(document) for document in documents]
    assert "rows begin and end with runs of token 0" in read(tmp_path / "x.npy", filled).notes[0]


@pytest.mark.parametrize("options", ["vocabulary=502", "vocabulary=502,pad=0"])
def test_a_start_or_end_token_outside_the_padding_stays(tmp_path: Path, options: str) -> None:
    documents = [row[: WIDTH - 20] for row in rows(np.random.default_rng(7))]
    ends = np.full((len(documents), 1), 501)
    left = np.hstack([ends, padded(documents, 0, True)])
    right = np.hstack([padded(documents, 0, False), ends])
    found = read(tmp_path / "left.npy", left, options).all_documents
    assert [list(row) for row in found] == [[501, *document] for document in documents]
    found = read(tmp_path / "right.npy", right, options).all_documents
    assert [list(row) for row in found] == [[*document, 501] for document in documents]


def test_ignored_labels_are_cut_off_and_end_documents(tmp_path: Path) -> None:
    documents = rows(np.random.default_rng(8))
    filled = padded(documents, -100, False)
    filled[:, :20] = -100
    corpus = read(tmp_path / "ends.npy", filled)
    assert [list(found) for found in corpus.all_documents] == [list(document[20:]) for document in documents]
    assert "rows begin and end with runs of token -100" in corpus.notes[0]
    assert "ignored labels" in corpus.notes[0]
    named = read(tmp_path / "ends.npy", filled, "vocabulary=501,pad=-100")
    assert named.all_documents.size == corpus.all_documents.size
    inside = np.array([[1, 2, -100, -100, 3], [-100, 4, 5, 6, -100]])
    corpus = read(tmp_path / "inside.npy", inside)
    assert [found.tolist() for found in corpus.all_documents] == [[1, 2], [3], [4, 5, 6]]
    assert "token -100 marks ignored labels" in corpus.notes[0]
    with pytest.raises(BadInput, match="position 2: token -100 is outside the vocabulary"):
        read(tmp_path / "inside.npy", inside, "vocabulary=501,pad=-1").all_documents  # noqa: B018


@pytest.mark.parametrize("whole_rows", [2, 20])
def test_what_stands_in_runs_at_rows_ends_by_chance_is_no_padding(tmp_path: Path, whole_rows: int) -> None:
    """Of two states that last, rows end in long runs of either as often as long runs end inside them."""
    rng = np.random.default_rng(9)
    chain = np.cumsum(rng.random((whole_rows * 10, WIDTH)) < 0.05, axis=1) % 2
    corpus = read(tmp_path / "x.npy", chain)
    assert corpus.all_documents.size == chain.size
    assert not any("padding" in note for note in corpus.notes)


def test_doubtful_padding_is_said_and_kept_unless_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    filled = padded([row[:150] for row in rows(rng)], 0, False)  # every row ends in 50 or more
    filled[:12, 5:25] = 0
    corpus = read(tmp_path / "x.npy", filled)
    assert corpus.all_documents.size == filled.size
    assert "kept; if it is padding, give pad=0" in corpus.notes[0]
    assert read(tmp_path / "x.npy", filled, "vocabulary=501,pad=0").all_documents.size < filled.size - 50 * 60
    real = filled + 0.5
    np.save(tmp_path / "real.npy", real)
    assert any("replace it by NaN" in note for note in open_corpus(str(tmp_path / "real.npy")).notes)


def test_a_run_of_separators_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.array([0, 0, 1, 2, 0, 0, 0, 3, 0, 4, 5, 0, 0])
    expected = [[1, 2, 0], [3, 0], [4, 5, 0]]
    corpus = read(tmp_path / "x.npy", flat, "vocabulary=501,separator=0")
    assert [found.tolist() for found in corpus.all_documents] == expected
    assert corpus.copied == {"equal": 0, "near": 0}
    monkeypatch.setattr(token_files, "PIECE", 2)  # runs and documents cross the ends of pieces
    monkeypatch.setenv("L2M_CACHE", str(tmp_path / "cache"))
    again = read(tmp_path / "x.npy", flat, "vocabulary=501,separator=0")
    assert [found.tolist() for found in again.all_documents] == expected
