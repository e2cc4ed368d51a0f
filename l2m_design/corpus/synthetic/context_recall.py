"""In-context recall among noise, and of keys and values of several tokens: each document has its own dictionary."""

from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from l2m_design.corpus.synthetic.recall_task import Count, Kinds, Mask, RecallTask, TaskSettings, Tokens
from l2m_design.estimates import Floats

Tuple = Annotated[int, Field(ge=1, le=4)]
PADDING = -1


class NoisyRecallSettings(TaskSettings):
    """Kinds of keys, values and noise tokens (fillers); noise: share of the tokens that are noise."""

    keys: Kinds = 32
    values: Kinds = 32
    fillers: Count = 16
    noise: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2


class FuzzyRecallSettings(TaskSettings):
    """pairs of a document's dictionary; kinds of tokens in keys and in values; tokens of a key and of a value."""

    pairs: Count = 16
    keys: Kinds = 16
    values: Kinds = 16
    key_tokens: Tuple = 3
    value_tokens: Tuple = 3

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.pairs > self.keys**self.key_tokens:
            raise ValueError(
                f"pairs ({self.pairs}) must be distinct, keys ({self.keys}) make {self.keys**self.key_tokens} of "
                f"key_tokens ({self.key_tokens})"
            )
        if 2 * (self.key_tokens + self.value_tokens) > self.length:
            raise ValueError(f"length ({self.length}) must be long enough for two pairs of key_tokens and value_tokens")
        return self


