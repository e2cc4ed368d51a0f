"""Records as people bring them: the same documents whatever the shape, the ending and the packing."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput

TEXTS = [f"document {i}, with a comma, a\ttab and é" for i in range(30)]
ROWS = [{"id": i, "text": text, "meta": {"body": text}} for i, text in enumerate(TEXTS)]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(path: Path, delimiter: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "text"])
        writer.writerows([i, text] for i, text in enumerate(TEXTS))


def parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def zstd(path: Path) -> None:
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        file.write(lines(ROWS))


def texts(spec: str) -> set[str]:
    return {bytes(document).decode() for document in open_corpus(spec).all_documents}


SHAPES: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(lines(ROWS)),
    "A.JSONL": lambda path: path.write_bytes(lines(ROWS)),
    "a.ndjson": lambda path: path.write_bytes(lines(ROWS)),
    "lines.json": lambda path: path.write_bytes(lines(ROWS)),
    "array.json": lambda path: path.write_text(json.dumps(ROWS)),
    "pretty.json": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "array.jsonl": lambda path: path.write_text(json.dumps(ROWS)),
    "pretty.jsonl": lambda path: path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS)),
    "strings.json": lambda path: path.write_text(json.dumps(TEXTS)),
    "strings.jsonl": lambda path: path.write_text("".join(json.dumps(text) + "\n" for text in TEXTS)),
    "inside.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS})),
    "columns.json": lambda path: path.write_text(json.dumps({"id": list(range(30)), "text": TEXTS})),
    "several.json": lambda path: path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS)),
    "long.json": lambda path: path.write_text(json.dumps({"data": ROWS, "pad": "x" * 2**17})),
    "comment.jsonl": lambda path: path.write_bytes(b"# made by hand\n\n// twice\n" + lines(ROWS)),
    "comment.json": lambda path: path.write_bytes(b"// made by hand\n" + lines(ROWS)),
    "bom.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS)),
    "crlf.jsonl": lambda path: path.write_bytes(lines(ROWS).replace(b"\n", b"\r\n")),
    "a.csv": lambda path: table(path, ","),
    "a.tsv": lambda path: table(path, "\t"),
    "semicolons.csv": lambda path: table(path, ";"),
    "tabs.csv": lambda path: table(path, "\t"),
    "pipes.csv": lambda path: table(path, "|"),
    "commas.tsv": lambda path: table(path, ","),
    "A.Parquet": parquet,
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines(ROWS))),
    "a.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "a.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(lines(ROWS))),
    "a.jsonl.xz": lambda path: path.write_bytes(lzma.compress(lines(ROWS))),
    "a.jsonl.zst": zstd,
    "unpacked-by-its-name.jsonl": lambda path: path.write_bytes(gzip.compress(lines(ROWS))),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_holds_the_same_documents(name: str, tmp_path: Path) -> None:
    SHAPES[name](tmp_path / name)
    assert texts(str(tmp_path / name)) == set(TEXTS)


@pytest.mark.parametrize("name", ["a.jsonl", "array.json", "A.Parquet"])
def test_a_field_inside_another_is_named_with_a_dot(name: str, tmp_path: Path) -> None:
    SHAPES[name](tmp_path / name)
    assert texts(f"{tmp_path / name}:field=meta.body") == set(TEXTS)


def test_records_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*ROWS, {"id": 30, "text": None}, {"id": 31, "text": ""}]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    for _ in range(2):  # read, and read again from the cache
        corpus = open_corpus(str(tmp_path / "a.jsonl"))
        assert len(corpus.all_documents) == 30
        assert "2 of 32 documents contain no text and are left out" in corpus.notes


@pytest.mark.parametrize("name", ["notes.txt", "data", "dump.log"])
def test_records_under_another_name_are_asked_about_and_read_as_is_said(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(lines(ROWS))
    with pytest.raises(BadInput, match=r"looks like a file of records \(jsonl\).*format=jsonl.*format=text"):
        open_corpus(str(path))
    assert texts(f"{path}:format=jsonl") == set(TEXTS)
    assert len(open_corpus(f"{path}:format=text").all_documents) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_table_under_another_name_is_asked_about(delimiter: str, tmp_path: Path) -> None:
    table(tmp_path / "table.txt", delimiter)
    shape = "tsv" if delimiter == "\t" else "csv"
    with pytest.raises(BadInput, match=rf"looks like a file of records \({shape}\)"):
        open_corpus(str(tmp_path / "table.txt"))
    assert texts(f"{tmp_path}/table.txt:format={shape}") == set(TEXTS)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("array.json", "json"),
        ("strings.json", "json"),
        ("inside.json", "json"),
        ("columns.json", "json"),
        ("several.json", "json"),
        ("long.json", "json"),
        ("comment.jsonl", "jsonl"),
    ],
)
def test_json_under_another_name_is_asked_about(name: str, shape: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    SHAPES[name](path)
    with pytest.raises(BadInput, match=rf"looks like a file of records \({shape}\)"):
        open_corpus(str(path))
    assert texts(f"{path}:format={shape}") == set(TEXTS)


@pytest.mark.parametrize(
    "text", ["Dear reader.\n", '{\n  "name": "one object"\n}\n', "[section]\nkey = 1\n", "{}", "3"]
)
def test_a_file_named_json_is_never_read_as_prose_unasked(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=r"^[^\n]*a\.json: [^\n]*$"):
        texts(str(tmp_path / "a.json"))
    assert texts(f"{tmp_path}/a.json:format=text") == {text}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{}\n{"text": "x"}\nnull\n{"text": "y"}\n{"body": "z"}\n'),
        ("a.json", b'[{}, {"text": "x"}, null, {"text": "y"}, {"body": "z"}]'),
        ("a.csv", b"id,text\n1,x\n2,\n3,y\n4,\n5,\n"),
    ],
)
def test_records_without_the_field_are_counted_as_empty_ones_are(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    corpus = open_corpus(str(tmp_path / name))
    assert {bytes(document) for document in corpus.all_documents} == {b"x", b"y"}
    assert "3 of 5 documents contain no text and are left out" in corpus.notes


QUOTED = [
    ('1\t"unpaired\n2\tb\n3\t"c\n', ['"unpaired', "b", '"c']),
    ('1\t5" pipe\n2\t"said ""so"""\n3\t"a" and "b"\n', ['5" pipe', 'said "so"', '"a" and "b"']),
    ('1\t"over\ntwo lines"\n2\t"a\ttab"\n', ["over\ntwo lines", "a\ttab"]),
]


