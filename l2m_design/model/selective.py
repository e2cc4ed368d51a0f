"""The selective scan of Mamba-1 (arXiv 2312.00752) and its gradient, in torch.

S_t = exp(dt_t A) S_(t-1) + dt_t x_t B_t, y_t = S_t C_t, every channel with its own decays: a recurrence of one
fused operation a token; off the CPU runs of tokens go side by side (see in_runs), since a GPU would wait for a launch
a token. Only the states between chunks are kept for the gradient; those inside are made again.
"""

from typing import Any, cast

import torch
from torch import Tensor

from l2m_design.model.precision import wide

KEPT_EVERY, KEPT_OFF_CPU = 64, 1024  # tokens between the states that are kept
RUN = 32  # tokens of a run: the square root of those between kept states takes the fewest operations


@torch.compiler.disable  # its loop over tokens would be unrolled
def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y [b t i] and the last state [b i n]; x, dt [b t i], A [i n] below 0, B and C [b t n], start [b i n] or none.

    Computed in float32 at least, whatever the inputs are.
    """
    x, B, C = (wide(z) for z in (x, B, C))
    if start is None:
        start = x.new_zeros(len(x), *A.shape)
    return cast("tuple[Tensor, Tensor]", _Scan.apply(x * dt, dt, A, B, C, start))


def _states(x: Tensor, decay: Tensor, B: Tensor, start: Tensor) -> Tensor:
    """[c b i n] the states after each token; x [c b i], decay [c b i n], B [c b n]."""
    states = x[..., None] * B[:, :, None]
    if states.device.type != "cpu":
        return in_runs(states, decay, start)
    state = start
    for t in range(len(x)):
        state = torch.addcmul(states[t], state, decay[t], out=states[t])
    return states


def in_runs(states: Tensor, decay: Tensor, start: Tensor) -> Tensor:
    """[c ...] `states`, of which each has become itself + decay · the one before, in place; `start` stands before the
    first. In about 2 sqrt(c) operations: all runs at once from nothing, what each begins with, and what that leaves.
    """
    whole = len(states) // RUN * RUN
    if whole:
        runs, decays = (z[:whole].unflatten(0, (-1, RUN)) for z in (states, decay))
        for t in range(1, RUN):
            runs[:, t].addcmul_(runs[:, t - 1], decays[:, t])
        left = decays.cumprod(1)
        before = torch.empty_like(runs[:, 0])
        before[0] = start
        for run in range(len(before) - 1):
            torch.addcmul(runs[run, -1], before[run], left[run, -1], out=before[run + 1])
        runs.addcmul_(left, before[:, None])
        start = runs[-1, -1]
    for t in range(whole, len(states)):
        start = states[t].addcmul_(start, decay[t])
    return states


class _Scan(torch.autograd.Function):
    """x already times dt; time first inside, so that a token is one block of memory."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        timed = [z.transpose(0, 1).contiguous() for z in (x, dt, B, C)]
        y = torch.empty_like(timed[0])
        state, starts = start, []
        ctx.every = every = KEPT_EVERY if x.device.type == "cpu" else KEPT_OFF_CPU
        for first in range(0, len(y), every):
            xs, dts, Bs, Cs = (z[first : first + every] for z in timed)
            starts.append(state)
            states = _states(xs, (dts[..., None] * A).exp_(), Bs, state)
            y[first : first + every] = (states @ Cs[..., None])[..., 0]
            state = states[-1].clone()
        ctx.save_for_backward(*timed, A, torch.stack(starts))
        return y.transpose(0, 1), state

    @staticmethod
    def backward(ctx: Any, dy: Tensor, dlast: Tensor) -> tuple[Tensor, ...]:
        x, dt, B, C, A, starts = ctx.saved_tensors
        dy = dy.transpose(0, 1)
        dx, ddt, dB, dC = (torch.empty_like(z) for z in (x, dt, B, C))
        dA, dstate = torch.zeros_like(A), dlast
        for index in reversed(range(len(starts))):
            here = slice(index * ctx.every, (index + 1) * ctx.every)
            decay = (dt[here, ..., None] * A).exp_()
            states = _states(x[here], decay, B[here], starts[index])
            dstates, dstate = _gradients(dy[here, ..., None] * C[here, :, None], decay, dstate)
            dC[here] = (dy[here][:, :, None] @ states)[:, :, 0]
            dB[here] = (x[here][:, :, None] @ dstates)[:, :, 0]
            dx[here] = (dstates @ B[here, ..., None])[..., 0]
            dlog = dstates.mul_(decay)
            dlog[1:] *= states[:-1]
            dlog[0] *= starts[index]
            ddt[here] = (dlog * A).sum(-1)
            dA += (dlog * dt[here, ..., None]).sum((0, 1))
        return *(z.transpose(0, 1) for z in (dx, ddt)), dA, *(z.transpose(0, 1) for z in (dB, dC)), dstate


def _gradients(dstates: Tensor, decay: Tensor, dlast: Tensor) -> tuple[Tensor, Tensor]:
    """Of each state [c b i n], in the place of what its own output gives, and of the one before the first [b i n];
    dlast: what comes from behind.
    """
    if dstates.device.type != "cpu":
        dstates[-1] += dlast
        later = decay.flip(0).roll(1, 0)  # the decay between a state and the one behind it
        dstates = in_runs(dstates.flip(0), later, torch.zeros_like(dlast)).flip(0)
        return dstates, dstates[0] * decay[0]
    for t in reversed(range(len(decay))):
        dlast = dstates[t].add_(dlast)
        dlast = dlast * decay[t]
    return dstates, dlast
