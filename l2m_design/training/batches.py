"""Batches: training windows in a fixed random order, and the fixed held-out windows of an evaluation."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus import Corpus
from l2m_design.corpus.windows import Windows, spread_windows, uniform_windows
from l2m_design.training.recipe import Recipe

EVALUATION_SEED = 20250303


def training_batches(corpus: Corpus, recipe: Recipe, begin: int = 0) -> Iterator[NDArray[np.int64]]:
    """`steps` arrays [batch, length + 1]: the same ones in the same order for every candidate of a seed.

    begin: the first step wanted; the tokens of those before it are not read.
    """
    rng = np.random.default_rng([recipe.seed, 1])
    count = recipe.steps * recipe.batch
    windows = uniform_windows(
        corpus.documents("train"), recipe.length + 1, count, rng, f"{corpus.name} (train)", corpus.period
    )
    for step in range(begin, recipe.steps):
        yield windows.tokens(slice(step * recipe.batch, (step + 1) * recipe.batch))


def held_out_windows(corpus: Corpus, split: str, length: int, count: int) -> Windows:
    """`count` windows of length + 1 tokens over a split's documents: the same ones whatever the recipe's seed."""
    rng = np.random.default_rng(EVALUATION_SEED)
    return spread_windows(corpus.documents(split), length + 1, count, rng, f"{corpus.name} ({split})", corpus.period)