@pytest.mark.parametrize(("rows", "expected"), QUOTED)
def test_quotes_swallow_no_row_of_a_tsv(rows: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n" + rows)
    assert texts(f"{tmp_path}/a.tsv") == set(expected)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_writer_of_csv_wrote_is_read_as_it_was(delimiter: str, quoting: Literal[0, 1], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = {f"{i} " + "".join(rng.choice(list("ab ,;|\t\n\r\"'\\é\u2028"), size=30)) + "." for i in range(200)}
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
        writer.writerows([["id", "text"], *([i, text] for i, text in enumerate(sorted(wanted)))])
    assert texts(f"{tmp_path}/a.csv") == wanted


def test_a_header_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text,{'x' * 2**18}\na,b\n")
    assert texts(f"{tmp_path}/a.csv") == {"a"}


def test_files_of_several_kinds_are_refused_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">x\nACGT\n")
    (tmp_path / "b.txt").write_text("prose")
    (tmp_path / "c.txt").write_text("more prose")
    with pytest.raises(BadInput, match=r"several kinds \(1 FASTA, 2 others\)"):
        open_corpus(str(tmp_path))
    (tmp_path / "d.NPY").write_bytes(b"\x93NUMPY")
    with pytest.raises(BadInput, match=r"several kinds \(1 array, 1 FASTA, 2 others\)"):
        open_corpus(str(tmp_path))
    assert texts(f"{tmp_path}/*.txt") == {"prose", "more prose"}


@pytest.mark.parametrize(
    "text",
    [
        "Dear reader, this is prose,\nwith commas.\n",
        '{\n  "name": "one object"\n}\n',
        "[section]\nkey = 1\n",
        "# A title\n\n[link](elsewhere)\n",
        '["A", he said, "and B."]\n',
        json.dumps({"cells": [{"source": [], "outputs": [{"text": ["x"] * 2**15}]}]}, indent=1),
        json.dumps({"cells": [{"source": [], "outputs": [{"text": ["x"]}]}]}, indent=1),
    ],
)
def test_prose_and_code_are_not_taken_for_records(text: str, tmp_path: Path) -> None:
    for name in ("a.txt", "c"):
        (tmp_path / name).write_text(text)
        assert texts(str(tmp_path / name)) == {text}


def test_files_of_several_kinds_are_never_merged(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    (tmp_path / "b.txt").write_text("prose")
    with pytest.raises(BadInput, match=r"several kinds \(1 of jsonl, 1 of text\)"):
        open_corpus(str(tmp_path))
    assert texts(f"{tmp_path}/*.jsonl") == set(TEXTS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"body": "x"}\n' * 3, "line 1: no field 'text'; it has body"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: field 'text' must be a string, found int"),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', "line 2: no field 'text': a record must be an object"),
        ("a.json", b'[{"text": "x"}, 3]', "record 2: no field 'text': a record must be an object"),
        ("a.json", b'[{"text": "x"}, {"te', "not JSON"),
        ("a.csv", b"id,body\n1,x\n", "line 2: no field 'text'; it has id, body"),
        ("a.csv", b"id;body\n1;x\n", "line 2: no field 'text'; it has id, body"),
        ("a.csv", b"id,text\n1,x\n2,y, and more\n", "line 3: 3 cells, the header has 2 (separated by ',')"),
        ("a.csv", b"id,text\n1,x\n2\n", "line 3: 1 cells, the header has 2"),
        ("a.csv", b"id;text\n1;x;y\n", "line 2: 3 cells, the header has 2 (separated by ';')"),
        ("a.csv", b'id,text\n1,"said \\"so, yes\\""\n', "line 2: a quote is not closed or not doubled"),
        ("a.csv", b'id,text\n1,x\n2,"open\n3,y\n', "line 3: a quote is not closed or not doubled"),
        ("a.csv", b"text,id,text\nx,1,y\n", "line 1: 2 columns are named 'text'"),
        ("a.tsv", b"id\ttext\n1\tx\ty\n", "line 2: 3 cells, the header has 2"),
        ("a.tsv", b'id\ttext\n1\t"open\n2\tx\ty\n', "line 2: a quote is not closed or not doubled"),
        ("a.json", b'{"name": "x"}', "no field 'text' and no array of records; it has name; to read it as plain text"),
        ("a.json", b'{"a": [{"text": "x"}], "b": [{"text": "y"}]}', "2 arrays of records; it has a, b"),
        ("a.json", b'{"text": ["x", 3]}', "record 2: field 'text' must be a string, found int"),
        ("a.parquet", b"prose", "not a Parquet file"),
        ("a.jsonl", b"{}\nnull\n", "line 1: no field 'text'; it is empty"),
        ("a.csv", b"id,text\n1,\xff\xfe\n", "not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9999)[:-40], "cannot be decompressed"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as refused:
        list(open_corpus(str(tmp_path / name)).all_documents)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
