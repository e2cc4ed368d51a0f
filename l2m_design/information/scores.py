"""Scorers: the loss of every token of a window given the tokens before it in that window."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from l2m_design.errors import BadInput
from l2m_design.estimates import Floats

TOKENS_A_BATCH = 32768


class Scorer(Protocol):
    """-ln q(token | its past in the window), natural logarithms."""

    name: str

    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats of tokens [b t]; the first column is scored without any past."""
        ...


class OracleScorer:
    """The exact Bayes predictor of a synthetic source."""

    name = "oracle"

    def __init__(self, corpus: Any) -> None:
        if not hasattr(corpus, "bayes_nats"):
            raise BadInput(f"{corpus.name}: --model oracle needs a synthetic source, as santa-fe:beta=0.7")
        self.nats: Callable[[NDArray[np.int64]], Floats] = corpus.bayes_nats


class ModelScorer:
    """A causal language model: tokens [b t] -> logits [b t v_], and a unigram law for the first token.

    first: [v_] nats of each token where nothing is before it.
    """

    def __init__(self, model: nn.Module, first: Floats, name: str, device: torch.device) -> None:
        self.name = name
        self._model = model.eval()
        self._first = first
        self._device = device

    @torch.inference_mode()
    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats, in batches of about TOKENS_A_BATCH tokens. Raises BadInput where a loss is not finite."""
        result = np.empty(tokens.shape)
        step = max(1, TOKENS_A_BATCH // tokens.shape[1])
        for begin in range(0, len(tokens), step):
            rows = torch.from_numpy(tokens[begin : begin + step]).to(self._device)
            logits = self._model(rows[:, :-1]).float()
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
            result[begin : begin + step, 1:] = losses.view(len(rows), -1).cpu().numpy()
        result[:, 0] = self._first[tokens[:, 0]]
        if not np.isfinite(result).all():
            window, position = np.argwhere(~np.isfinite(result))[0]
            raise BadInput(f"{self.name}: the loss of window {window}, position {position} is not finite")
        return result
