"""Rules: what a cached token is worth, by which the tokens of competing heads are ranked. Use (see use) is one; these
are the rules of others, over the same slots.

Window keeps the last tokens (with sinks: arXiv 2309.17453), HeavyHitters those that received most attention (H2O,
arXiv 2306.14048), LastAttention those that the last chunk attended to (TOVA, arXiv 2401.06104), KeyNorm small keys
(arXiv 2406.11430), ExpectedAttention those that a Gaussian of queries will attend to (arXiv 2510.00636), HeadWindows
the last tokens of each head, of a number that fits the head.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.turned import turned

RECEIVED, BIRTH = -2, -1  # the last two numbers of every record
ALL = slice(None)
SPAN = 512  # positions of queries over which rotary angles are averaged


class Rule(nn.Module, ABC):
    """Scores of cached tokens, from a record of `width` float32 numbers a token: what the rule stores at the token's
    birth, then the attention received and the number of the chunk of birth.

    memory: the share of the attention received in earlier chunks that counts as a chunk begins.
    """

    width = 2
    memory = 1.0

    def stored(self, key: Tensor, value: Tensor, heads: slice) -> list[Tensor]:
        """width - 2 numbers, each [b h t], of keys before rotation [b h t k] and values [b h t v] of these kv heads."""
        return []

    def records(self, key: Tensor, value: Tensor, seen: int, chunk: int, heads: slice = ALL) -> Tensor:
        """[b h t width] of the tokens after the first `seen` ones: keys before rotation [b h t k], values [b h t v]."""
        birth = (torch.arange(seen, seen + key.shape[2], device=key.device) // chunk).float().expand(key.shape[:3])
        return torch.stack([*self.stored(key, value, heads), torch.zeros_like(birth), birth], dim=-1)

    @abstractmethod
    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """[b n] of records [b n width] of the kv heads [b n], as chunk number `current` begins: the best stay."""


class Window(Rule):
    """The last tokens stay."""

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        return records[..., BIRTH]


class HeavyHitters(Rule):
    """Half of the budget holds the last tokens, half those that received most attention."""

    def __init__(self, budget: GlobalBudget) -> None:
        super().__init__()
        self.budget = budget

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        recent = (current - 1 - records[..., BIRTH]) * chunk <= self.budget.budget(current) // 2
        return records[..., RECEIVED].masked_fill(recent, torch.inf)


class LastAttention(Rule):
    """The tokens stay to which the queries of the last chunk attended most."""

    memory = 0.0

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        return records[..., RECEIVED]


class KeyNorm(Rule):
    """Tokens of small keys stay."""

    width = 3

    def stored(self, key: Tensor, value: Tensor, heads: slice) -> list[Tensor]:
        """Minus the norm of the key."""
        return [-key.float().norm(dim=-1)]

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        return records[..., 0]


class ExpectedAttention(Rule):
    """The expected attention of the next SPAN queries, times the norm of the value.

    Queries before rotation are Gaussian: mean [h q k], covariance [h q k k] of the q query heads of each kv head.
    Attention is exp of a logit over its sum in the query head; ln_total [h q ages] is that sum's logarithm a token.
    """

    def __init__(self, moments: tuple[Tensor, Tensor], rates: Tensor, spans: int) -> None:
        super().__init__()
        self.width = 2 + spans
        mean, covariance = moments
        d = mean.shape[-1]
        ahead = turned(torch.eye(d)[:, None].expand(-1, SPAN * spans, -1), torch.arange(SPAN * spans)[:, None], rates)
        self.mean: Tensor
        self.covariance: Tensor
        self.ln_total: Tensor
        rotation = ahead.unflatten(1, (spans, SPAN)).mean(2)  # [k ages k], what becomes of a query's channels
        self.register_buffer("mean", torch.einsum("hqk,kal->hqal", mean, rotation) * d**-0.5)
        wide = torch.einsum("kal,hqkm,man->hqaln", rotation, covariance, rotation) / d
        self.register_buffer("covariance", wide)
        self.register_buffer("ln_total", torch.zeros(*mean.shape[:2], spans))

    @classmethod
    def of_state(cls, state: dict[str, Tensor]) -> "ExpectedAttention":
        """The rule whose state_dict this is."""
        h, q, spans, d = state["mean"].shape
        rule = cls((torch.zeros(h, q, d), torch.zeros(h, q, d, d)), torch.zeros(d // 2), spans)
        rule.load_state_dict(state)
        return rule

    def logits(self, key: Tensor, heads: slice) -> Tensor:
        """[b h q ages t] logarithms of the expected exp(logit) of keys before rotation [b h t k]."""
        key = key.float()
        first = torch.einsum("hqal,bhtl->bhqat", self.mean[heads], key)
        spread = torch.einsum("bhtl,hqaln->bhqatn", key, self.covariance[heads])
        return first + torch.einsum("bhqatn,bhtn->bhqat", spread, key) / 2

    def stored(self, key: Tensor, value: Tensor, heads: slice) -> list[Tensor]:
        """ln of the score by age, in SPANs."""
        found = (self.logits(key, heads) - self.ln_total[heads][..., None]).logsumexp(2)
        return list((found + value.float().norm(dim=-1).log()[:, :, None]).unbind(2))

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        age = ((current - records[..., BIRTH]) * chunk / SPAN).long().clamp(max=self.width - 3)
        return records.gather(-1, age[..., None])[..., 0]


class HeadWindows(Rule):
    """The last tokens of each head stay, of a number such that the loss avoided is greatest: where heads compete, all
    windows end where worth times the mean attention at that age is equal.

    ages [n] in chunks, rising; ln_mass [h n]: ln of the mean attention times worth, which is made to fall with age.
    """

    def __init__(self, ages: Tensor, ln_mass: Tensor) -> None:
        super().__init__()
        self.ln_ages: Tensor
        self.ln_mass: Tensor
        self.register_buffer("ln_ages", ages.float().log())
        self.register_buffer("ln_mass", ln_mass.cummin(1).values)

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule; a straight line of logarithms between ages."""
        age = (current - records[..., BIRTH]).log()
        right = torch.searchsorted(self.ln_ages, age).clamp(1, len(self.ln_ages) - 1)
        from_, to = self.ln_ages[right - 1], self.ln_ages[right]
        share = (age - from_) / (to - from_)
        return self.ln_mass[heads, right - 1] * (1 - share) + self.ln_mass[heads, right] * share
