"""State spaces whose state grows: with the logarithm of the context (Fenwick tree), or as a power (snapshots)."""

from typing import Annotated, Literal

from pydantic import Field

from l2m_design.architecture.mixers.base import CHUNK, sum_of_counts
from l2m_design.architecture.mixers.recurrent import StateSpace
from l2m_design.architecture.schedules import FenwickLevels, Snapshots
from l2m_design.laws import StateLaw, StateTerm


class LogLinear(StateSpace):
    """Log-linear Mamba-2 (arXiv 2506.04761): one state for each level of a Fenwick tree over the past.

    levels: number of levels with their own weight; older levels use the weight of the last one.
    """

    kind: Literal["log_linear"] = "log_linear"
    levels: Annotated[int, Field(ge=2, le=32)] = 16

    @property
    def letter(self) -> str:
        """F."""
        return "F"

    def state_law(self, width: int) -> StateLaw:
        """heads · head_dim · d_state for each of floor(log2 t) + 1 levels, and the convolution's columns."""
        return self._law(self.inner(width) * self.d_state, self.convolved(width), FenwickLevels())

    def parameters(self, width: int) -> int:
        """Mamba-2's, and a projection with bias to the weight of every level in each head."""
        return super().parameters(width) + (width + 1) * self.heads(width) * self.levels

    def flops(self, width: int, length: int) -> int:
        """Mamba-2's, and reads of every level between the chunks."""
        reads = self.inner(width) * self.d_state * max(0, length // CHUNK).bit_length()
        return super().flops(width, length) + 2 * length * (width * self.heads(width) * self.levels + reads)


class CheckpointedSSM(StateSpace):
    """Mamba-2 whose state is copied at t_k = (k / keep)^(1/exponent); attention reads the copies.

    exponent: the number of copies grows as t^exponent, so a recurrent model can meet the L²M condition with equality.
    keep: factor: there are floor(keep · t^exponent) copies after t tokens.
    """

    kind: Literal["checkpointed_ssm"] = "checkpointed_ssm"
    exponent: Annotated[float, Field(gt=0.0, le=1.0)]
    keep: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0

    @property
    def letter(self) -> str:
        """C."""
        return "C"

    @property
    def snapshots(self) -> Snapshots:
        """When the state is copied."""
        return Snapshots(self.exponent, self.keep)

    def state_law(self, width: int) -> StateLaw:
        """The running state, one copy for each snapshot, and the convolution's columns."""
        copies = StateTerm(self.inner(width) * self.d_state, self.snapshots, self.state_dtype)
        return super().state_law(width) + StateLaw((copies,))

    def parameters(self, width: int) -> int:
        """Mamba-2's, a query projection and a norm of what is read."""
        return super().parameters(width) + width * self.inner(width) + self.head_dim

    def flops(self, width: int, length: int) -> int:
        """Mamba-2's, the queries, and a read of every copy by every later token."""
        reads = self.inner(width) * (self.d_state + 2) * sum_of_counts(self.snapshots, length)
        return super().flops(width, length) + 2 * (length * width * self.inner(width) + reads)
