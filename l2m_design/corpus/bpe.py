"""Byte-pair encoding trained on a corpus of one's own, and bytes, in the form of the `tokenizers` library.

The training is the `tokenizers` library's. What was trained lies in the cache, under the corpus' fingerprint.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput

BPE = re.compile(r"bpe(?::(?P<size>.*))?")
BYTES = 256
MOST = 2**20
PIECE = 1 << 20
TRAINED_BYTES = 1 << 27  # a tokenizer learns nothing more from further text


class Trained(Protocol):
    """What a tokenizer is trained on: a corpus of bytes."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes with any byte."""
        ...

    def documents(self, split: str) -> Any:
        """Documents of bytes."""
        ...


def bpe_size(source: str | None) -> int | None:
    """The vocabulary of `bpe:2048`; none where a tokenizer is named otherwise. Raises BadInput on a bad size."""
    found = BPE.fullmatch(source) if source else None
    if not found:
        return None
    text = found["size"] or ""
    if not (text.isascii() and text.isdigit()):
        raise BadInput(f"tokenizer {source}: must name a vocabulary size, such as bpe:2048")
    size = int(text)
    if not BYTES < size <= MOST:
        raise BadInput(
            f"tokenizer {source}: found {size} tokens; allowed are {BYTES + 1} (every byte is a token) to {MOST}"
        )
    return size


class BytePairs:
    """Byte-level BPE (Sennrich et al., arXiv 1508.07909) of `size` tokens, trained on the training split of `corpus`.

    Raises BadInput when the text holds too few different pairs for so many tokens.
    """

    def __init__(self, size: int, corpus: Trained) -> None:
        from tokenizers import Tokenizer

        self.source = f"bpe:{size}"
        path = cache_folder() / "tokenizers" / f"{corpus.fingerprint}-bpe-{size}.json"
        if not path.exists():
            _train(size, corpus, path)
        self.inner = Tokenizer.from_file(str(path))
        self.vocabulary = self.inner.get_vocab_size()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and the merges."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()[:16]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Tokens [any number] of a piece of text."""
        return np.asarray(self.inner.encode(text).ids, dtype=np.int64)


def _train(size: int, corpus: Trained, path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(_texts(corpus), trainer)
    if (found := trained.get_vocab_size()) < size:
        raise BadInput(
            f"tokenizer bpe:{size}: the training documents of {corpus.name} are enough for {found} tokens "
            "only; give a smaller size or more text"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    trained.save(temporary)
    Path(temporary).replace(path)


def _texts(corpus: Trained) -> Iterator[str]:
    left = TRAINED_BYTES
    for document in corpus.documents("train"):
        for begin in range(0, len(document), PIECE):
            if left <= 0:
                return
            data = np.asarray(document[begin : begin + PIECE], dtype=np.uint8).tobytes()[:left]
            left -= len(data)
            yield data.decode("utf-8", "ignore")


def byte_tokenizer() -> Any:
    """The `tokenizers` tokenizer whose 256 tokens are the UTF-8 bytes, each numbered by its value."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    inner = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in byte_letters().items()}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def byte_letters() -> dict[int, str]:
    """The letter that byte-level tokenizers write for each byte: itself where it prints, else one from 256 on."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(BYTES) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(BYTES + place) for place, byte in enumerate(others)}
