"""One segment of a state space inside a chunk, for mixers that hold several states."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.precision import wide


class Segment(NamedTuple):
    """Tokens first .. last-1 of a sequence, inside one chunk.

    x: [b c h p] values times dt; summed: [b h c] log decays added up from the segment's start; B, C: [b h c n].
    """

    first: int
    last: int
    x: Tensor
    summed: Tensor
    B: Tensor
    C: Tensor

    @property
    def decays(self) -> Tensor:
        """[b h c c] exp(a_i - a_j) for i >= j, else 0."""
        gaps = self.summed[..., :, None] - self.summed[..., None, :]
        return gaps.tril().exp().tril()

    @property
    def total(self) -> Tensor:
        """[b 1 h 1 1] decay over the segment."""
        return self.summed[..., -1].exp()[:, None, :, None, None]

    def inside(self, weights: Tensor) -> Tensor:
        """[b c h p] what tokens read from each other under weights [b h c c] on C_i · B_j x_j."""
        y = (self.C @ self.B.transpose(-1, -2) * weights) @ self.x.transpose(1, 2)
        return y.transpose(1, 2)

    def reads(self, states: Tensor) -> Tensor:
        """[b s c h p] what tokens read, undecayed, from states [b s h p n]."""
        return (self.C[:, None] @ states.transpose(-1, -2)).transpose(2, 3)

    def sums(self, weights: Tensor) -> Tensor:
        """[b s h p n] sums over the segment's tokens of weight · x B^T; weights [b s h c]."""
        x = self.x.permute(0, 2, 3, 1)[:, None] * weights[..., None, :]
        return x @ self.B[:, None]


def segments(values: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, seen: int) -> Iterator[Segment]:
    """A sequence cut at the multiples of CHUNK, `seen` tokens after its document's start.

    values [b t h p], dt [b t h], A [h], B, C [b t g n].
    """
    values, B, C = (wide(z) for z in (values, B, C))
    share = values.shape[2] // B.shape[2]
    B, C = (z.repeat_interleave(share, dim=2).transpose(1, 2) for z in (B, C))
    x, log_decay = values * dt[..., None], (dt * A).transpose(1, 2)
    done, t = 0, values.shape[1]
    while done < t:
        stop = min(t, done + CHUNK - (seen + done) % CHUNK)
        here = slice(done, stop)
        summed = log_decay[..., here].cumsum(-1)
        yield Segment(seen + done, seen + stop, x[:, here], summed, B[:, :, here], C[:, :, here])
        done = stop
