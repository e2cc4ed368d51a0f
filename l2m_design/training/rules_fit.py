"""What the rules of others take from texts: moments of queries for ExpectedAttention, mean curves of attention by age
for HeadWindows. Their authors read the former off the prompt; a cache that streams knows them in advance.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.adopted import AdoptedModel, read_by, unturned
from l2m_design.model.rules import SPAN, ExpectedAttention, HeadWindows
from l2m_design.training.observed import Observed

FAR = 10.0  # times the oldest age observed
EVERY = 16  # tokens; of these, one key counts in the sum of exp(logit)


class _Queries:
    """Full attention that keeps queries and some keys before rotation, by layer: [h q n k] and [h n k]."""

    def __init__(self, adopted: AdoptedModel) -> None:
        self.rates = adopted.rates
        self.found: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See Reader of the adopted model."""
        queries = unturned(query, 0, self.rates[layer])[0].unflatten(0, (key.shape[1], -1))
        self.found[layer] = (queries, unturned(key, 0, self.rates[layer])[0, :, ::EVERY])
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)


@torch.no_grad()
def fit_expected(adopted: AdoptedModel, windows: list[Tensor], length: int) -> ExpectedAttention:
    """The rule for texts of `length` tokens, of the queries on windows [t] of a model of full attention alone."""
    count, total, square, keys = 0, torch.zeros(()), torch.zeros(()), []
    for window in windows:
        reader = _Queries(adopted)
        read_by(adopted.model, window[None], 0, reader, last=True)
        queries = torch.cat([each[0] for each in reader.found.values()])
        count, total = count + len(window), total + queries.sum(2)
        square = square + queries.transpose(2, 3) @ queries
        keys.append(torch.cat([each[1] for each in reader.found.values()]))
    mean = total / count
    covariance = square / count - mean[..., None] * mean[..., None, :]
    rule = ExpectedAttention((mean, covariance), adopted.rates[adopted.shape.whole[0]], math.ceil(length / SPAN))
    every = torch.cat(keys, 1)
    rule.ln_total.copy_(rule.logits(every[None], slice(None))[0].logsumexp(-1) - math.log(every.shape[1]))
    return rule


def fit_head_windows(use: Any, found: list[Observed]) -> HeadWindows:
    """The rule of what was observed, with the worth of heads from `use` that is fitted to it (see use_fit); beyond the
    oldest age observed the curves go on as straight lines in logarithms, by their slope from the middle of the ages on.
    """
    mass = torch.cat([each.mass for each in found], 1)
    ln_mass = (mass.nanmean(1) + 1e-8).log() + use.ln_worth.detach()[:, None]
    ages = found[0].ages.float()
    middle = len(ages) // 2
    slope = (ln_mass[:, -1] - ln_mass[:, middle]) / (ages[-1] / ages[middle]).log()
    beyond = ln_mass[:, -1:] + slope[:, None].clamp(max=0) * math.log(FAR)
    return HeadWindows(torch.cat([ages, ages[-1:] * FAR]), torch.cat([ln_mass, beyond], 1))
