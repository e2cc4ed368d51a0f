"""Adoption: a model that exists gets a bounded cache, whose rule and, if wanted, whose weights are fitted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.corpus import Corpus
from l2m_design.corpus.windows import spread_windows, uniform_windows
from l2m_design.errors import BadInput
from l2m_design.information.scores.start import behind_start
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.competing import Allocation
from l2m_design.training.distil import distil
from l2m_design.training.use_fit import fit_use

LONGEST = 2048  # tokens of a window that the rule is fitted to, or that weights are tuned on

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BoundedCache:
    """What a cache is to hold: `slots` tokens a kv head on average after `length` tokens, the own and the previous
    chunk and the first `sinks` among them.

    exponent: old slots grow as t^exponent and are as many at `length`; None: they are fixed.
    """

    slots: int
    length: int
    chunk: int = 32
    sinks: int = 4
    exponent: float | None = None
    allocate: Allocation = "model"

    @property
    def budget(self) -> GlobalBudget:
        """As a schedule. Raises BadInput where nothing is left to choose, or the exponent is no growth."""
        old = self.slots - 2 * self.chunk
        if old <= self.sinks:
            raise BadInput(
                f"{self.slots} slots: two chunks of {self.chunk} tokens and {self.sinks} sinks are always cached; "
                "give more slots, or smaller chunks"
            )
        if self.exponent is None:
            return GlobalBudget(self.chunk, "fixed", window=old, sinks=self.sinks)
        if not 0 < self.exponent <= 1:
            raise BadInput(f"growth ({self.exponent:g}): must be above 0 and at most 1")
        keep = (old + 0.5) / self.length**self.exponent
        return GlobalBudget(self.chunk, "power", self.exponent, keep, sinks=self.sinks)


def fitted(
    model: Any, cache: BoundedCache, windows: list[Tensor], on_step: Progress = lambda name, done, total: None
) -> AdoptedModel:
    """The model with this cache, its rule fitted to windows [t] that are judged nowhere."""
    for weight in model.parameters():
        weight.requires_grad_(False)
    adopted = AdoptedModel(model, cache.budget, cache.allocate).to(next(model.parameters()).device)
    if windows:
        fit_use(adopted, windows, on_step=lambda done, total: on_step("fitting the rule", done, total))
    return adopted


def finetuned(adopted: AdoptedModel, windows: list[Tensor], on_step: Progress) -> None:
    """Change the weights so that the bounded cache predicts what the full one did."""
    distil(adopted, windows, on_step=lambda done, total: on_step("fine-tuning", done, total))


def training_windows(
    corpus: Corpus, length: int, count: int, start: int | None, device: torch.device, seed: int = 0
) -> list[Tensor]:
    """`count` windows [t] of the training split behind the start token, spread over its documents as far as they go."""
    documents, rng = corpus.documents("train"), np.random.default_rng([seed, 4])
    spread = min(count, len(documents))
    size = min(length, LONGEST) - int(start is not None)
    name = f"{corpus.name} (train)"
    parts = [spread_windows(documents, size, spread, rng, name, corpus.period)]
    if count > spread:
        parts.append(uniform_windows(documents, size, count - spread, rng, name, corpus.period))
    rows = np.concatenate([part.tokens(slice(0, len(part))) for part in parts])
    return list(behind_start(torch.from_numpy(rows).to(device), start))
