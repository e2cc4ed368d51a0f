"""The start token: which one a model expects before a text, and windows behind it, for every verb that scores."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.corpus import Corpus
from l2m_design.corpus.text import TextCorpus
from l2m_design.corpus.tokenizers import HuggingFaceTokenizer


def corpus_start(corpus: Corpus) -> int | None:
    """The start token (BOS) of the corpus' tokenizer, if it has one."""
    tokenizer = corpus.tokenizer if isinstance(corpus, TextCorpus) else None
    return tokenizer.start if isinstance(tokenizer, HuggingFaceTokenizer) else None


def start_token(config: Any, start: int | None) -> int | None:
    """The tokenizer's start token, or else that of a Hugging Face model's config; none where neither has one."""
    return getattr(config, "bos_token_id", None) if start is None else start


def behind_start(tokens: Tensor, start: int | None) -> Tensor:
    """Tokens [b t] with the start token before them, [b t + 1]; as they are where there is none."""
    if start is None:
        return tokens
    return torch.cat([tokens.new_full((len(tokens), 1), start), tokens], dim=1)
