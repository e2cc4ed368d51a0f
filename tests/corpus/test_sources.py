"""Other people's files: FASTA, Parquet, arrays, tokens, data sets, tokenizers. What is wrong is said in one line."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from l2m_design.corpus import fasta, open_corpus
from l2m_design.corpus.text import in_pieces
from l2m_design.errors import BadInput

TEXTS = ["the cat sat on the mat", "and the dog ate the rat", "déjà vu"]


def test_each_row_of_a_parquet_file_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS, "id": [1, 2, 3]}), path)
    found = [bytes(document).decode() for document in open_corpus(str(path)).all_documents]
    assert found == TEXTS
    with pytest.raises(BadInput, match="column 'body'; it has text, id"):
        open_corpus(f"{path}:field=body").all_documents  # noqa: B018
    with pytest.raises(BadInput, match="row 1: column 'id' must contain strings"):
        open_corpus(f"{path}:field=id").all_documents  # noqa: B018


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(BadInput, match="not a Parquet file"):
        open_corpus(str(tmp_path / "x.parquet")).all_documents  # noqa: B018


def test_a_jsonl_field_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    assert len(open_corpus(f"{tmp_path / 'x.jsonl'}:field=body").all_documents) == 3


def test_a_data_set_is_streamed_once_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    corpus = open_corpus(f"hf:{tmp_path / 'data'}:documents=2")
    assert [bytes(document).decode() for document in corpus.all_documents] == TEXTS[:2]
    assert "the first 2 documents" in corpus.notes[0]
    (tmp_path / "data" / "train.jsonl").unlink()
    assert open_corpus(f"hf:{tmp_path / 'data'}:documents=2").fingerprint == corpus.fingerprint
    with pytest.raises(BadInput, match="hf:"):
        open_corpus(f"hf:{tmp_path / 'data'}:documents=3").all_documents  # noqa: B018


def test_fasta_records_are_documents_and_masked_letters_count(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">one first\nACGT\nacgt\n\n>two\nTTTT\n")
    corpus = open_corpus(str(path))
    assert corpus.vocabulary == 4
    assert [document.tolist() for document in corpus.all_documents] == [[0, 1, 2, 3] * 2, [3] * 4]
    assert "alphabet ACGT" in corpus.notes[0]
    assert "33.3% soft-masked" in corpus.notes[0]


def test_unknown_bases_are_one_letter_and_long_runs_cut_the_record(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(b">one\nACGNRACG" + b"N" * 30 + b"TTTT\n"))
    corpus = open_corpus(str(path))
    assert corpus.vocabulary == 5
    assert [document.tolist() for document in corpus.all_documents] == [[0, 1, 2, 4, 4, 0, 1, 2], [3] * 4]
    assert "ambiguous" in corpus.notes[0]
    assert len({corpus.family(name) for name in corpus._stored[1]}) == 1


def test_gaps_are_left_out_and_rna_is_read_as_dna(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">a\nACG--U*\n")
    corpus = open_corpus(str(tmp_path / "x.fa"))
    assert corpus.alphabet == "ACGT"
    assert corpus.all_documents[0].tolist() == [0, 1, 2, 3]
    assert "ambiguous" not in corpus.notes[0]


def test_records_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of N that cross a piece's end are one run; the pieces' size changes no token."""
    text = ">one\n" + ("ACGT" * 5 + "N" * 23 + "TTGA" * 3 + "NNN\n") * 20 + ">two\nACGT\n"
    (tmp_path / "x.fa").write_text(text)
    whole = [d.tolist() for d in open_corpus(str(tmp_path / "x.fa")).all_documents]
    monkeypatch.setattr(fasta, "PIECE", 7)
    monkeypatch.setenv("L2M_CACHE", str(tmp_path / "cache"))
    assert [d.tolist() for d in open_corpus(str(tmp_path / "x.fa")).all_documents] == whole
    assert len(whole) == 22


def test_proteins_have_their_own_alphabet(tmp_path: Path) -> None:
    (tmp_path / "x.faa").write_text(">p\nMKLVXU*\n")
    corpus = open_corpus(str(tmp_path / "x.faa"))
    assert corpus.vocabulary == 21
    assert corpus.all_documents[0].tolist()[-2:] == [20, 20]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">one\n>two\nACGT\n", "record 'one' is empty"),
        (">one\nACGT\n>two\n", "record 'two' is empty"),
        ("ACGT\n", "line 1: not FASTA"),
        (">one\nAC1T\n", "line 2: record 'one': must contain letters"),
        ("", "no line starts with '>'"),
    ],
)
def test_bad_fasta_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(BadInput, match=words):
        open_corpus(str(tmp_path / "x.fa")).all_documents  # noqa: B018


def test_integer_arrays_are_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    corpus = open_corpus(f"{tmp_path / 'x.npy'}:vocabulary=7")
    assert [d.tolist() for d in corpus.all_documents] == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(BadInput, match="give the vocabulary size"):
        open_corpus(str(tmp_path / "x.npy"))
    with pytest.raises(BadInput, match="document 1, position 2: token 6 is outside the vocabulary of 6"):
        open_corpus(f"{tmp_path / 'x.npy'}:vocabulary=6").all_documents  # noqa: B018


