"""Use of context: the loss of the same held-out tokens with the past cut to so many tokens, beside the whole past."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from l2m_design.corpus.windows import Windows
from l2m_design.estimates import Floats
from l2m_design.model import LanguageModel
from l2m_design.model.backends import autocast, on_device
from l2m_design.training.evaluate import TOKENS_A_BATCH
from l2m_design.training.result import Losses, by_document

SHARES = (64, 16, 4, 2)  # the past is cut to a 64th, a 16th, a quarter and a half of the window
SHORTEST = 16


def contexts_of(length: int) -> tuple[int, ...]:
    """Where the past of a window of `length` tokens is cut unless a recipe says: tokens, rising."""
    return tuple(length // share for share in SHARES if length // share >= SHORTEST)


def late_with_cut_past(
    model: LanguageModel, windows: Windows, contexts: Iterable[int], device: torch.device
) -> dict[int, Floats]:
    """By context c in tokens, [documents] late loss in nats per token with the past cut to c tokens.

    The tokens are those of Losses.late; runs of c/2 of them share a past, so the past of each is c to 3c/2 - 1 tokens
    and the gain from beyond c is understated, never overstated. Nothing is before the cut: no state is carried over it.
    """
    return {c: by_document(_late(model, windows, c, device), windows.cluster) for c in contexts}


@torch.inference_mode()
def _late(model: LanguageModel, windows: Windows, context: int, device: torch.device) -> Floats:
    """[windows] mean loss over the second half of each window, its past cut."""
    model.eval()
    step = max(1, TOKENS_A_BATCH // windows.length)
    means = []
    for begin in range(0, len(windows), step):
        tokens = windows.tokens(slice(begin, min(begin + step, len(windows))))
        nats = np.empty(tokens.shape)
        for targets, some in pieces(tokens, context, tokens.shape[1] // 2 + 1, step * tokens.shape[1]):
            given = on_device(some, device)
            with autocast(device):
                losses = model.nats(given, context)
            nats[:, targets] = losses.reshape(len(tokens), -1).cpu().numpy()
        means.append(Losses(nats, windows.cluster[begin : begin + len(tokens)]).late())
    model.train()
    return np.concatenate(means)


def pieces(
    tokens: NDArray[np.int64], context: int, first: int, most: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions of targets [runs · run] and the pieces [b · runs, context + run] whose last `run` tokens they are.

    Runs of context/2 cover the positions from `first` on; the last one is moved back to end with the windows [b t]. As
    many runs at once as make at most about `most` tokens.
    """
    length, run = tokens.shape[1], max(1, context // 2)
    starts = sorted({min(start, length - run) for start in range(first, length, run)})
    at_once = max(1, most // (len(tokens) * (context + run)))
    for begin in range(0, len(starts), at_once):
        some = np.array(starts[begin : begin + at_once])
        targets = (some[:, None] + np.arange(run)).ravel()
        places = some[:, None] - context + np.arange(context + run)
        yield targets, tokens[:, places].reshape(-1, context + run)
