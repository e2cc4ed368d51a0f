"""Facts put into texts and asked for at their end: a needle near the beginning, and keys spread over three quarters.

Loss over a text hides whether a cache can still recall one line that nothing pointed at; this shows it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2m_design.errors import BadInput

KEYS = ("Amber", "Basil", "Cedar", "Delta", "Ember", "Flint")
NEEDLE, NEEDLE_DEPTH, DEEPEST = "The password of the vault is", 1 / 16, 3 / 4
DIGITS = 5

Tokens = NDArray[np.int64]


class Asked(NamedTuple):
    """Tokens [t] of a text with facts and questions; which of them [t] answer for the needle, and for the keys."""

    tokens: Tokens
    needle: NDArray[np.bool_]
    keys: NDArray[np.bool_]


def with_facts(tokens: Tokens, seed: int, encode: Callable[[str], list[int]]) -> Asked:
    """As many tokens as were given [t]: facts stand in the text, questions in the place of its last tokens, all of them
    in its second half. Raises BadInput where the text is too short for that.
    """
    rng = np.random.default_rng([seed, 18])
    stems = [NEEDLE, *(f"The number of {key} is" for key in KEYS)]
    numbers = ["".join(map(str, rng.integers(0, 10, DIGITS))) for _ in stems]
    depths = [NEEDLE_DEPTH, *(DEEPEST * (place + 1) / len(KEYS) for place in range(len(KEYS)))]
    facts = [encode(f"\n{stem} {number}.\n") for stem, number in zip(stems, numbers, strict=True)]
    questions: list[int] = []
    owner: list[int] = []
    for which in rng.permutation(len(stems)).tolist():
        stem, answer = encode(f"\n{stems[which]}"), encode(f" {numbers[which]}.")
        questions += stem + answer
        digits = min(DIGITS, len(answer) - 1)
        owner += [-1] * (len(stem) + len(answer) - digits - 1) + [which] * digits + [-1]
    whole = len(tokens) - len(questions) - sum(map(len, facts))
    if 2 * len(questions) > len(tokens) or whole < 1:
        raise BadInput(
            f"{len(tokens)} tokens: too few; the facts and their questions need {2 * (len(questions) + 100):,} or more"
        )
    at, text = 0, list[int]()
    for fact, depth in zip(facts, depths, strict=True):
        until = int(depth * whole)
        text += tokens[at:until].tolist() + fact
        at = until
    text += tokens[at:whole].tolist() + questions
    owners = np.array([-1] * (len(tokens) - len(owner)) + owner)
    return Asked(np.array(text), owners == 0, owners > 0)
