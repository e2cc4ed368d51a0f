"""Multi-query associative recall: key-value pairs, then every key asked once more among filler tokens."""

from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from l2m_design.corpus.synthetic.recall_task import Count, Kinds, Mask, RecallTask, TaskSettings, Tokens
from l2m_design.estimates import Floats


class MqarSettings(TaskSettings):
    """pairs shown and asked; kinds of keys, values and filler tokens; power: exponent a of the law of the gaps."""

    pairs: Annotated[int, Field(ge=1, le=2**10)] = 16
    keys: Kinds = 64
    values: Kinds = 64
    fillers: Count = 16
    power: Annotated[float, Field(gt=0.0, le=10.0)] = 0.01

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.length % 2:
            raise ValueError(f"length ({self.length}) must be even, since each key is followed by its value")
        if self.pairs > self.keys:
            raise ValueError(f"pairs ({self.pairs}) must have distinct keys, but keys is only {self.keys}")
        if 4 * self.pairs > self.length:
            raise ValueError(
                f"pairs ({self.pairs}) take 4 tokens each (key and value, shown and queried); length ({self.length}) "
                "is too short"
            )
        return self


class Mqar(RecallTask):
    """MQAR (Arora et al. 2023, Zoology, arXiv 2312.04927): D pairs of distinct keys and independent values, then slots.

    A slot is two tokens: a key and its value, or two fillers. Each of the D keys is queried once; its slot is drawn
    from p_s ~ s^(a-1), s = 1, 2, ... behind the pairs, given that no two keys share a slot. (The paper draws the slots
    one after the other without replacement; the condition makes every set S of D slots as likely as the product of its
    p_s, hence the law of the next slot exact.)

    Bayes loss, tokens all uniform over their kind: a new key ln of the keys that are left, its value ln V. With m keys
    to be queried in the slots s, s+1, ..., slot s is a query with probability p_s e_{m-1}(p_{s+1}, ...) / e_m(p_s,
    ...), e the elementary symmetric polynomials; which of the m is queried costs ln m, its value nothing, a filler ln
    F.
    """

    def __init__(self, settings: MqarSettings) -> None:
        self.first_value = settings.keys
        self.first_filler = settings.keys + settings.values
        super().__init__("mqar", settings, self.first_filler + settings.fillers)
        self.settings = settings
        self._head = 2 * settings.pairs
        self._slots = settings.length // 2 - settings.pairs
        self._log_law = (settings.power - 1) * np.log(np.arange(1, self._slots + 1))
        self._log_sets = self._symmetric()

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        """[length] pairs, then slots."""
        settings = self.settings
        keys = rng.choice(settings.keys, size=settings.pairs, replace=False)
        pairs = np.stack([keys, self.first_value + rng.integers(0, settings.values, size=settings.pairs)], axis=1)
        slots = self.first_filler + rng.integers(0, settings.fillers, size=(self._slots, 2))
        slots[self._asked(rng)] = pairs[rng.permutation(settings.pairs)]
        return np.concatenate([pairs, slots]).ravel()

    def nats_of(self, tokens: Tokens) -> Floats:
        """[b t] nats: pairs, then slots."""
        settings = self.settings
        new = np.log(settings.keys - np.arange(settings.pairs))
        head = np.stack([new, np.full(settings.pairs, np.log(settings.values))], axis=1).ravel()
        nats = np.empty(tokens.shape)
        nats[:, : self._head] = head[: tokens.shape[1]]
        if tokens.shape[1] > self._head:
            nats[:, self._head :: 2] = self._first_of_slots(tokens[:, self._head :: 2])
            nats[:, self._head + 1 :: 2] = self._second_of_slots(tokens)
        return nats

    def answers(self, tokens: Tokens) -> Mask:
        """[b t] values of the keys that are queried."""
        found = np.zeros(tokens.shape, dtype=bool)
        answers = found[:, self._head + 1 :: 2]
        answers[:] = tokens[:, self._head :: 2][:, : answers.shape[1]] < self.settings.keys
        return found

    def _symmetric(self) -> Floats:
        """[slots + 1, pairs + 2] ln e_{m-1}(p_s, p_{s+1}, ...) at [s, m]: sets of slots from s on; none at m = 0."""
        table = np.full((self._slots + 1, self.settings.pairs + 2), -np.inf)
        table[:, 1] = 0.0
        for s in reversed(range(self._slots)):
            table[s, 2:] = np.logaddexp(table[s + 1, 2:], self._log_law[s] + table[s + 1, 1:-1])
        return table

    def _asked(self, rng: np.random.Generator) -> list[int]:
        """[pairs] the slots that ask, in their order."""
        left, slots = self.settings.pairs, []
        for s, uniform in enumerate(rng.random(self._slots).tolist()):
            if left and uniform < np.exp(self._log_law[s] + self._log_sets[s + 1, left] - self._log_sets[s, left + 1]):
                slots.append(s)
                left -= 1
        return slots

    def _first_of_slots(self, firsts: Tokens) -> Floats:
        """[b slots] nats of the first tokens of slots [b slots]."""
        asks = firsts < self.settings.keys
        left = np.maximum(self.settings.pairs - (np.cumsum(asks, axis=1) - asks), 0)
        s = np.arange(firsts.shape[1])
        with np.errstate(invalid="ignore"):  # no document asks more often than it has pairs
            all_sets = self._log_sets[s, left + 1]
            ask = self._log_law[s] + self._log_sets[s + 1, left] - all_sets
            skip = self._log_sets[s + 1, left + 1] - all_sets
            nats = np.where(asks, np.log(np.maximum(left, 1)) - ask, np.log(self.settings.fillers) - skip)
        return np.where(np.isnan(nats), np.inf, nats)

    def _second_of_slots(self, tokens: Tokens) -> Floats:
        """[b slots] nats of the second tokens of slots, of tokens [b t]."""
        value_of = np.full((len(tokens), self.settings.keys), -1)
        np.put_along_axis(value_of, tokens[:, 0 : self._head : 2], tokens[:, 1 : self._head : 2], axis=1)
        seconds = tokens[:, self._head + 1 :: 2]
        firsts = tokens[:, self._head :: 2][:, : seconds.shape[1]]
        asks = firsts < self.settings.keys
        known = np.take_along_axis(value_of, np.where(asks, firsts, 0), axis=1)
        return np.where(asks, np.where(known == seconds, 0.0, np.inf), np.log(self.settings.fillers))
