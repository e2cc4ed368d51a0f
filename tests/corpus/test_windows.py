"""Windows lie inside documents, at random offsets, and every length is checked."""

from pathlib import Path

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import spread_windows, uniform_windows
from l2m_design.errors import BadInput


@pytest.mark.parametrize("draw", [uniform_windows, spread_windows])
def test_windows_hold_the_documents_own_tokens(draw, text_folder: Path) -> None:
    documents = open_corpus(str(text_folder)).all_documents
    windows = draw(documents, 100, 200, np.random.default_rng(0), "texts")
    for row, (which, start) in enumerate(zip(windows.document, windows.start, strict=True)):
        np.testing.assert_array_equal(windows.tokens(slice(row, row + 1))[0], documents[which][start : start + 100])


@pytest.mark.parametrize("draw", [uniform_windows, spread_windows])
def test_windows_keep_the_period_of_the_source(draw) -> None:
    documents = open_corpus("santa-fe:beta=0.5,pairs=64,keys=16,documents=10").all_documents
    windows = draw(documents, 31, 500, np.random.default_rng(0), "santa-fe", period=2)
    assert (windows.start % 2 == 0).all()
    assert windows.start.max() == 128 - 32


def test_spread_windows_visit_every_document_before_any_twice(text_folder: Path) -> None:
    documents = open_corpus(str(text_folder)).all_documents
    windows = spread_windows(documents, 100, 80, np.random.default_rng(0), "texts")
    assert (np.bincount(windows.document) == 2).all()


def test_every_offset_is_equally_likely(text_folder: Path) -> None:
    documents = open_corpus(str(text_folder)).all_documents
    windows = uniform_windows(documents, 2998, 30_000, np.random.default_rng(0), "texts")
    assert np.abs(np.bincount(windows.start, minlength=3) / 30_000 - 1 / 3).max() < 0.02


@pytest.mark.parametrize("draw", [uniform_windows, spread_windows])
def test_too_short_documents_are_named_with_the_longest(draw, text_folder: Path) -> None:
    documents = open_corpus(str(text_folder)).all_documents
    with pytest.raises(BadInput, match="no document is as long as the required 5000 tokens; the longest has 3000"):
        draw(documents, 5000, 1, np.random.default_rng(0), "texts")
