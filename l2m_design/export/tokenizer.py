"""The tokenizer of an export: the files that lie beside the weights or the card, proven where they were written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from l2m_design.architecture import Architecture
from l2m_design.corpus.tokenizers import (
    Bytes,
    HuggingFaceTokenizer,
    Tokenizer,
    local,
    save_tokenizer,
    tokenizer_files,
)
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.tokenized import Found
from l2m_design.settings import Json, to_json, write_atomically

PROBE = "The quick brown fox, 0123456789;  jumped\n\tover: über ∑ 日本 😀!"
NONE = "none"


@dataclass(frozen=True)
class Spoken:
    """A tokenizer as it was loaded back. tokens: how many, unused numbers included; kind: in words.

    decodes: does the text of the probe's tokens come back whole? adds_special: does a plain call add special tokens?
    special: numbers of the start, end and padding token, as config.json names them; None where there is none.
    """

    tokens: int
    kind: str
    decodes: bool
    adds_special: bool
    special: dict[str, int | None]

    @property
    def sentence(self) -> str:
        """What it is."""
        return f"{self.kind}, {self.tokens:,} tokens"


class Carried:
    """A tokenizer that an export takes with it. Raises BadInput when its folder holds none that can be loaded."""

    def __init__(self, folder: Path | None) -> None:
        """folder: of the files; None for bytes."""
        self.folder = folder
        self._tokenizer: Tokenizer = Bytes() if folder is None else HuggingFaceTokenizer(str(folder))

    @property
    def tokens(self) -> int:
        """Numbers that tokens need: the largest and one."""
        known = self._tokenizer
        return known.largest + 1 if isinstance(known, HuggingFaceTokenizer) else known.vocabulary

    def check(self, architecture: Architecture) -> None:
        """Raises BadInput when a token has no place in the vocabulary."""
        if self.tokens > architecture.vocabulary:
            raise BadInput(
                f"tokenizer {self.folder or 'bytes'}: {self.tokens:,} tokens, the model's vocabulary is "
                f"{architecture.vocabulary:,}; give another `tokenizer`, or none"
            )

    def write(self, folder: Path) -> None:
        """Put its files into a folder."""
        if self.folder is None:
            save_tokenizer(self._tokenizer, folder)
        for path in tokenizer_files(self.folder) if self.folder else ():
            shutil.copyfile(path, folder / path.name)

    def settle(self, folder: Path, own_code: bool) -> Spoken:
        """Write it into an export and load it back; config.json then names its special tokens, null where it has none.

        own_code: does the export run code of its own? Raises WorkFailed when what is loaded gives other tokens or
        another text.
        """
        self.write(folder)
        found = _ask(folder, own_code)
        expected = self._tokenizer.encode(PROBE).tolist()
        known = self._tokenizer
        text = known.decode(expected) if isinstance(known, HuggingFaceTokenizer) else PROBE
        if found["tokens"] != expected or found["text"] != text:
            raise WorkFailed("the tokenizer, loaded back, gives other tokens; nothing was written")
        config = _read(folder / "config.json")
        special = {
            "bos_token_id": found["bos_token_id"],
            "eos_token_id": found["eos_token_id"],
            "pad_token_id": found["pad_token_id"],
        }
        named = {key: number for key, number in special.items() if key in config}
        if config | named != config:
            write_atomically(folder / "config.json", to_json(config | named))
        return Spoken(self.tokens, self._kind(expected), text == PROBE, found["plain"] != expected, special)

    def _kind(self, probe: list[int]) -> str:
        if self.tokens == Bytes.vocabulary and probe == list(PROBE.encode()):
            return "UTF-8 bytes, each numbered by its value"
        path = (self.folder or Path()) / "tokenizer.json"
        model = _read(path).get("model") if path.exists() else None
        kind = model.get("type") if isinstance(model, dict) else None
        return {"BPE": "byte-pair encoding"}.get(str(kind), str(kind) if kind else "a tokenizer of transformers")


def carried(given: str | None, weights: Path | None, source: str) -> Carried | None:
    """The tokenizer of an export, if one is known.

    given: a folder, `bytes`, `none`, or None for what lies beside the weights; without weights, beside the source (a
    architecture, a card, or the folder of one). Raises BadInput when a named folder holds none.
    """
    if given == NONE:
        return None
    if given == "bytes":
        return Carried(None)
    if given is not None:
        folder = local(given, "`tokenizer`")
        if not tokenizer_files(folder):
            raise BadInput(f"`tokenizer` {given}: must be a folder with a tokenizer.json, bytes or none")
        return Carried(folder)
    path = weights or Path(source)
    beside = path if path.is_dir() else path.parent
    return Carried(beside) if tokenizer_files(beside) else None


def _read(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def _ask(folder: Path, own_code: bool) -> Found:
    """What a fresh process loads from the folder. Raises WorkFailed when it cannot."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name("tokenized.py")), str(folder), PROBE,
             "own-code" if own_code else "no-code"],
            env=os.environ | {"HF_MODULES_CACHE": place, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise WorkFailed(f"the exported tokenizer does not load: {lines[-1]}; nothing was written")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found
