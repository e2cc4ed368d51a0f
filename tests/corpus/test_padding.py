"""Padding is noticed, said and cut; what only looks like it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from l2m_design.corpus import open_corpus
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
    with pytest.raises(BadInput, match="speaks of 5,000 tokens, 4,991 are there"):
        open_corpus(f"{tmp_path / 'x.bin'}:vocabulary=501")
