"""Soft choice: while a model trains, a key far away is read with the probability that it would stay in the cache.

The probability is a sigmoid of how far the key's score lies above the budget's threshold, so that the loss itself
teaches what to keep; the softness falls until almost nothing lies between staying and leaving. All keys are read, chunk
by chunk of queries, and no square is kept: the bias is one number for each chunk and key.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.blockwise import Block
from l2m_design.model.use import Use


def soft_bias(use: Use, records: Tensor, budget: GlobalBudget, rivals: int, softness: float) -> Tensor:
    """[b g chunks t] ln of the probability that a chunk's queries read a key, of records [b g t 4].

    Its gradient reaches what predicts use. The last two chunks and the first tokens are always read.

    rivals: neighbouring heads that share their slots. softness: nats of score over which the probability falls.
    """
    g, t = records.shape[1:3]
    chunks = -(-t // budget.chunk)
    place = torch.arange(t, device=records.device)
    age = torch.arange(chunks, device=records.device)[:, None] - place // budget.chunk
    competing = (age >= 2) & (place >= budget.sinks)
    scores = use.predicted(records, age.clamp(min=1))
    ranked = scores.detach().masked_fill(~competing, -torch.inf).unflatten(1, (g // rivals, rivals))
    ranked = ranked.transpose(2, 3).flatten(3).sort(dim=-1, descending=True).values  # [b groups chunks rivals·t]
    stay = [max(1, budget.budget(chunk) - budget.sinks) * rivals for chunk in range(chunks)]
    last = torch.tensor(stay, device=place.device).clamp(max=rivals * t - 1).expand(*ranked.shape[:2], -1)[..., None]
    threshold = (ranked.gather(-1, last - 1) + ranked.gather(-1, last)) / 2  # between the last that stays and the next
    threshold = threshold.repeat_interleave(rivals, dim=1)
    return torch.where(competing, F.logsigmoid((scores - threshold) / softness), 0.0)


def whole_blocks(t: int, chunk: int, device: torch.device) -> Iterator[Block]:
    """One a chunk of queries, which reads all keys up to its own."""
    for first in range(0, t, chunk):
        rows = slice(first, min(t, first + chunk))
        yield Block(rows, None, slice(0, rows.stop), partial(_future, rows, device))


def _future(rows: slice, device: torch.device) -> Tensor:
    """[rows columns], True where a key comes after a query."""
    return torch.arange(rows.stop, device=device) > torch.arange(rows.start, rows.stop, device=device)[:, None]
