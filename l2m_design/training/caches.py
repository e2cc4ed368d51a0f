"""Caches compared: what a trained model loses when its cache is bounded, over the same held-out windows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2m_design.corpus import Corpus
from l2m_design.corpus.windows import Windows, uniform_windows
from l2m_design.errors import WorkFailed
from l2m_design.estimates import Estimate, Floats
from l2m_design.information.scores.start import behind_start
from l2m_design.model import LanguageModel
from l2m_design.model.value import value_lesson
from l2m_design.training.result import by_document, paired_difference

PIECE = 512
LESSON_TOKENS, LESSON_RATE = 4096, 3e-3


class Reader(Protocol):
    """What is compared: a LanguageModel, or a BorrowedModel."""

    def prefill(self, tokens: Tensor, state: Any = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_] of tokens [b t] and the state after them."""
        ...


@torch.inference_mode()
def streamed_nats(model: Reader, tokens: NDArray[np.int64], device: torch.device, start: int | None = None) -> Floats:
    """[b t] nats of tokens [b t] read in a stream behind the start token; without one NaN for the first token."""
    given = behind_start(torch.from_numpy(tokens).to(device), start)
    nats = np.full(tuple(given.shape), np.nan)
    state = None
    for first in range(0, given.shape[1] - 1, PIECE):
        piece = given[:, first : min(first + PIECE, given.shape[1] - 1)]
        logits, state = model.prefill(piece, state)
        following = given[:, first + 1 : first + 1 + piece.shape[1]]
        losses = nn.functional.cross_entropy(logits.float().transpose(1, 2), following, reduction="none")
        nats[:, first + 1 : first + 1 + piece.shape[1]] = losses.cpu().numpy()
    return nats[:, given.shape[1] - tokens.shape[1] :]


def repeats(tokens: NDArray[np.int64], context: int, far: int) -> NDArray[np.bool_]:
    """[b t] is the token, with the `context` before it, what stood first more than `far` tokens before?"""
    again = np.zeros(tokens.shape, dtype=bool)
    for row, text in enumerate(tokens.tolist()):
        first: dict[tuple[int, ...], int] = {}
        for t in range(context, len(text)):
            again[row, t] = t - first.setdefault(tuple(text[t - context : t + 1]), t) > far
    return again


@dataclass(frozen=True)
class CacheLosses:
    """Losses in nats [windows] over the second half of each window: of all tokens, and of those that repeat (NaN where
    none does); document [windows].
    """

    late: Floats
    repeated: Floats
    document: NDArray[np.int64]

    def difference(self, other: "CacheLosses", what: str = "late") -> Estimate | None:
        """Mean of ours minus theirs over documents, with the interval of resampled documents; none without values."""
        ours, theirs = getattr(self, what), getattr(other, what)
        there = ~np.isnan(ours)
        if not there.any():
            return None
        pair = [by_document(z[there], self.document[there]) for z in (ours, theirs)]
        return paired_difference(pair[0].tolist(), pair[1].tolist())


class Repeat(NamedTuple):
    """Which tokens repeat: see `repeats`."""

    context: int
    far: int


def cache_losses(
    model: Reader,
    windows: Windows,
    device: torch.device,
    repeat: Repeat,
    start: int | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> CacheLosses:
    """Losses of windows, each read in a stream behind the start token. Raises WorkFailed when one is not finite."""
    late, repeated = [], []
    for row in range(len(windows)):
        tokens = windows.tokens(slice(row, row + 1))
        half = slice(tokens.shape[1] // 2, None)
        nats = streamed_nats(model, tokens, device, start)[:, half]
        if not np.isfinite(nats).all():
            raise WorkFailed(
                "the model's losses are not finite: its weights contain NaN or infinities, or its activations overflow"
            )
        again = repeats(tokens, *repeat)[:, half]
        late.append(float(nats.mean()))
        repeated.append(float(nats[again].mean()) if again.any() else np.nan)
        on_step(row + 1, len(windows))
    return CacheLosses(np.array(late), np.array(repeated), windows.cluster)


def teach_values(model: LanguageModel, corpus: Corpus, length: int, steps: int, seed: int = 0) -> None:
    """Teach fresh scores to a model's `value` layers on training windows; nothing else of it changes."""
    torch.manual_seed(seed)
    for name, module in model.named_modules():
        if ".score." in name and isinstance(module, nn.Linear):
            module.reset_parameters()
    optimiser = torch.optim.AdamW(model.value_parameters, lr=LESSON_RATE, weight_decay=0.0)
    rng = np.random.default_rng([seed, 2])
    rows = max(1, LESSON_TOKENS // length)
    windows = uniform_windows(
        corpus.documents("train"), length, rows * steps, rng, f"{corpus.name} (train)", corpus.period
    )
    device = model.embedding.weight.device
    for step in range(steps):
        tokens = torch.from_numpy(windows.tokens(slice(step * rows, (step + 1) * rows))).to(device)
        optimiser.zero_grad(set_to_none=True)
        value_lesson(model, tokens).backward()
        optimiser.step()
