"""Attention by age: how much of it tokens receive as they grow older, and the losses that predictions of it have."""

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.use import FASTEST, LEAST, MOST, SLOWEST, power_sum

BINS = tuple(sorted({round(1.33**power) for power in range(24)}))  # ages, in chunks
PRIOR_AGES = 4.0  # chunks whose predicted mass is the prior's weight
TINY = 1e-8


def ages_of(count: int, device: torch.device | None = None) -> Tensor:
    """[ages] in chunks, of those that a text of `count` chunks has."""
    return torch.tensor([age for age in BINS if age < count], device=device)


def by_age(attention: Tensor, drawn: Tensor, ages: Tensor) -> Tensor:
    """[h n ages] mean attention a query gives the drawn tokens [n], of attention [h chunks t] that all queries of a
    chunk give each token; NaN where the text ends before. An age stands for a quarter of itself.
    """
    h, chunks, t = attention.shape
    chunk = t // chunks
    of_drawn = attention[:, :, drawn].transpose(1, 2) / chunk
    total = F.pad(of_drawn.cumsum(-1), (1, 0))
    first = (drawn // chunk)[:, None] + ages
    last = (first + (ages // 4).clamp(min=1)).clamp(max=chunks)
    there = first < chunks
    span = (last - first).clamp(min=1)
    found = total.gather(2, last.expand(h, -1, -1)) - total.gather(2, first.clamp(max=chunks).expand(h, -1, -1))
    return (found / span).masked_fill(~there, torch.nan)


def poisson_loss(ln_u: Tensor, alpha: Tensor, mass: Tensor, ages: Tensor, curve: Tensor) -> Tensor:
    """[h] of predictions u · age^(-alpha), ln u and alpha [h n], for mass [h n ages], NaN where there is none.

    curve [h ages]: its mean, in units of which errors count; far ages count as long as they last.
    """
    there, ages = ~mass.isnan(), ages.to(mass.dtype)
    weight = there * (ages / ages.sum()) / (curve.mean(1)[:, None, None] + TINY)
    ln_mass = (ln_u[..., None] - alpha[..., None] * ages.log()).clamp(LEAST, MOST)
    return ((ln_mass.exp() - mass.nan_to_num() * ln_mass) * weight).sum(-1).mean(1)


def power_law(curve: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
    """ln u and alpha [h] of mean curves [h ages], a straight line in logarithms."""
    ages = ages.to(curve.dtype)
    x, y = ages.log() - ages.log().mean(), (curve + TINY).log()
    slope = (y * x).sum(1) / (x * x).sum().clamp(min=TINY)
    return y.mean(1) - slope * ages.log().mean(), (-slope).clamp(SLOWEST, FASTEST)


def ln_prior(curve: Tensor, ages: Tensor, chunk: int) -> Tensor:
    """[h] ln of the mass that PRIOR_AGES chunks give a token by the mean curves [h ages]."""
    ln_u, alpha = power_law(curve, ages)
    expected = chunk * ln_u.clamp(LEAST, MOST).exp() * power_sum(torch.full_like(alpha, PRIOR_AGES), alpha)
    return expected.clamp(min=1e-6).log()
