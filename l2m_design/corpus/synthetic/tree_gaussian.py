"""Tree Gaussian: a hierarchy of independent copies, its information an exact power of its length."""

from functools import cached_property
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from l2m_design.corpus.arrays import Quantiser
from l2m_design.corpus.base import Documents
from l2m_design.corpus.synthetic.gaussian import GaussianSource
from l2m_design.estimates import Floats
from l2m_design.settings import Values, fingerprint

LONGEST = 4096


class TreeGaussianSettings(Values):
    """Branching b (even), copies c < b, levels (documents of b, b^2, .. b^levels values), documents of each, seed."""

    branching: Annotated[int, Field(ge=2, le=64)] = 4
    copies: Annotated[int, Field(ge=1, le=63)] = 3
    levels: Annotated[int, Field(ge=1, le=12)] = 6
    documents: Annotated[int, Field(ge=10, le=10**5)] = 512
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.branching % 2:
            raise ValueError(f"branching ({self.branching}) must be even, since documents are divided in the middle")
        if self.copies >= self.branching:
            raise ValueError(f"copies ({self.copies}) must be below branching ({self.branching})")
        if self.branching**self.levels > LONGEST:
            raise ValueError(f"branching^levels ({self.branching**self.levels}) must be at most {LONGEST}")
        return self


class TreeGaussian(GaussianSource):
    """P's hierarchical family (arXiv 2503.04725, its Gaussian examples) without the boundary step.

    A tree of level l has b^l values. For each of the b^(l-1) instants of the level below it takes b numbers: that
    instant of c independent trees of level l-1, and b - c fresh standard normals; the b values written are M times
    these. M M^T has ones on its diagonal and -1/b beside it. M is invertible and the middle of the document falls
    between two instants, so a cut shares what the c copies share: I(level l) = c · I(level l-1), hence
    I(b^l) = c^(l-1) I(b) and beta = ln c / ln b. For b = 4, c = 3: I(4) = 1/2 ln(9/5), one canonical correlation 2/3.
    Every aligned block of b^k values is a tree of level k, so the covariance of shorter documents is its corner.
    """

    whole = True

    def __init__(self, settings: TreeGaussianSettings) -> None:
        self.settings = settings
        self.name = "tree-gaussian:" + ",".join(f"{key}={value}" for key, value in settings.plain().items())
        self.quantiser = Quantiser(quantise="uniform")
        self.vocabulary = self.quantiser.levels

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every value."""
        return fingerprint(self.name)

    @cached_property
    def mixing(self) -> Floats:
        """[b, b] M: cosine columns scaled to M M^T = (1 + 1/b) - (1/b) everywhere; the constant one is last."""
        b = self.settings.branching
        place = np.arange(b) + 0.5
        columns = [np.cos(np.pi * k * place / b) * np.sqrt(2 / b) for k in range(1, b)]
        scaled = [np.sqrt((b + 1) / b) * column for column in columns]
        return np.stack([*scaled, np.full(b, 1 / b)], axis=1)

    def covariance(self, length: int) -> Floats:
        """[length, length]: S_l = S_{l-1} (x) A + 1 (x) B, A and B what copies and fresh normals bring to b values."""
        b, c = self.settings.branching, self.settings.copies
        copied, fresh = self.mixing[:, :c], self.mixing[:, c:]
        matrix: Floats = np.ones((1, 1))
        while len(matrix) < length:
            matrix = np.kron(matrix, copied @ copied.T) + np.kron(np.eye(len(matrix)), fresh @ fresh.T)
        assert len(matrix[0]) >= length, f"{length} values are not a power of {b}"
        return matrix[:length, :length]

    def _trees(self, level: int, count: int, rng: np.random.Generator) -> Floats:
        """[count, b^level] independent trees."""
        if level == 0:
            return rng.normal(size=(count, 1))
        b, c = self.settings.branching, self.settings.copies
        below = self._trees(level - 1, count * c, rng).reshape(count, c, -1)
        fresh = rng.normal(size=(count, b - c, below.shape[2]))
        mixed: Floats = np.einsum("ij,njt->nti", self.mixing, np.concatenate([below, fresh], axis=1))
        return mixed.reshape(count, -1)

    @cached_property
    def values(self) -> Documents:
        """Whole trees of every level, `documents` of each."""
        rng = np.random.default_rng(self.settings.seed)
        trees = [self._trees(level, self.settings.documents, rng) for level in range(1, self.settings.levels + 1)]
        lengths = np.concatenate([np.full(len(rows), rows.shape[1]) for rows in trees])
        ends = np.cumsum(lengths)
        return Documents(np.concatenate([rows.ravel() for rows in trees]), np.stack([ends - lengths, ends], axis=1))
