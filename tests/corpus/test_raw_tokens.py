"""Raw files of tokens: known headers and indices are read, others are refused by name, wide tokens are noticed."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput

TOKENS = np.random.default_rng(0).integers(0, 50000, 4000)


def read(path: Path, options: str = "vocabulary=50257") -> Any:
    return open_corpus(f"{path}:{options}").all_documents


@pytest.mark.parametrize("dtype", ["uint32", "int32", "int64"])
def test_tokens_wider_than_the_default_are_asked_for(tmp_path: Path, dtype: str) -> None:
    tokens = TOKENS.astype(dtype)
    tokens[::50] = 100_000
    tokens.tofile(tmp_path / "x.bin")
    asked = "int64" if dtype == "int64" else "uint32"
    with pytest.raises(BadInput, match=f"give dtype={asked}, or dtype=uint16"):
        read(tmp_path / "x.bin")
    found = read(tmp_path / "x.bin", f"vocabulary=128256,dtype={dtype}")
    assert (found.tokens == tokens).all()
    assert read(tmp_path / "x.bin", "vocabulary=65536,dtype=uint16").size == tokens.nbytes // 2


@pytest.mark.parametrize("high", [4, 5000, 50000])
def test_tokens_of_16_bits_are_not_taken_for_wider(tmp_path: Path, high: int) -> None:
    tokens = TOKENS.astype(np.uint16) % high
    tokens.tofile(tmp_path / "x.bin")
    assert (read(tmp_path / "x.bin").tokens == tokens).all()


def megatron(
    path: Path, tokens: NDArray[Any], code: int, sizes: list[int], firsts: list[int], version: int = 1
) -> None:
    tokens.tofile(path.with_suffix(".bin"))
    places = (np.cumsum([0, *sizes[:-1]]) * tokens.itemsize).astype("<i8")
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", version, code, len(sizes), len(firsts))
    arrays = np.array(sizes, "<i4").tobytes() + places.tobytes() + np.array(firsts, "<i8").tobytes()
    path.with_suffix(".idx").write_bytes(head + arrays)


@pytest.mark.parametrize(("code", "dtype"), [(8, "<u2"), (4, "<i4")])
def test_megatrons_index_tells_documents(tmp_path: Path, code: int, dtype: str) -> None:
    """Three sequences, of which the first two are one document."""
    tokens = TOKENS[:60].astype(dtype)
    megatron(tmp_path / "x", tokens, code, [10, 20, 30], [0, 2, 3])
    assert [list(found) for found in read(tmp_path / "x.bin")] == [list(tokens[:30]), list(tokens[30:])]


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    tokens = TOKENS[:60].astype("<u2")
    megatron(tmp_path / "x", tokens, 8, [10, 20, 31], [0, 1, 2, 3])
    with pytest.raises(BadInput, match=r"says 61 uint16 tokens, but x\.bin contains 120 bytes"):
        read(tmp_path / "x.bin")
    megatron(tmp_path / "x", tokens, 8, [10, 20, 30], [0, 2, 4])
    with pytest.raises(BadInput, match="a broken index"):
        read(tmp_path / "x.bin")
    megatron(tmp_path / "x", tokens, 8, [10, 20, 30], [0, 3], version=2)
    with pytest.raises(BadInput, match="version 2 of Megatron's index"):
        read(tmp_path / "x.bin")
    megatron(tmp_path / "x", tokens, 7, [10, 20, 30], [0, 3])
    with pytest.raises(BadInput, match="the dtype 7, which is not a type of integers"):
        read(tmp_path / "x.bin")
    (tmp_path / "x.idx").write_bytes((tmp_path / "x.idx").read_bytes()[:40])
    with pytest.raises(BadInput, match="a broken index"):
        read(tmp_path / "x.bin")
    (tmp_path / "x.idx").write_bytes(b"TNTIDX\0\0")
    with pytest.raises(BadInput, match="an unknown kind of index"):
        read(tmp_path / "x.bin")


def test_litgpts_header_is_read(tmp_path: Path) -> None:
    tokens, path = TOKENS.astype("<u2"), tmp_path / "x.bin"
    path.write_bytes(b"LITPKDS" + struct.pack("<QBQ", 1, 8, len(tokens)) + tokens.tobytes())
    assert (read(path).tokens == tokens).all()
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(BadInput, match="says 4,000 tokens, but it contains 3,999"):
        read(path)


def test_other_headers_are_refused_by_name(tmp_path: Path) -> None:
    tokens, path = TOKENS.astype("<u2").tobytes(), tmp_path / "x.bin"
    llm = np.zeros(256, "<i4")
    llm[:3] = 20240899, 1, len(TOKENS)
    chunk = np.array([2, 16, 20, 16 + len(tokens)], "<u4")
    for start, words in (
        (llm.tobytes(), r"an unknown header \(20240899\)"),
        (chunk.tobytes(), "a chunk of litdata"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"\x1f\x8b\x08\0", "compressed by gzip"),
        (b"MMIDIDX\0\0", "an index of Megatron"),
    ):
        path.write_bytes(start + tokens)
        with pytest.raises(BadInput, match=words):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="the file is empty"):
        read(path)
