"""Fitting predicted use to observed attention: a Poisson regression a head, on attention mass by age."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.use import FASTEST, LEAST, MOST, SLOWEST, Use, power_sum
from l2m_design.training.observed import Observed, observe

STEPS, BATCH, RATE, DECAY = 400, 512, 0.02, 1e-3
PRIOR_AGES = 4.0  # chunks whose predicted mass is the prior's weight
KEPT = 1024  # tokens of a window that are fitted


def fit_use(
    adopted: AdoptedModel,
    windows: list[Tensor],
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fit the model's predicted use to windows [t] of tokens that are judged nowhere."""
    rng, found = np.random.default_rng([seed, 3]), []
    for number, window in enumerate(windows):
        found.append(observe(adopted, window[None], KEPT, rng))
        on_step(number + 1, len(windows))
    regress(adopted.use, found, adopted.budget.chunk, seed)


def regress(use: Use, found: list[Observed], chunk: int, seed: int = 0) -> None:
    """Set ln u and alpha by Poisson regression, the prior by the mean curve, and the worth of heads by their losses."""
    phi, mass = torch.cat([each.features for each in found], 1), torch.cat([each.mass for each in found], 1)
    ages = found[0].ages.float()
    there = ~mass.isnan()
    mass = mass.nan_to_num()
    mean, scale = phi.mean(1, keepdim=True), phi.std(1, keepdim=True) + 1e-4
    curve = (mass * there).sum(1) / there.sum(1).clamp(min=1)
    weight, bias = _regressed((phi - mean) / scale, mass, there, ages, curve, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        use.weight.copy_(weight / scale)
        use.bias.copy_(bias - (use.weight * mean).sum(-1))
        ln_u, alpha = _straight(curve, ages)
        expected = chunk * ln_u.clamp(LEAST, MOST).exp() * power_sum(torch.full_like(alpha, PRIOR_AGES), alpha)
        use.ln_prior.copy_(expected.clamp(min=1e-6).log())
        worth = torch.stack([each.worth for each in found]).sum(0)
        received = torch.stack([each.received for each in found]).sum(0)
        use.ln_worth.copy_((worth / received.clamp(min=1e-6)).clamp(min=1e-6).log())


def _straight(curve: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
    """ln u and alpha [h] of a head's mean curve [h ages], a straight line in logarithms."""
    x, y = ages.log() - ages.log().mean(), (curve + 1e-8).log()
    slope = (y * x).sum(1) / (x * x).sum()
    return y.mean(1) - slope * ages.log().mean(), (-slope).clamp(SLOWEST, FASTEST)


def _regressed(
    phi: Tensor, mass: Tensor, there: Tensor, ages: Tensor, curve: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """weight [h 2 f] and bias [h 2] on standardised features [h n f]; far ages count as long as they last."""
    h, n, f = phi.shape
    ln_u, alpha = _straight(curve, ages)
    weight = torch.zeros(h, 2, f, requires_grad=True)
    bias = torch.stack([ln_u, alpha], 1).requires_grad_()
    counts = there * (ages / ages.sum()) / (curve.mean(1)[:, None, None] + 1e-8)
    optimiser = torch.optim.Adam([weight, bias], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randint(n, (min(BATCH, n),), generator=generator)
            found = phi[:, rows] @ weight.transpose(1, 2) + bias[:, None]
            ln_mass = found[..., :1] - found[..., 1:].clamp(SLOWEST, FASTEST) * ages.log()
            ln_mass = ln_mass.clamp(LEAST, MOST)
            losses = ((ln_mass.exp() - mass[:, rows] * ln_mass) * counts[:, rows]).sum(-1).mean(1)
            optimiser.zero_grad()
            (losses.sum() + DECAY * weight.square().sum()).backward()
            optimiser.step()
            schedule.step()
    return weight.detach(), bias.detach()
