"""Laws of growth with context length: PowerLaw (information of the data) and StateLaw (history state of a model)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

import numpy as np

from l2m_design.errors import BadInput
from l2m_design.estimates import Estimate, Floats

BLOCK = 32  # elements that BLOCK_BYTES counts: a block of llama.cpp's quantised formats, scales included
BLOCK_BYTES = {"float32": 128, "bfloat16": 64, "float16": 64, "float8": 32, "int8": 32, "q8_0": 34, "q4_0": 18}
CACHE_ONLY = ("float8", "int8", "q8_0", "q4_0")  # what only keys and values are held in
STATE_KINDS = (
    "attention",
    "window",
    "mla",
    "sparse_attention",
    "mamba1",
    "mamba2",
    "gated_deltanet",
    "log_linear",
    "checkpointed_ssm",
)


GROWING_STATES = ("log_linear", "checkpointed_ssm")  # kinds whose recurrent states grow in number

Form = Literal["power", "logarithm", "constant"]


@dataclass(frozen=True)
class PowerLaw:
    """I(n;n) = prefactor · n^exponent + offset in nats, for two blocks of n tokens (context length L = 2n).

    Data without an exponent have prefactor · ln n + offset (form "logarithm"), or offset alone ("constant").

    draws: [replicates, 3] joint bootstrap draws of (prefactor, exponent, offset); None for a given law. level:
    confidence level of intervals. Source: the sub-volume law, arXiv 2503.04725, section 4; the offset is needed for
    finite sources.

    Examples:
        >>> law = PowerLaw(prefactor=2.0, exponent=0.5)
        >>> law.at(100).value
        20.0
        >>> law.formula()
        '2 n^0.500'
    """

    prefactor: float
    exponent: float
    offset: float = 0.0
    draws: Floats | None = field(default=None, compare=False, repr=False)
    level: float = 0.95
    form: Form = "power"

    def at(self, n: float) -> Estimate:
        """Return I(n;n) in nats, with the interval of the draws."""
        value = self._value(n, np.array([[self.prefactor, self.exponent, self.offset]]))
        if self.draws is None:
            return Estimate.exact(float(value[0]))
        return Estimate.of_draws(float(value[0]), self._value(n, self.draws), self.level)

    def counted_in(self, unit: float) -> "PowerLaw":
        """Return the same law with n counted in units of `unit` of its tokens (bytes per token converts bytes to
        tokens).
        """

        def changed(rows: Floats) -> Floats:
            prefactor, exponent, offset = rows.T
            if self.form == "logarithm":
                return np.stack([prefactor, exponent, offset + prefactor * np.log(unit)], axis=1)
            return np.stack([prefactor * unit**exponent, exponent, offset], axis=1)

        prefactor, exponent, offset = changed(np.array([[self.prefactor, self.exponent, self.offset]]))[0].tolist()
        draws = None if self.draws is None else changed(self.draws)
        return PowerLaw(prefactor, exponent, offset, draws, self.level, self.form)

    def formula(self) -> str:
        """Return the law as text, such as 3.1 n^0.66 -2.5."""
        if self.form == "constant":
            return f"{self.offset:.3g}"
        offset = f" {self.offset:+.3g}" if self.offset else ""
        if self.form == "logarithm":
            return f"{self.prefactor:.3g} ln n{offset}"
        return f"{self.prefactor:.3g} n^{self.exponent:.3f}{offset}"

    @property
    def beta(self) -> Estimate:
        """The exponent, with the interval of the draws."""
        if self.draws is None:
            return Estimate.exact(self.exponent)
        return Estimate.of_draws(self.exponent, self.draws[:, 1], self.level)

    def plain(self) -> dict[str, Any]:
        """Return the parameters and the joint draws, to six digits, as JSON."""
        draws = None if self.draws is None else [[float(f"{x:.6g}") for x in row] for row in self.draws]
        return ({} if self.form == "power" else {"form": self.form}) | {
            "prefactor": self.prefactor,
            "exponent": self.exponent,
            "offset": self.offset,
            "level": self.level,
            "draws": draws,
        }

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "PowerLaw":
        """Return the law that `plain` wrote. Raises KeyError, TypeError or ValueError for other data."""
        draws = None if data["draws"] is None else np.array(data["draws"], dtype=np.float64).reshape(-1, 3)
        prefactor, exponent, offset = (float(data[key]) for key in ("prefactor", "exponent", "offset"))
        form = data.get("form", "power")
        if form not in get_args(Form):
            raise ValueError(f"form: {form}")
        numbers = np.concatenate([[prefactor, exponent, offset], [] if draws is None else draws.ravel()])
        if not np.isfinite(numbers).all() or prefactor < 0 or not 0 <= exponent <= 2 or not 0 < data["level"] <= 1:
            raise ValueError("a law's numbers are out of range")
        if draws is not None and not len(draws):
            raise ValueError("draws: none")
        return cls(prefactor, exponent, offset, draws, float(data["level"]), form)

    def _value(self, n: float, rows: Floats) -> Floats:
        if self.form == "logarithm":
            return rows[:, 0] * np.log(float(n)) + rows[:, 2]
        return rows[:, 0] * float(n) ** rows[:, 1] + rows[:, 2]


def growth_words(exponent: float, logarithmic: bool) -> str:
    """Return a growth in words: t^0.71, log t or none."""
    if exponent > 0:
        return f"t^{exponent:.2f}"
    return "log t" if logarithmic else "none"


def size(count: float) -> str:
    """Bytes in words: 512 B, 3.1 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError


