"""The longest context whose state fits in memory: the exact inverse of the state law."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2m_design.architecture.readers import Allotment
    from l2m_design.laws import Dtypes, StateLaw

SIZES = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SIZES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class Fits(TypedDict):
    """The longest context that fits in memory, as JSON. tokens: its length; 0 if not even one token fits, None if all
    lengths fit.
    """

    bytes: int
    batch: int
    tokens: int | None


@dataclass(frozen=True)
class Memory:
    """Bytes for the states of `batch` sequences at once."""

    bytes: int
    batch: int

    def plain(
        self, state: "StateLaw", dtypes: "str | Dtypes", allot: "Callable[[int, Dtypes, int], Allotment] | None" = None
    ) -> Fits:
        """Return the longest context that fits.

        allot: returns the bytes that a server allocates; if given, these must fit instead of the state alone.
        """
        from l2m_design.laws import Dtypes
        from l2m_design.terms import REACH_LIMIT

        held = Dtypes.of(dtypes) if isinstance(dtypes, str) else dtypes

        def fits(tokens: int) -> bool:
            each = self.batch * state.bytes(tokens, held) if allot is None else allot(tokens, held, self.batch).bytes
            return each <= self.bytes

        if fits(REACH_LIMIT):
            return {"bytes": self.bytes, "batch": self.batch, "tokens": None}
        low, high = 0, REACH_LIMIT  # fits, does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return {"bytes": self.bytes, "batch": self.batch, "tokens": low}


def parse_memory(text: str | None, batch: int) -> Memory | None:
    """Parse 16GiB, 24GB or plain bytes, for `batch` sequences; None if no memory is given. Raises BadInput."""
    from l2m_design.errors import BadInput

    if text is None:
        if batch != 1:
            raise BadInput("`batch`: needs `fits`, or `runtime` llama.cpp, or `runtime` vllm with `paged`")
        return None
    number = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-zA-Z]*)", text.strip())
    if number is None or number[2].lower() not in SIZES:
        raise BadInput(
            f"`fits`: found '{text.strip()[:40]}'; must be a size such as 16GiB or 24GB, or a number of bytes"
        )
    size = int(float(number[1]) * SIZES[number[2].lower()])
    if size < 1:
        raise BadInput(f"`fits`: found {text.strip()}; must be at least one byte")
    return Memory(size, batch)


def sentence(fits: Fits) -> str:
    """Return a sentence: the longest context that fits."""
    from l2m_design.report.words import size
    from l2m_design.terms import REACH_LIMIT

    each = f" for each of {fits['batch']:,} sequences" if fits["batch"] > 1 else ""
    if fits["tokens"] is None:
        return f"In {size(fits['bytes'])} every context up to {REACH_LIMIT:,} tokens fits{each}."
    if fits["tokens"] == 0:
        return f"In {size(fits['bytes'])} the state of a single token does not fit{each}."
    return f"In {size(fits['bytes'])} the longest context that fits is {fits['tokens']:,} tokens{each}."
