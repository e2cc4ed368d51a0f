"""Text to tokens: bytes, byte pairs of the corpus' own, or any Hugging Face tokenizer, the only one to import
transformers.
"""

import hashlib
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.bpe import BytePairs, Trained, bpe_size, byte_tokenizer
from l2m_design.errors import BadInput, first_line
from l2m_design.settings import to_json, write_atomically

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)  # what transformers writes for a tokenizer and looks for
OWN_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",  # the name that transformers before and after 5 reads
    "clean_up_tokenization_spaces": False,
    "model_max_length": int(1e30),  # none
}


class Tokenizer(Protocol):
    """Text -> tokens below `vocabulary`."""

    vocabulary: int

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes tokens."""
        ...

    def encode(self, text: str) -> NDArray[Any]:
        """Tokens [any number] of a piece of text, without special tokens."""
        ...


class Bytes:
    """UTF-8 bytes: 256 tokens, nothing to load. assumed: not given by the user."""

    vocabulary = 256
    fingerprint = "bytes"

    def __init__(self, assumed: bool = False) -> None:
        self.assumed = assumed

    def encode(self, text: str) -> NDArray[np.uint8]:
        """The bytes of the text."""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


class HuggingFaceTokenizer:
    """The tokenizer of a folder, a .gguf file or a model's name."""

    def __init__(self, source: str, trust_remote_code: bool = False) -> None:
        from transformers import AutoTokenizer

        quiet()
        path = local(source, "tokenizer")
        where, extra = (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (source, {})
        try:
            loaded = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code, **extra)
        except Exception as error:  # transformers raises many kinds; a user sees one line
            raise BadInput(f"tokenizer {source}: {first_line(error)}") from None
        self._longest = loaded.model_max_length
        loaded.model_max_length = int(1e12)  # documents are longer than models: no warning
        self._tokenizer = loaded
        self.source = source
        self.vocabulary = len(loaded)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of a sentence's tokens."""
        pairs = sorted(self._tokenizer.get_vocab().items())
        probe = self.encode("The quick brown fox, 0123456789; jumped\n\tüber ∑!").tolist()
        return hashlib.sha256(f"{pairs}{probe}".encode()).hexdigest()[:16]

    @property
    def start(self) -> int | None:
        """The token that stands before a text, if the tokenizer has one."""
        return self._tokenizer.bos_token_id

    def encode(self, text: str) -> NDArray[np.int64]:
        """Tokens without special ones."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens."""
        return str(self._tokenizer.decode(tokens))

    @property
    def largest(self) -> int:
        """The largest token; some numbers below it may be unused."""
        return max(self._tokenizer.get_vocab().values(), default=-1)

    def save(self, folder: Path) -> None:
        """Write it as it was loaded."""
        self._tokenizer.model_max_length, used = self._longest, self._tokenizer.model_max_length
        self._tokenizer.save_pretrained(folder)
        self._tokenizer.model_max_length = used


def local(source: str, what: str) -> Path:
    """The path of a source. Raises BadInput when it is written as a path, and nothing is there."""
    path = Path(source).expanduser()
    if not path.exists() and (source.startswith((".", "/", "~")) or source.count("/") > 1 or path.suffix == ".gguf"):
        raise BadInput(f"{what} {source}: no such file or folder")
    return path


def quiet() -> None:
    """Turn off progress bars and messages about retries; a failure is reported once, by this package."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging as models

    hub.set_verbosity(logging.CRITICAL)
    models.set_verbosity_error()
    models.disable_progress_bar()


def open_tokenizer(source: str | None, trust_remote_code: bool, corpus: Callable[[Tokenizer], Trained]) -> Tokenizer:
    """`bytes` (also by default), `bpe:SIZE`, or what transformers can load by folder, .gguf file or name.

    corpus: the text to be tokenised, read by a given tokenizer; `bpe` is trained on its bytes. Raises BadInput.
    """
    if source in (None, "bytes"):
        return Bytes(source is None)
    if size := bpe_size(source):
        return BytePairs(size, corpus(Bytes()))
    assert source is not None
    return HuggingFaceTokenizer(source, trust_remote_code)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that transformers' AutoTokenizer loads into a folder."""
    if isinstance(tokenizer, HuggingFaceTokenizer):
        tokenizer.save(folder)
        return
    inner = tokenizer.inner if isinstance(tokenizer, BytePairs) else byte_tokenizer()
    write_atomically(folder / "tokenizer.json", inner.to_str(pretty=True))
    write_atomically(folder / "tokenizer_config.json", to_json(OWN_CONFIG))


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of the tokenizer that lies in a folder; empty where there is none."""
    found = [path for name in TOKENIZER_FILES if (path := folder / name).is_file()]
    return found if any(path.name.startswith("tokenizer") for path in found) else []
