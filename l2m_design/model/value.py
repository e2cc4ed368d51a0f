"""Value: a layer learns to predict what a token will be worth later, from the losses that reading it lowered.

One pass reads all keys, one the local chunks only. What the first predicts better is the benefit of far keys, and each
key's credit is the share of attention it got from later chunks times the benefit there. A layer predicts this credit
from a token's keys and values, as a rate: the loss is that of a Poisson law, and tokens that the model predicted well
have no weight in it. A token is then worth its predicted use times its surprise.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.language import LanguageModel
from l2m_design.model.losses import token_nats
from l2m_design.model.mixer import Pass
from l2m_design.model.precision import wide

QUERIES = 256
MOST_WEIGHT = 1.0  # nats of surprise from which on a token has its full weight
LEAST_USE, TINY = 1e-4, 1e-6


def value_lesson(
    model: LanguageModel, tokens: Tensor, everywhere: Callable[[Tensor], Tensor] = lambda mean: mean
) -> Tensor:
    """Poisson loss of the predicted use of tokens [b t], for the gradient of the scores alone.

    everywhere: turns a mean over these sequences into one over the sequences of all processes of the step.
    """
    seen: list[Any] = []
    with torch.no_grad():
        near = _nats(model, tokens, Pass(scope="local"))
        full = _nats(model, tokens, Pass(scope="all", seen=seen))
        benefit = near - full
        weight = F.pad(full[:, :-1], (1, 0)).clamp(max=MOST_WEIGHT)[:, None]
        weight = weight / everywhere(weight.mean()).clamp(min=TINY)
    losses = []
    for mixer, x in seen:
        if mixer.choose != "value":
            continue
        new = mixer.project(x, mixer.empty(len(x)))
        credit = far_credit(new.query.detach(), new.key.detach(), benefit, mixer.chunk)
        target = credit / everywhere((weight * credit).mean()).abs().clamp(min=TINY)
        losses.append((weight * (new.score - target * (new.score + LEAST_USE).log())).mean())
    return torch.stack(losses).mean()


def far_credit(query: Tensor, key: Tensor, benefit: Tensor, chunk: int) -> Tensor:
    """[b g t] sum over later queries, two chunks on or more, of their attention to a key times their benefit [b t].

    query [b h t k], key [b g t k]; heads of a group are summed. In blocks of queries: no square is kept.
    """
    b, h, t, k = query.shape
    g = key.shape[1]
    credit = torch.zeros(b, g, t, device=query.device)
    at = torch.arange(t, device=query.device)
    for first in range(0, t, QUERIES):
        rows = slice(first, min(t, first + QUERIES))
        row, column = at[rows, None], at[: rows.stop]
        q = query[:, :, rows].unflatten(1, (g, h // g)) / k**0.5
        scores = wide(q @ key[:, :, None, : rows.stop].transpose(-1, -2)).masked_fill_(column > row, -torch.inf)
        weights = scores.softmax(-1).masked_fill_(column // chunk + 2 > row // chunk, 0.0)
        credit[..., : rows.stop] += torch.einsum("bgsrc,br->bgc", weights, benefit[:, rows].to(weights.dtype))
    return credit


def _nats(model: LanguageModel, tokens: Tensor, given: Pass) -> Tensor:
    """[b t] loss of the prediction made at each token; none at the last."""
    hidden = model.read(tokens, given)[:, :-1]
    return F.pad(token_nats(hidden, model.table, tokens[:, 1:]), (0, 1))
