"""Selective copying: tokens to remember spread among noise, then, behind a separator, the same ones in their order."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from l2m_design.corpus.synthetic.recall_task import Count, Kinds, Mask, RecallTask, TaskSettings, Tokens
from l2m_design.estimates import Floats


class SelectiveCopySettings(TaskSettings):
    """copied: tokens to remember; kinds of them (values) and of noise tokens (fillers)."""

    copied: Count = 16
    values: Kinds = 64
    fillers: Count = 16

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if 2 * self.copied + 1 > self.length:
            raise ValueError(
                f"copied ({self.copied}) occur twice with a separator between; length ({self.length}) is too short"
            )
        return self


class SelectiveCopy(RecallTask):
    """Selective copying (Poli et al. 2024, MAD, arXiv 2403.17844): C positions, a separator, then the copy.

    `copied` of the C positions, each set of them as likely, hold tokens uniform among V; the others noise, uniform
    among F. Bayes loss with m of them to come in r positions: a token -ln(m/r) + ln V, a noise token -ln(1 - m/r) + ln
    F; the separator and the copy nothing.
    """

    def __init__(self, settings: SelectiveCopySettings) -> None:
        self.first_filler = settings.values
        self.separator = settings.values + settings.fillers
        super().__init__("selective-copy", settings, self.separator + 1)
        self.settings = settings
        self._positions = settings.length - settings.copied - 1

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        """[length] tokens among noise, the separator, the tokens."""
        settings = self.settings
        tokens = self.first_filler + rng.integers(0, settings.fillers, size=self._positions)
        copied = rng.integers(0, settings.values, size=settings.copied)
        tokens[np.sort(rng.choice(self._positions, size=settings.copied, replace=False))] = copied
        return np.concatenate([tokens, [self.separator], copied])

    def nats_of(self, tokens: Tokens) -> Floats:
        """[b t] nats."""
        settings, nats = self.settings, np.zeros(tokens.shape)
        spread = tokens[:, : self._positions]
        wanted = spread < self.first_filler
        m = np.maximum(settings.copied - (np.cumsum(wanted, axis=1) - wanted), 0)
        r = self._positions - np.arange(spread.shape[1])
        with np.errstate(divide="ignore"):  # a place that must be of the other sort is impossible: infinity
            choice = np.log(r) - np.where(wanted, np.log(m), np.log(np.maximum(r - m, 0)))
        nats[:, : self._positions] = choice + np.log(np.where(wanted, settings.values, settings.fillers))
        nats[:, self._positions : self._positions + 1] = np.where(
            tokens[:, self._positions : self._positions + 1] == self.separator, 0.0, np.inf
        )
        copy = tokens[:, self._positions + 1 :]
        if copy.shape[1]:
            expected = spread[wanted].reshape(len(tokens), settings.copied)[:, : copy.shape[1]]
            nats[:, self._positions + 1 :] = np.where(copy == expected, 0.0, np.inf)
        return nats

    def judged(self, length: int) -> Mask:
        """[length] the positions of the copy, the same in every document."""
        return np.arange(length) > self._positions + 1

    def answers(self, tokens: Tokens) -> Mask:
        """[b t] the copy."""
        return np.broadcast_to(self.judged(tokens.shape[1] + 1)[1:], tokens.shape)
