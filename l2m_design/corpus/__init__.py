"""Corpora: documents of integer tokens, split by document, from text, records or exact synthetic sources."""

from l2m_design.corpus.base import SPLITS, Corpus, Documents
from l2m_design.corpus.catalogue import open_corpus

__all__ = ["SPLITS", "Corpus", "Documents", "open_corpus"]
