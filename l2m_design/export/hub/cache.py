"""StateCache: a transformers Cache that holds the drawn state of every sequence, and nothing else.

Sequences that have read equally many tokens stand in one group and are read together. Padding is never read, so a
sequence in a padded batch holds exactly what it would hold alone.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from l2m_design.model.generate import select_rows


class Group(NamedTuple):
    """Sequences with one number of tokens read.

    rows: their places in the batch. state: the model's, none before the first token.
    """

    rows: list[int]
    state: Any


class StateCache(Cache):  # type: ignore[misc]
    """Cannot be cropped: what was evicted does not come back."""

    is_compileable = False
    is_croppable = False
    is_initialized = True

    def __init__(self, batch: int) -> None:
        super().__init__(layers=[])
        self.groups = [Group(list(range(batch)), None)]
        self.columns = 0  # of tokens and padding, as transformers counts

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, padding included."""
        return self.columns

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """A mask over all columns; the model reads it for padding only."""
        return self.columns + query_length, 0

    @property
    def batch_size(self) -> int:
        """Sequences."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def is_sliding(self) -> list[bool]:
        """One layer, as transformers sees it."""
        return [False]

    @property
    def is_linear(self) -> list[bool]:
        """See is_sliding."""
        return [False]

    @property
    def is_dummy(self) -> list[bool]:
        """See is_sliding."""
        return [False]

    def reset(self) -> None:
        """Nothing read."""
        self.groups, self.columns = [Group(list(range(self.batch_size)), None)], 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Sequence number i becomes the one that was number beam_idx[i]; of any number, so rows may be repeated."""
        rows = beam_idx.tolist()
        if rows == list(range(self.batch_size)):
            return
        groups = []
        for group in self.groups:
            at = {row: place for place, row in enumerate(group.rows)}
            new = [index for index, row in enumerate(rows) if row in at]
            if new:
                groups.append(Group(new, select_rows(group.state, [at[rows[index]] for index in new])))
        self.groups = groups

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sequence `repeats` times, side by side."""
        self.reorder_cache(torch.arange(self.batch_size).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only these sequences."""
        self.reorder_cache(torch.arange(self.batch_size)[indices.cpu()])

    def crop(self, tokens_to_remove: int) -> None:
        """Raises RuntimeError unless nothing is to be removed."""
        if tokens_to_remove:
            raise RuntimeError("a state that evicts cannot be rolled back")