class Growth(Protocol):
    """The number of slots of a layer after t tokens."""

    @property
    def exponent(self) -> float:
        """gamma: the number grows as t^gamma in the limit."""
        ...

    @property
    def logarithmic(self) -> bool:
        """If gamma is 0: does the number still grow, as log t?"""
        ...

    def count(self, t: int) -> int:
        """Return the exact number of slots after t >= 1 tokens."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Fixed:
    """One slot at every length, as in a recurrent state."""

    exponent: float = 0.0
    logarithmic = False

    def count(self, t: int) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class Tokens:
    """One slot per token, up to a cap if there is one (a sliding window)."""

    cap: int | None = None
    logarithmic = False

    @property
    def exponent(self) -> float:
        """1, or 0 under a cap."""
        return 1.0 if self.cap is None else 0.0

    def count(self, t: int) -> int:
        """min(t, cap)."""
        return t if self.cap is None else min(t, self.cap)


@dataclass(frozen=True)
class StateTerm:
    """A part of a state: `elements` numbers in each slot of a Growth.

    dtype: data type in which they are always stored; None if it is not fixed. kind: the mixer type, one of STATE_KINDS,
    or None outside of layers; it does not count for equality.
    """

    elements: int
    growth: Growth
    dtype: str | None = None
    kind: str | None = field(default=None, compare=False)

    @property
    def cached(self) -> bool:
        """True for a part of the KV cache (keys and values, latents, indexer keys), False for a recurrent state."""
        return not isinstance(self.growth, Fixed) and self.kind not in GROWING_STATES


@dataclass(frozen=True)
class Dtypes:
    """Data types of a state, each a key of BLOCK_BYTES.

    model: of the model. cache: of the KV cache; None means that of the model. state: of recurrent and convolution
    states; None means that of each term.
    """

    model: str = "bfloat16"
    cache: str | None = None
    state: str | None = None

    @classmethod
    def of(cls, dtype: str) -> "Dtypes":
        """Return one data type for all; a type that only KV caches have leaves the rest in bfloat16."""
        return cls(cache=dtype) if dtype in CACHE_ONLY else cls(dtype)

    def of_term(self, term: StateTerm) -> str:
        """Return the data type of a term."""
        if term.cached:
            return term.dtype or self.cache or self.model
        return self.state or term.dtype or self.model

    def bytes(self, term: StateTerm, elements: int) -> int:
        """Return the bytes of `elements` elements of a term, in whole blocks of 32 for block formats."""
        return -(-elements * BLOCK_BYTES[self.of_term(term)] // BLOCK)

    @property
    def widest(self) -> float:
        """Bits of the widest element, of the KV cache or of other states."""
        return max(BLOCK_BYTES[dtype or self.model] for dtype in (self.cache, self.state)) * 8 / BLOCK


@dataclass(frozen=True)
class StateLaw:
    """History state of one sequence as a function of context length t: an exact sum of terms. Laws can be added.

    Examples:
        >>> window = StateLaw((StateTerm(64, Tokens(cap=128)),))
        >>> full = StateLaw((StateTerm(64, Tokens()),))
        >>> both = window + full
        >>> both.elements(1000), both.bytes(1000, "bfloat16")
        (72192, 144384)
        >>> both.exponent, window.exponent
        (1.0, 0.0)
    """

    terms: tuple[StateTerm, ...] = ()

    def __add__(self, other: "StateLaw") -> "StateLaw":
        return StateLaw(self.terms + other.terms)

    def elements(self, t: int) -> int:
        """Return the number of elements (dim z) after t >= 1 tokens. Raises BadInput for t < 1."""
        if t < 1:
            raise BadInput(f"a context of {t} tokens: must be at least one token")
        return sum(term.elements * term.growth.count(t) for term in self.terms)

    @property
    def growth(self) -> str:
        """The growth in words: t^0.71, log t or none."""
        return growth_words(self.exponent, self.logarithmic)

    def of_kind(self, kind: str) -> "StateLaw":
        """Return the same law with all terms assigned to this mixer type."""
        return StateLaw(tuple(replace(term, kind=kind) for term in self.terms))

    def merged(self) -> "StateLaw":
        """Return the same law, with terms of equal growth, dtype and kind added up."""
        sums: dict[tuple[Any, ...], int] = {}
        for term in self.terms:
            key = (term.growth, term.dtype, term.kind)
            sums[key] = sums.get(key, 0) + term.elements
        return StateLaw(tuple(StateTerm(count, *key) for key, count in sums.items()))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The mixer types that have a part of the state, in order."""
        return tuple(dict.fromkeys(term.kind for term in self.terms if term.kind is not None and term.elements))

    def bytes(self, t: int, dtype: str | Dtypes = "bfloat16") -> int:
        """Return the bytes after t tokens. dtype: for all terms (see `Dtypes.of`) that do not have their own, or a
        Dtypes.
        """
        dtypes = Dtypes.of(dtype) if isinstance(dtype, str) else dtype
        return sum(dtypes.bytes(term, term.elements * term.growth.count(t)) for term in self.terms)

    def dtypes_in(self, dtypes: Dtypes, cached: bool) -> list[str]:
        """Return the data types of the KV cache (cached=True) or of other states (False), in order."""
        return list(dict.fromkeys(dtypes.of_term(t) for t in self.terms if t.elements and t.cached == cached))

    def bytes_per_token(self, t: int, dtype: str | Dtypes = "bfloat16") -> float:
        """Return the marginal bytes per token at t: the mean slope over the last sixteenth of the context."""
        before = t - max(1, t // 16)
        start = self.bytes(before, dtype) if before >= 1 else 0
        return (self.bytes(t, dtype) - start) / (t - before)

    @property
    def exponent(self) -> float:
        """gamma: the largest exponent of the terms; exact, never a fitted slope."""
        return max((term.growth.exponent for term in self.terms if term.elements), default=0.0)

    @property
    def logarithmic(self) -> bool:
        """True if some term grows as log t."""
        return any(term.growth.logarithmic for term in self.terms if term.elements)
