"""A Fenwick tree over tokens: which blocks hold the past, and which of them chunks of tokens read at each level.

Positions count from 0. The token at p reads the token at s < p at level 1 + (the highest bit in which p and s
differ), and itself at level 0. After t tokens the past is one block for every bit of t: bit j stands for
2^j tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """Of the chunks 0 .. count from one on, the last of which has not begun: those that read blocks of 2^bit chunks,
    each the block before its own; the number of that block, where 0 is the first that is even in the whole tree.
    """

    readers: list[int]
    blocks: list[int]


def tree(first: int, count: int) -> list[Level]:
    """The level of each bit for `count` chunks, `first` chunks after the document's start."""
    levels = []
    for bit in range((first + count).bit_length()):
        readers = [at for at in range(count + 1) if (first + at) >> bit & 1]
        even = first >> bit & ~1
        levels.append(Level(readers, [((first + at) >> bit) - 1 - even for at in readers]))
    return levels


def blocks(t: int) -> list[tuple[int, int]]:
    """The blocks of the first t tokens as (first position, bit), the longest first."""
    result, start = [], 0
    for bit in reversed(range(t.bit_length())):
        if t >> bit & 1:
            result.append((start, bit))
            start += 1 << bit
    return result


def level(reader: Tensor, read: Tensor) -> Tensor:
    """The level at which positions read positions: 0 for itself, else 1 + the highest differing bit."""
    differ = (reader ^ read).double()
    return torch.frexp(differ).exponent.long()
