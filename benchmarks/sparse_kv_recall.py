"""Facts put into texts and asked for at their end: a needle near the beginning, and keys spread over three quarters.

Loss over a text hides whether a cache can still recall one line that nothing pointed at; this shows it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

KEYS = ("Amber", "Basil", "Cedar", "Delta", "Ember", "Flint")
NEEDLE, NEEDLE_DEPTH, DEEPEST = "The password of the vault is", 1 / 16, 3 / 4
DIGITS = 5


class Asked(NamedTuple):
    """Tokens [t] of a text with facts and questions; which of them [t] answer for the needle, and for the keys."""

    tokens: Tensor
    needle: Tensor
    keys: Tensor


def with_facts(tokens: Tensor, seed: int, encode: Callable[[str], list[int]]) -> Asked:
    """As many tokens as were given [t]: facts stand in the text, questions in the place of its last tokens."""
    rng = np.random.default_rng([seed, 18])
    stems = [NEEDLE, *(f"The number of {key} is" for key in KEYS)]
    numbers = ["".join(map(str, rng.integers(0, 10, DIGITS))) for _ in stems]
    depths = [NEEDLE_DEPTH, *(DEEPEST * (place + 1) / len(KEYS) for place in range(len(KEYS)))]
    facts = [encode(f"\n{stem} {number}.\n") for stem, number in zip(stems, numbers, strict=True)]
    asked, owner = [], []
    for which in rng.permutation(len(stems)).tolist():
        stem, answer = encode(f"\n{stems[which]}"), encode(f" {numbers[which]}.")
        asked += stem + answer
        owner += [-1] * (len(stem) + len(answer) - DIGITS - 1) + [which] * DIGITS + [-1]
    whole = len(tokens) - len(asked) - sum(map(len, facts))
    at, text = 0, []
    for fact, depth in zip(facts, depths, strict=True):
        until = int(depth * whole)
        text += tokens[at:until].tolist() + fact
        at = until
    text += tokens[at:whole].tolist() + asked
    owners = torch.tensor([-1] * (len(tokens) - len(owner)) + owner)
    return Asked(torch.tensor(text), owners == 0, owners > 0)