def test_raw_tokens_end_with_their_separator(tmp_path: Path) -> None:
    np.array([1, 2, 0, 3, 0, 4], dtype=np.uint16).tofile(tmp_path / "x.bin")
    corpus = open_corpus(f"{tmp_path / 'x.bin'}:vocabulary=50257,separator=0")
    assert [d.tolist() for d in corpus.all_documents] == [[1, 2, 0], [3, 0], [4]]
    (tmp_path / "odd.bin").write_bytes(b"123")
    with pytest.raises(BadInput, match="not a whole number of uint16"):
        open_corpus(f"{tmp_path / 'odd.bin'}:vocabulary=10")


def test_endings_of_arrays_may_be_upper_case(tmp_path: Path) -> None:
    with (tmp_path / "A.NPY").open("wb") as file:
        np.save(file, np.array([[1, 2], [3, 4]]))
    np.array([5, 6, 7], dtype=np.uint16).tofile(tmp_path / "B.BIN")
    assert [d.tolist() for d in open_corpus(f"{tmp_path / 'A.NPY'}:vocabulary=9").all_documents] == [[1, 2], [3, 4]]
    assert [d.tolist() for d in open_corpus(f"{tmp_path / 'B.BIN'}:vocabulary=9").all_documents] == [[5, 6, 7]]
    with pytest.raises(BadInput, match="found 2 array files; give a single one"):
        open_corpus(str(tmp_path))
    (tmp_path / "c.txt").write_text("prose")
    with pytest.raises(BadInput, match=r"several kinds \(2 array, 1 others\)"):
        open_corpus(str(tmp_path))


def test_real_arrays_become_tokens(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 50, 2))
    np.save(tmp_path / "x.npy", values)
    uniform = open_corpus(f"{tmp_path / 'x.npy'}:quantise=uniform,levels=16")
    assert uniform.period == 2
    assert uniform.vocabulary == 16
    tokens = np.concatenate(list(uniform.all_documents))
    assert np.corrcoef(tokens, values.ravel())[0, 1] > 0.99
    fine = open_corpus(str(tmp_path / "x.npy"))
    assert len(np.unique(np.concatenate(list(fine.all_documents)))) > 150
    assert "mulaw, 256 levels" in fine.notes[0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), "document 1, position 0: not a finite number"),
        (np.array([["a"]]), "integers or real numbers"),
        (np.zeros((2, 2, 2, 2)), "the shape"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, array: Any, words: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(BadInput, match=words):
        open_corpus(str(tmp_path / "x.npy")).all_documents  # noqa: B018


def test_a_broken_archive_and_several_arrays_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(BadInput, match="not a NumPy array file"):
        open_corpus(str(tmp_path / "x.npz"))
    (tmp_path / "shards").mkdir()
    for name in "ab":
        np.save(tmp_path / "shards" / f"{name}.npy", np.zeros(4, dtype=int))
    with pytest.raises(BadInput, match="found 2 array files; give a single one"):
        open_corpus(str(tmp_path / "shards"))


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(BadInput, match="never loaded"):
        open_corpus(str(tmp_path / "x.npy"))


def test_any_tokenizer_reads_text(tiny_llama: Path, text_folder: Path) -> None:
    corpus = open_corpus(str(text_folder), tokenizer=str(tiny_llama))
    assert corpus.vocabulary > 256
    assert len(corpus.tokenizer.encode("the cat sat on the mat")) < 12
    text = corpus.tokenizer.encode((text_folder / "00.txt").read_text())
    np.testing.assert_array_equal(corpus.all_documents[0], text)
    named = open_corpus(f"{text_folder}:tokenizer={tiny_llama}")
    assert named.fingerprint == corpus.fingerprint


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("markov:stay=0.9", "has its own tokens"),
        ("x.npy:vocabulary=7", "has its own tokens"),
    ],
)
def test_a_tokenizer_is_for_text(tmp_path: Path, tiny_llama: Path, spec: str, words: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros(10, dtype=int))
    with pytest.raises(BadInput, match=words):
        open_corpus(spec.replace("x.npy", str(tmp_path / "x.npy")), tokenizer=str(tiny_llama))


def test_a_models_own_tokenizer_is_for_text_only(tmp_path: Path, tiny_llama: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(10, dtype=int))
    assert open_corpus(f"{tmp_path / 'x.npy'}:vocabulary=7", otherwise=str(tiny_llama)).vocabulary == 7


def test_an_unknown_tokenizer_is_bad_input(text_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tokenizer"):
        open_corpus(str(text_folder), tokenizer=str(tmp_path))


def test_a_path_may_hold_colons_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "a:b=c d é").mkdir()
    (tmp_path / "a:b=c d é" / "x.txt").write_text("text")
    assert len(open_corpus(str(tmp_path / "a:b=c d é")).all_documents) == 1


def test_long_text_is_cut_at_lines_or_spaces() -> None:
    text = "one two three\nfour five six\n" * 20
    pieces = list(in_pieces([text[:100], text[100:]], size=64))
    assert "".join(pieces) == text
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert "".join(in_pieces(["x" * 1000], size=64)) == "x" * 1000
