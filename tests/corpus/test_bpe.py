"""Tokenizers of a corpus' own: byte pairs learnt from its training split, and bytes that Hugging Face can load."""

from pathlib import Path

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.bpe import byte_letters, byte_tokenizer
from l2m_design.corpus.tokenizers import save_tokenizer
from l2m_design.errors import BadInput

TEXT = "the cat sat on the mat, then the cat ate; größer ∑\n\n    def the_cat(): return 'mat'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{TEXT * 5}number {number * 7919} of {number}\n")
    return tmp_path


def test_tokens_spell_every_document_again(folder: Path) -> None:
    corpus = open_corpus(f"{folder}:tokenizer=bpe:300")
    assert corpus.vocabulary == 300
    texts = {path.read_text() for path in folder.iterdir()}
    assert {corpus.tokenizer.inner.decode(list(document)) for document in corpus.all_documents} == texts
    assert corpus.all_documents.size < 0.6 * open_corpus(str(folder)).all_documents.size


def test_a_tokenizer_is_learnt_from_the_training_split_alone_and_once(folder: Path) -> None:
    first = open_corpus(str(folder), "bpe:300")
    before = first.fingerprint
    splits = [{bytes(document) for document in open_corpus(str(folder)).documents(s)} for s in ("train", "test")]
    assert not splits[0] & splits[1]
    held_out = next(p for p in folder.iterdir() if p.read_bytes() in splits[1])
    held_out.write_text("zyxw" * 2000)  # would be the most frequent pairs of all
    again = open_corpus(str(folder), "bpe:300")
    assert again.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert again.fingerprint != before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bpe:256", "256 tokens; allowed are 257"),
        ("bpe:9999999", "9999999 tokens; allowed are 257"),
        ("bpe", "must name a vocabulary size, such as bpe:2048"),
        ("bpe:x", "must name a vocabulary size"),
        ("bpe:50000", "enough for [0-9]+ tokens only; give a smaller size"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(folder: Path, name: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_corpus(str(folder), name)


def test_two_tokenizers_for_one_corpus_are_refused(folder: Path) -> None:
    spec = f"{folder}:tokenizer=bpe:300"
    with pytest.raises(BadInput, match="its tokenizer is bpe:300, but `tokenizer` is bytes; give only one of them"):
        open_corpus(spec, "bytes")
    assert open_corpus(spec, "bpe:300").vocabulary == 300


def test_bytes_are_numbered_by_their_value() -> None:
    from tokenizers import pre_tokenizers

    assert set(byte_letters().values()) == set(pre_tokenizers.ByteLevel.alphabet())
    text = "héllo\n\t ∑ \x00\x7f"
    assert bytes(byte_tokenizer().encode(text).ids) == text.encode()
    assert byte_tokenizer().decode(list(text.encode())) == text


@pytest.mark.parametrize("name", ["bytes", "bpe:300"])
def test_transformers_loads_what_is_saved_and_says_the_same_tokens(folder: Path, name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = open_corpus(str(folder), name).tokenizer
    save_tokenizer(tokenizer, tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(loaded(TEXT)["input_ids"], tokenizer.encode(TEXT))
    assert loaded.decode(tokenizer.encode(TEXT)) == TEXT
    assert len(loaded) == tokenizer.vocabulary
