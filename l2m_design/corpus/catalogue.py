"""From what a user writes to a corpus."""

import glob
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.fasta import FastaCorpus, is_fasta
from l2m_design.corpus.options import parse_options, split_options
from l2m_design.corpus.records import STREAMED_DOCUMENTS, streamed
from l2m_design.corpus.synthetic import SOURCES, synthetic
from l2m_design.corpus.text import TextSettings, standard_library, text_files
from l2m_design.corpus.token_files import array_file
from l2m_design.errors import BadInput

ARRAYS = (".npy", ".npz", ".bin")
KNOWN = f"stdlib, {', '.join(SOURCES)}, hf:NAME[:CONFIG], a file, folder or glob"


class StreamSettings(TextSettings):
    """split and how many documents of a Hugging Face data set are streamed."""

    split: str = "train"
    documents: Annotated[int, Field(ge=1, le=10**8)] = STREAMED_DOCUMENTS


def open_corpus(
    spec: str, tokenizer: str | None = None, trust_remote_code: bool = False, otherwise: str | None = None
) -> Corpus:
    """Open a corpus, given as `NAME[:key=value,...]` or `PATH[:key=value,...]`. Raises BadInput.

    tokenizer: for text, unless the spec names one. trust_remote_code: run Python code that comes with a data set or
    tokenizer. otherwise: tokenizer for text if none is named; by default bytes.

    Examples:
        >>> corpus = open_corpus("markov:stay=0.9,documents=20,length=512")
        >>> corpus.vocabulary, len(corpus.documents("train"))
        (2, 20)
    """
    if not spec.strip():
        raise BadInput(f"corpus: the name is empty; allowed: {KNOWN}")
    kind, separator, options = spec.partition(":")
    if kind in SOURCES:
        _no_tokenizer(tokenizer, spec, "a synthetic source")
        return synthetic(kind, options, spec)
    where, options = (spec, "") if Path(spec).expanduser().exists() else split_options(spec)
    named = next((part.partition("=")[2] for part in options.split(",") if part.startswith("tokenizer=")), None)
    if tokenizer and named and tokenizer != named:
        raise BadInput(f"{spec}: its tokenizer is {named}, but `tokenizer` is {tokenizer}; give only one of them")
    if tokenizer and not named:
        options = ",".join(filter(None, (options, f"tokenizer={tokenizer}")))
    if kind == "hf":
        return _hugging_face(where.removeprefix("hf:"), options, spec, trust_remote_code, otherwise)
    if where == "stdlib":
        settings = parse_options(options, TextSettings, spec)
        return standard_library(settings.tokenizer or otherwise, trust_remote_code)
    if separator and where == spec and "/" not in kind and len(kind) > 1 and not Path(spec).exists():
        raise BadInput(f"{spec}: unknown kind of corpus '{kind}'; allowed: {KNOWN}")
    return _files(where, options, spec, trust_remote_code, otherwise)


def _files(where: str, options: str, spec: str, trust_remote_code: bool, otherwise: str | None) -> Corpus:
    files, root = _matches(where, Path(where).expanduser())
    arrays, fasta = [path for path in files if _is_array(path)], [path for path in files if is_fasta(path)]
    if "format=" not in options:
        _one_kind({"array": len(arrays), "FASTA": len(fasta), "others": len(files) - len(arrays) - len(fasta)}, spec)
    if len(files) == len(arrays) == 1:
        _no_tokenizer("tokenizer=" in options or None, spec, "an array")
        return array_file(files[0], options, spec)
    if len(files) == len(arrays):
        raise BadInput(f"{spec}: found {len(files)} array files; give a single one")
    if len(files) == len(fasta):
        _no_tokenizer("tokenizer=" in options or None, spec, "FASTA")
        return FastaCorpus(spec, [(path, path.relative_to(root).as_posix()) for path in fasta])
    settings = parse_options(options, TextSettings, spec)
    settings = settings.model_copy(update={"tokenizer": settings.tokenizer or otherwise})
    return text_files(where, files, root, settings, [], trust_remote_code)


def _hugging_face(where: str, options: str, spec: str, trust_remote_code: bool, otherwise: str | None) -> Corpus:
    settings = parse_options(options, StreamSettings, spec)
    name, _, config = where.partition(":")
    if not name:
        raise BadInput(f"{spec}: must name a data set, as hf:NAME or hf:NAME:CONFIG")
    path = streamed(name, config or None, settings.split, settings.field, settings.documents)
    note = f"the first {settings.documents} documents of split '{settings.split}', stored in {path}"
    text = TextSettings(tokenizer=settings.tokenizer or otherwise)
    return text_files(f"hf:{where}", [path], path.parent, text, [note], trust_remote_code)


def _matches(spec: str, path: Path) -> tuple[list[Path], Path]:
    """A file, the files of a folder (hidden ones left out) or of a glob, and the folder that their names start from."""
    try:
        if path.is_file():
            return [path], path.parent
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if _visible(p, path) and p.is_file()]
            if not found:
                raise BadInput(f"{spec}: the folder is empty")
            return found, path
        if not glob.has_magic(spec):
            raise BadInput(f"{spec}: no such corpus; allowed: {KNOWN}")
        found = [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]
    except OSError as error:
        raise BadInput(f"{spec}: {error.filename}: {error.strerror}") from None
    if not found:
        raise BadInput(f"{spec}: the glob matches no file")
    return found, Path(os.path.commonpath([p.parent for p in found]))


def _visible(path: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_array(path: Path) -> bool:
    return path.suffix.lower() in ARRAYS


def _one_kind(counts: dict[str, int], spec: str) -> None:
    """Raises BadInput with how many files of each kind there are, where there are several kinds."""
    listed = [f"{count} {kind}" for kind, count in counts.items() if count]
    if len(listed) > 1:
        raise BadInput(
            f"{spec}: files of several kinds ({', '.join(listed)}); give one kind only, such as the glob 'FOLDER/*.fa'"
        )


def _no_tokenizer(given: str | bool | None, spec: str, what: str) -> None:
    if given not in (None, "bytes"):
        raise BadInput(f"{spec}: {what} has its own tokens; leave `tokenizer` out, which is for text")
