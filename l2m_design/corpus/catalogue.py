"""From what a user writes to a corpus."""

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.synthetic import santa_fe
from l2m_design.corpus.text import standard_library, text_files
from l2m_design.errors import BadInput


def open_corpus(spec: str) -> Corpus:
    """`stdlib`, `santa-fe:beta=0.7[,pairs=N,keys=K]`, or a text or .jsonl file, a folder, a glob. Raises BadInput."""
    if not spec.strip():
        raise BadInput("corpus: an empty name; known: stdlib, santa-fe:beta=0.7, a file, folder or glob")
    if spec == "stdlib":
        return standard_library()
    kind, separator, options = spec.partition(":")
    if kind == "santa-fe":
        return santa_fe(options, spec)
    if separator and "/" not in kind and len(kind) > 1:
        raise BadInput(f"{spec}: unknown kind of corpus '{kind}'; known: santa-fe, or a path without a colon")
    return text_files(spec)
