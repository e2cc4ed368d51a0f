"""Raw files of tokens: the headers and indices that are known, and what shows that they are something else."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l2m_design.errors import BadInput

Dtype = Literal["uint8", "uint16", "uint32", "int32", "int64"]

HEADER = 256  # numbers of 32 bits in llm.c's header
SHARDS: dict[int, Dtype] = {20240520: "uint16", 20240801: "uint32"}  # llm.c's magic numbers: GPT-2, Llama 3
MEGATRON, PACKED = b"MMIDIDX\0\0", b"LITPKDS"
CODES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}  # of Megatron's and LitGPT's dtypes
LOOKED_AT = 1 << 18  # words of 16 bits
SMALL = 16  # the upper half of a 32-bit token is less: vocabularies end before 2^20
FOREIGN = {
    b"\x93NUMPY": "a NumPy array: rename it to .npy",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"GGUF": "a GGUF model",
    b"\x1f\x8b": "compressed by gzip: decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it first",
    b"\xfd7zXZ": "compressed by xz: decompress it first",
    b"\x89HDF": "an HDF5 file",
    MEGATRON: "an index of Megatron; give the .bin file beside it",
    b"TNTIDX": "an index of fairseq, which is not supported",
}


@dataclass(frozen=True)
class Spans:
    """Documents of their own lengths in one array of tokens: [documents, 2] first token and end."""

    tokens: NDArray[Any]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> NDArray[Any]:
        start, end = self.spans[index].tolist()
        return self.tokens[start:end]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))


def raw_tokens(path: Path, dtype: Dtype, named: bool) -> NDArray[Any] | Spans:
    """The tokens [tokens] of a .bin file, or the documents that Megatron's .idx beside it tells of.

    dtype: of a file without a header; named: the user gave it. Raises BadInput.
    """
    if not path.stat().st_size:
        raise BadInput(f"{path}: the file is empty")
    with path.open("rb") as file:
        start = file.read(4 * HEADER)
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise BadInput(f"{path}: must contain raw tokens, but it is {what}")
    if path.with_suffix(".idx").exists():
        return _megatron(path, path.with_suffix(".idx"))
    if start.startswith(PACKED):
        return _packed(path, start)
    head = np.frombuffer(start.ljust(4 * HEADER, b"\0"), dtype="<i4")
    if int(head[0]) in SHARDS:
        return _behind(path, SHARDS[int(head[0])], 4 * HEADER, int(head[2]))
    _known(path, head, start)
    item = np.dtype(dtype).itemsize
    if path.stat().st_size % item:
        raise BadInput(f"{path}: {path.stat().st_size} bytes are not a whole number of {dtype} tokens")
    if dtype == "uint16" and not named:
        _wide(path)
    return np.memmap(path, dtype=dtype, mode="r")


def _behind(path: Path, dtype: str, offset: int, count: int) -> NDArray[Any]:
    """The tokens behind a header, which are as many as it says."""
    held, rest = divmod(path.stat().st_size - offset, np.dtype(dtype).itemsize)
    if count != held or rest:
        raise BadInput(f"{path}: its header says {count:,} tokens, but it contains {held:,}")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset)


def _dtype(path: Path, code: int) -> str:
    if code not in CODES:
        raise BadInput(f"{path}: its header gives the dtype {code}, which is not a type of integers")
    return CODES[code]


def _packed(path: Path, start: bytes) -> NDArray[Any]:
    """A file of LitGPT's packed data set: magic, version, dtype, how many tokens."""
    try:
        version, code, count = struct.unpack_from("<QBQ", start, len(PACKED))
    except struct.error:
        raise BadInput(f"{path}: the LitGPT header is incomplete") from None
    if version != 1:
        raise BadInput(f"{path}: version {version} of LitGPT's packed data set is unknown; only 1 is read")
    return _behind(path, _dtype(path, code), len(PACKED) + struct.calcsize("<QBQ"), count)


def _megatron(path: Path, index: Path) -> Spans:
    """A .bin file whose .idx holds: magic, version, dtype, sequences, documents + 1; the sequences' sizes and positions
    in bytes; the sequences that documents begin with.
    """
    held = index.read_bytes()
    if not held.startswith(MEGATRON):
        raise BadInput(
            f"{index}: an unknown kind of index (only Megatron's is known); move it away to read {path.name} as raw "
            "tokens"
        )
    broken = BadInput(f"{index}: a broken index: its documents are not consecutive sequences in order")
    try:
        version, code, sequences, bounds = struct.unpack_from("<QBQQ", held, len(MEGATRON))
        at = len(MEGATRON) + struct.calcsize("<QBQQ")
        sizes = np.frombuffer(held, "<i4", sequences, at).astype(np.int64)
        positions = np.frombuffer(held, "<i8", sequences, at + 4 * sequences)
        firsts = np.frombuffer(held, "<i8", bounds, at + 12 * sequences)
    except (struct.error, ValueError, OverflowError):
        raise broken from None
    if version != 1:
        raise BadInput(f"{index}: version {version} of Megatron's index is unknown; only 1 is read")
    dtype = _dtype(index, code)
    ends, item = np.concatenate([[0], np.cumsum(sizes)]), np.dtype(dtype).itemsize
    if int(ends[-1]) * item != path.stat().st_size:
        raise BadInput(
            f"{index}: says {ends[-1]:,} {dtype} tokens, but {path.name} contains {path.stat().st_size:,} bytes"
        )
    ordered = len(firsts) > 1 and firsts[0] == 0 and firsts[-1] == sequences and (np.diff(firsts) >= 0).all()
    if not ordered or (sizes < 0).any() or (positions != ends[:-1] * item).any():
        raise broken
    return Spans(np.memmap(path, dtype=dtype, mode="r"), np.stack([ends[firsts[:-1]], ends[firsts[1:]]], axis=1))


def _known(path: Path, head: NDArray[np.int32], start: bytes) -> None:
    """Refuse headers that are not known, and chunks of litdata."""
    size, count = path.stat().st_size, int(head[0])
    sized = [int(head[2]) * item == size - 4 * HEADER for item in (1, 2, 4, 8)]
    if not head[3:].any() and size > 4 * HEADER and (any(sized) or 20200000 < count < 20300000):
        raise BadInput(
            f"{path}: begins with an unknown header ({count}); known are those of llm.c, LitGPT and Megatron"
        )
    if 0 < count < size // 4 - 2 and int(head[1]) == 4 * (count + 2):
        last = np.memmap(path, dtype="<u4", mode="r", offset=4 * (count + 1), shape=(1,))[0]
        if int(last) == size:
            raise BadInput(f"{path}: a chunk of litdata, which is not supported; write its tokens to a .npy file")


def _wide(path: Path) -> None:
    """Refuse tokens of 32 or 64 bits where 16 are assumed: their upper halves are nearly always small."""
    words = np.memmap(path, dtype="<u2", mode="r")[:LOOKED_AT]
    if len(words) < 4 * SMALL:
        return
    small = (words < SMALL) | (words == 0xFFFF)
    lower, second, third, fourth = (float(small[: len(words) // 4 * 4].reshape(-1, 4)[:, i].mean()) for i in range(4))
    if lower < 0.9 and min(second, fourth) > 0.99:
        wide = "int64" if third > 0.99 else "int32" if (words[1::2] == 0xFFFF).any() else "uint32"
        raise BadInput(
            f"{path}: nearly every second 16-bit word is below {SMALL}, as in tokens of {8 * np.dtype(wide).itemsize} "
            f"bits: give dtype={wide}, or dtype=uint16 if they are tokens"
        )
