"""Text corpora: bytes as tokens, documents as files or records, bad files named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from l2m_design.corpus import SPLITS, open_corpus
from l2m_design.corpus.text import utf8_pieces
from l2m_design.errors import BadInput


def texts(corpus_spec: str) -> set[bytes]:
    return {document.tobytes() for document in open_corpus(corpus_spec).all_documents}


def test_a_folder_is_one_document_a_file_byte_for_byte(text_folder: Path) -> None:
    assert texts(str(text_folder)) == {path.read_bytes() for path in text_folder.iterdir()}


def test_a_glob_takes_its_matches(text_folder: Path) -> None:
    assert len(texts(f"{text_folder}/0*.txt")) == 10


def test_jsonl_lines_are_documents(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text {i} é"}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n\n")
    assert texts(str(tmp_path / "a.jsonl")) == {f"text {i} é".encode() for i in range(30)}


def test_splits_share_no_document_and_lose_none(text_folder: Path) -> None:
    corpus = open_corpus(str(text_folder))
    found = [document.tobytes() for split in SPLITS for document in corpus.documents(split)]
    assert len(found) == len(set(found)) == 40


def test_a_document_stays_in_its_split_when_others_come(text_folder: Path) -> None:
    before = {d.tobytes() for d in open_corpus(str(text_folder)).documents("test")}
    (text_folder / "new.txt").write_text("a new document")
    after = {d.tobytes() for d in open_corpus(str(text_folder)).documents("test")}
    assert before <= after


def test_one_long_document_is_cut_by_position_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("0123456789" * 100)
    corpus = open_corpus(str(tmp_path / "book.txt"))
    assert [corpus.documents(split).size for split in SPLITS] == [800, 100, 100]
    assert any("few documents" in note for note in corpus.notes)


def test_the_fingerprint_is_that_of_the_content(text_folder: Path) -> None:
    before = open_corpus(str(text_folder)).fingerprint
    assert open_corpus(str(text_folder)).fingerprint == before
    (text_folder / "00.txt").write_text("changed")
    assert open_corpus(str(text_folder)).fingerprint != before


def test_tokens_are_read_from_a_memory_map(text_folder: Path) -> None:
    assert isinstance(open_corpus(str(text_folder)).all_documents.tokens, np.memmap)


def test_binary_files_in_a_folder_are_skipped_and_counted(text_folder: Path) -> None:
    (text_folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    corpus = open_corpus(str(text_folder))
    assert len(corpus.all_documents) == 40
    assert "1 binary files skipped" in corpus.notes


BINARY = {
    "A.dat": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0 a,b\rc,d",
    "A.zip": b"PK\x03\x04\0\0\rx,y\r\0",
    "utf16.csv": "id,text\r\n1,x\r\n".encode("utf-16"),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("format", ["", ":format=text"])
def test_binary_files_are_skipped_whatever_ends_their_lines(text_folder: Path, name: str, format: str) -> None:
    (text_folder / name).write_bytes(BINARY[name])
    corpus = open_corpus(f"{text_folder}{format}")
    assert len(corpus.all_documents) == 40
    assert "1 binary files skipped" in corpus.notes


@pytest.mark.parametrize("text", [b"one\rtwo, three\rfour\r", b"a,b\r\rc\nd\r", b'10%\r100%\r"quoted\n'])
def test_prose_may_hold_carriage_returns(tmp_path: Path, text: bytes) -> None:
    for name in ("a.txt", "b.log"):
        (tmp_path / name).write_bytes(text)
        assert texts(str(tmp_path / name)) == {text}


def test_text_that_is_not_utf8_is_named_with_its_byte(text_folder: Path) -> None:
    (text_folder / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(BadInput, match=r"latin\.txt: not UTF-8 text at byte 3"):
        open_corpus(str(text_folder)).documents("train")


def test_the_byte_is_right_behind_a_piece_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.corpus.text.PIECE", 5)
    path = tmp_path / "t"
    path.write_bytes("aaaé".encode() + b"bbb\xff")
    with pytest.raises(BadInput, match="at byte 8"):
        list(utf8_pieces(path))
    path.write_bytes("aaaaé".encode())
    assert b"".join(utf8_pieces(path)) == "aaaaé".encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "line 2: not JSON"),
        ('{"text": ["x"]}', "line 2: field 'text' must be a string"),
        ("[1]", "line 2: no field"),
    ],
)
def test_a_bad_record_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(BadInput, match=words):
        open_corpus(str(tmp_path / "a.jsonl")).documents("train")


@pytest.mark.parametrize("spec", ["", "nowhere.txt", "hf:wikitext", "/nowhere/*.txt"])
def test_a_corpus_that_is_not_there_is_bad_input(spec: str) -> None:
    with pytest.raises(BadInput):
        open_corpus(spec)


def test_an_empty_corpus_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadInput, match="the corpus is empty"):
        open_corpus(str(tmp_path / "empty.txt")).documents("train")


def test_a_binary_file_given_by_name_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(b"\0\1")
    with pytest.raises(BadInput, match="a binary file"):
        open_corpus(str(tmp_path / "x.dat"))


def test_a_library_package_stays_in_one_split() -> None:
    corpus = open_corpus("stdlib")
    starts = dict(zip(corpus.all_documents.spans[:, 0].tolist(), corpus._stored[1], strict=True))
    splits = {}
    for split in SPLITS:
        for start in corpus.documents(split).spans[:, 0].tolist():
            splits.setdefault(starts[start].split("/")[0], set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) > 100


def test_a_glob_and_its_absolute_form_are_the_same_corpus(text_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(text_folder)
    assert open_corpus("*.txt").fingerprint == open_corpus(f"{text_folder}/*.txt").fingerprint


def test_the_standard_library_is_real_text_without_its_tests() -> None:
    corpus = open_corpus("stdlib")
    assert corpus.all_documents.size > 5_000_000
    assert all(len(corpus.documents(split)) > 20 for split in SPLITS)


@pytest.mark.integration
def test_processes_may_fill_the_cache_at_once(text_folder: Path) -> None:
    code = f"from l2m_design.corpus import open_corpus; print(open_corpus({str(text_folder)!r}).all_documents.size)"
    racing = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in racing] == ["120000"] * 4


def test_a_writer_that_dies_leaves_no_cache(text_folder: Path) -> None:
    bad = text_folder / "zz.txt"
    bad.write_bytes(b"\xff")
    with pytest.raises(BadInput):
        open_corpus(str(text_folder)).documents("train")
    bad.write_bytes(b"mended")
    assert b"mended" in texts(str(text_folder))


def test_a_cache_that_cannot_be_written_says_what_to_set(text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2M_CACHE", "/proc/nowhere")
    with pytest.raises(BadInput, match="set L2M_CACHE"):
        open_corpus(str(text_folder)).documents("train")


def test_settings_in_json_among_code_are_text(tmp_path: Path) -> None:
    for index in range(4):
        (tmp_path / f"{index}.py").write_text(f"def f{index}():\n    return {index}\n" * 20)
    (tmp_path / "package.json").write_text('{"name": "x", "dependencies": {"a": "1"}}')
    assert len(open_corpus(str(tmp_path)).all_documents) == 5
    (tmp_path / "rows.json").write_text('[{"text": "one"}, {"text": "two"}]')
    with pytest.raises(BadInput, match="files of several kinds"):
        open_corpus(str(tmp_path))
