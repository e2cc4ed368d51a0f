"""Fitting predicted use to observed attention: a Poisson regression a head, on attention mass by age."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.ages import ln_prior, poisson_loss, power_law
from l2m_design.model.use import FASTEST, SLOWEST, Use
from l2m_design.training.observed import Observed, observe

STEPS, BATCH, RATE, DECAY = 400, 512, 0.02, 1e-3
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
    mean, scale = phi.mean(1, keepdim=True), phi.std(1, keepdim=True) + 1e-4
    curve = mass.nanmean(1).nan_to_num()
    weight, bias = _regressed((phi - mean) / scale, mass, ages, curve, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        use.weight.copy_(weight / scale)
        use.bias.copy_(bias - (use.weight * mean).sum(-1))
        use.ln_prior.copy_(ln_prior(curve, ages, chunk))
        worth = torch.stack([each.worth for each in found]).sum(0)
        received = torch.stack([each.received for each in found]).sum(0)
        use.ln_worth.copy_((worth / received.clamp(min=1e-6)).clamp(min=1e-6).log())


def _regressed(
    phi: Tensor, mass: Tensor, ages: Tensor, curve: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """weight [h 2 f] and bias [h 2] on standardised features [h n f]; far ages count as long as they last."""
    h, n, f = phi.shape
    ln_u, alpha = power_law(curve, ages)
    weight = torch.zeros(h, 2, f, requires_grad=True)
    bias = torch.stack([ln_u, alpha], 1).requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randint(n, (min(BATCH, n),), generator=generator)
            found = phi[:, rows] @ weight.transpose(1, 2) + bias[:, None]
            alpha = found[..., 1].clamp(SLOWEST, FASTEST)
            losses = poisson_loss(found[..., 0], alpha, mass[:, rows], ages, curve)
            optimiser.zero_grad()
            (losses.sum() + DECAY * weight.square().sum()).backward()
            optimiser.step()
            schedule.step()
    return weight.detach(), bias.detach()