class _ContextRecall(RecallTask):
    """A dictionary of D distinct keys, uniform among U, with independent uniform values; then pairs drawn from it.

    Every pair shown is one of the D, all alike and independent; before it stand noise tokens, uniform, a next one with
    probability q. Bayes loss: a noise token -ln q + ln F, the begin of a pair -ln(1 - q). With s keys seen, the next is
    each of these with probability 1/D, else, with probability (D - s)/D, one of the U - s others, all alike; so the
    keys that begin with j given tokens, n_j of them seen, weigh W_j = n_j/D + (D - s)/D (U_j - n_j)/(U - s), U_j of the
    U beginning so, and token j of a key costs ln W_{j-1} - ln W_j. The value of a new key costs ln V a token, that of a
    key seen before nothing.
    """

    def __init__(self, kind: str, settings: FuzzyRecallSettings, drawn: TaskSettings, fillers: int, q: float) -> None:
        """settings: of the pairs. drawn: as the user gave them. fillers: kinds of noise tokens. q: as above."""
        self.first_value = settings.keys
        self.first_filler = settings.keys + settings.values
        super().__init__(kind, drawn, self.first_filler + fillers)
        self._pairs, self._fillers, self._q = settings, fillers, q
        self._size = settings.key_tokens + settings.value_tokens
        self._digits = settings.keys ** np.arange(settings.key_tokens)[::-1]

    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        """[length] pairs and noise, cut where the document ends."""
        pairs, count = self._pairs, self._pairs.length // self._size + 1
        codes = rng.choice(pairs.keys**pairs.key_tokens, size=pairs.pairs, replace=False)
        keys = codes[:, None] // self._digits % pairs.keys
        values = self.first_value + rng.integers(0, pairs.values, size=(pairs.pairs, pairs.value_tokens))
        shown = np.concatenate([keys, values], axis=1)[rng.integers(0, pairs.pairs, size=count)]
        if not self._q:
            return shown.ravel()[: pairs.length]
        noise = rng.geometric(1 - self._q, size=count) - 1
        begins = np.cumsum(noise) + np.arange(count) * self._size
        tokens = self.first_filler + rng.integers(0, self._fillers, size=begins[-1] + self._size)
        tokens[begins[:, None] + np.arange(self._size)] = shown
        return tokens[: pairs.length]

    def nats_of(self, tokens: Tokens) -> Floats:
        """[b t] nats."""
        nats = np.empty(tokens.shape)
        for row, losses in zip(tokens, nats, strict=True):
            noise = row >= self.first_filler
            losses[noise] = np.log(max(1, self._fillers)) - np.log(self._q or 1.0)
            losses[~noise] = self._nats_of_pairs(row[~noise])
        return nats

    def answers(self, tokens: Tokens) -> Mask:
        """[b t] the values, of all their tokens, of keys that stood before."""
        found = np.zeros(tokens.shape, dtype=bool)
        for row, positions in zip(tokens, found, strict=True):
            plain = row < self.first_filler
            shown = self._in_pairs(row[plain])
            answers = np.zeros(shown.shape, dtype=bool)
            answers[:, self._pairs.key_tokens :] = ~self._earlier(self._codes(shown))[1][:, None]
            positions[plain] = answers.ravel()[: plain.sum()]
        return found

    def _in_pairs(self, plain: Tokens) -> Tokens:
        """[shown, size] tokens without noise, the last pair padded."""
        count = -(-len(plain) // self._size)
        return np.pad(plain, (0, count * self._size - len(plain)), constant_values=PADDING).reshape(count, self._size)

    def _codes(self, shown: Tokens) -> Tokens:
        """[shown] a number for each key."""
        codes: Tokens = np.maximum(shown[:, : self._pairs.key_tokens], 0) @ self._digits
        return codes

    @staticmethod
    def _earlier(codes: Tokens) -> tuple[Tokens, Mask]:
        """[shown] where each key stood first, and whether that is here."""
        _, index, which = np.unique(codes, return_index=True, return_inverse=True)
        return index[which], index[which] == np.arange(len(codes))

    def _nats_of_pairs(self, plain: Tokens) -> Floats:
        """[tokens] nats of a row's tokens without its noise."""
        shown, key_tokens = self._in_pairs(plain), self._pairs.key_tokens
        codes = self._codes(shown)
        first, new = self._earlier(codes)
        nats = np.empty(shown.shape)
        nats[:, :key_tokens] = self._nats_of_keys(codes, new)
        nats[:, 0] -= np.log1p(-self._q)
        values = shown[:, key_tokens:]
        known = np.where(values == values[first], 0.0, np.inf)
        nats[:, key_tokens:] = np.where(new[:, None], np.log(self._pairs.values), known)
        return nats.ravel()[: len(plain)]

    def _nats_of_keys(self, codes: Tokens, new: Mask) -> Floats:
        """[shown, key_tokens] nats of the keys' tokens."""
        dictionary, base, count = self._pairs.pairs, self._pairs.keys, self._pairs.key_tokens
        seen: Tokens = np.cumsum(new) - new
        unseen_each = (dictionary - seen) / dictionary / np.maximum(base**count - seen, 1)
        weights = np.ones((len(codes), count + 1))
        for j in range(1, count + 1):
            alike = _earlier_in_group(codes // base ** (count - j), new)
            weights[:, j] = alike / dictionary + unseen_each * (base ** (count - j) - alike)
        with np.errstate(divide="ignore", invalid="ignore"):  # keys that no dictionary holds: infinity
            nats = -np.diff(np.log(weights), axis=1)
        return np.where(weights[:, 1:] > 0, nats, np.inf)


def _earlier_in_group(groups: Tokens, marked: Mask) -> Tokens:
    """[n] how many marked ones of the same group stand before each."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    before: Tokens = np.cumsum(marked[order]) - marked[order]
    begins = np.searchsorted(ordered, ordered)
    counts = np.empty(len(groups), dtype=np.int64)
    counts[order] = before - before[begins]
    return counts


class NoisyRecall(_ContextRecall):
    """Noisy in-context recall (Poli et al. 2024, MAD, arXiv 2403.17844): one token a key and a value, noise between.

    The dictionary holds every key, so each costs ln K; noise=0 is their plain in-context recall. See _ContextRecall,
    with D = U = K and q = 2x / (1 + x), which makes a share x of the tokens noise.
    """

    def __init__(self, settings: NoisyRecallSettings) -> None:
        pairs = FuzzyRecallSettings(
            pairs=settings.keys,
            keys=settings.keys,
            values=settings.values,
            key_tokens=1,
            value_tokens=1,
            length=settings.length,
        )
        q = 2 * settings.noise / (1 + settings.noise)
        super().__init__("noisy-recall", pairs, settings, settings.fillers, q)
        self.settings = settings


class FuzzyRecall(_ContextRecall):
    """Fuzzy in-context recall (Poli et al. 2024, MAD, arXiv 2403.17844): keys and values of several adjacent tokens.

    Here all keys have the same number of tokens, and so have all values. See _ContextRecall, with U = K^key_tokens and
    no noise.
    """

    def __init__(self, settings: FuzzyRecallSettings) -> None:
        super().__init__("fuzzy-recall", settings, settings, 0, 0.0)
        self.settings = settings
