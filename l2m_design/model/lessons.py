"""Losses that train the scores of tokens beside the model's own loss, on a few sequences of a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from l2m_design.model.ages import ages_of, by_age, ln_prior, poisson_loss
from l2m_design.model.language import LanguageModel
from l2m_design.model.mixer import Pass
from l2m_design.model.precision import wide
from l2m_design.model.use import ALPHA, LN_U
from l2m_design.model.value import value_lesson

Everywhere = Callable[[Tensor], Tensor]
FOLLOWED = 0.05  # of the way to a batch's prior that a step goes


def lesson(model: LanguageModel, tokens: Tensor, everywhere: Everywhere = lambda mean: mean) -> Tensor:
    """Sum of the losses on tokens [b t] of the rules by which the model chooses; its gradient reaches the scores only.

    everywhere: turns a mean over these sequences into one over the sequences of all processes of the step.
    """
    kinds = {getattr(layer, "choose", None) for layer in model.architecture.layers}
    given = [of(model, tokens, everywhere) for kind, of in LESSONS.items() if kind in kinds]
    return torch.stack(given).sum()


def use_lesson(model: LanguageModel, tokens: Tensor, everywhere: Everywhere = lambda mean: mean) -> Tensor:
    """Poisson loss of the predicted use of tokens [b t] for the attention that they receive where all is read.

    The priors of the heads follow the mean curves of attention by age. Heads of a layer are worth the same.
    """
    seen: list[Any] = []
    with torch.no_grad():
        model.read(tokens, Pass(scope="all", seen=seen))
    return torch.stack([_use_loss(mixer, x, everywhere) for mixer, x in seen if mixer.choose == "use"]).mean()


LESSONS = {"value": value_lesson, "use": use_lesson}


def _use_loss(mixer: Any, x: Tensor, everywhere: Everywhere) -> Tensor:
    """Of the inputs x [b t d] of one layer; what a last, partial chunk reads is left out."""
    c = mixer.chunk
    x = x[:, : x.shape[1] // c * c]
    new = mixer.project(x, mixer.empty(len(x)))
    b, g, t, _ = new.key.shape
    ages = ages_of(t // c, x.device)
    with torch.no_grad():
        mass = by_age(chunk_attention(new.query, new.key, c).flatten(0, 1), torch.arange(t, device=x.device), ages)
        there = ~mass.isnan()
        total = mass.nan_to_num().unflatten(0, (b, g)).sum((0, 2))
        curve = everywhere(total / there.unflatten(0, (b, g)).sum((0, 2)))
        mixer.use.ln_prior.lerp_(ln_prior(curve, ages, c).to(mixer.use.ln_prior), FOLLOWED)
    ln_u, alpha = (new.score[..., number].flatten(0, 1) for number in (LN_U, ALPHA))
    return poisson_loss(ln_u, alpha, mass, ages, curve.repeat(b, 1)).mean()


def chunk_attention(query: Tensor, key: Tensor, chunk: int) -> Tensor:
    """[b g chunks t] attention that the queries [b h t k] of each chunk give each key [b g t k] in all, the mean over
    the query heads of a group. Chunk by chunk: no square is kept.
    """
    b, g, t, k = key.shape
    share = query.shape[1] // g
    found = torch.zeros(b, g, t // chunk, t, device=key.device)
    for number in range(t // chunk):
        seen = (number + 1) * chunk
        rows = (query[:, :, seen - chunk : seen].unflatten(1, (g, share)) / k**0.5).flatten(2, 3)
        future = torch.ones(chunk, seen, dtype=torch.bool, device=key.device).triu(seen - chunk + 1).repeat(share, 1)
        scores = wide(rows @ key[:, :, :seen].transpose(-1, -2)).masked_fill_(future, -torch.inf)
        found[:, :, number, :seen] = scores.softmax(-1).sum(2) / share
    return found
