"""Gated DeltaNet (arXiv 2412.06464) by its chunked WY form, in torch; decays and states in float32.

    S_t = exp(a_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    y_t = S_t q_t

Inside a chunk all writes are found at once by solving one triangular system; between chunks a recurrence.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import GatedDeltaNet
from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.mixer import Mixer, RMSNorm, ShortConvolution, linear, log_uniform_steps
from l2m_design.model.ssm import DT_FLOOR, DT_RANGE, Recurrence, held_dtype, projected

A_RANGE = (1e-2, 16.0)


class DeltaMixer(Mixer):
    """Its state is a Recurrence with ssm [b h v k], the memory of each head."""

    def __init__(self, spec: GatedDeltaNet, width: int, out_scale: float = 1.0) -> None:
        super().__init__()
        self.spec, h = spec, spec.heads
        self.sizes = [h * spec.head_dim, h * spec.head_dim, h * spec.value_dim]
        self.into = linear(width, spec.convolved + h * spec.value_dim + 2 * h)
        self.conv = ShortConvolution(spec.convolved, spec.d_conv)
        self.norm = RMSNorm(spec.value_dim)
        self.out = linear(h * spec.value_dim, width, out_scale)
        self.dt_bias = nn.Parameter(log_uniform_steps(h, *DT_RANGE, DT_FLOOR))
        self.A_log = nn.Parameter(torch.empty(h).uniform_(*A_RANGE).log())

    def empty(self, batch: int) -> Recurrence:
        """Zeros."""
        spec = self.spec
        shape = (batch, spec.heads, spec.value_dim, spec.head_dim)
        return Recurrence(self.A_log.new_zeros(shape, dtype=held_dtype(spec.state_dtype)), self.conv.empty(batch))

    def forward(self, x: Tensor, state: Recurrence) -> tuple[Tensor, Recurrence]:
        """See Mixer."""
        h = self.spec.heads
        *mixed, gate, write, step = projected(x, self.into, [*self.sizes, self.sizes[2], h, h])
        mixed, conv = self.conv(mixed, state.conv)
        query, key, value = (F.silu(z).float().unflatten(-1, (h, -1)) for z in mixed)
        with torch.autocast(x.device.type, enabled=False):
            log_decay = -self.A_log.float().exp() * F.softplus(step.float() + self.dt_bias)
            query = F.normalize(query, dim=-1) / math.sqrt(self.spec.head_dim)
            key = F.normalize(key, dim=-1)
            y, memory = delta_scan(query, key, value, write.float().sigmoid(), log_decay, state.ssm.float())
        y = self.norm(y.to(gate.dtype)) * F.silu(gate.unflatten(-1, (h, -1)))
        return self.out(y.flatten(-2)), Recurrence(memory.to(state.ssm.dtype), conv)


@torch.compiler.disable  # its loop over chunks would be unrolled
def delta_scan(
    query: Tensor, key: Tensor, value: Tensor, write: Tensor, log_decay: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """y [b t h v] and the last memory [b h v k].

    query, key [b t h k], value [b t h v], write (beta) and log_decay [b t h], start [b h v k].
    """
    t = query.shape[1]
    size = min(CHUNK, t)
    parts = [query, key, value, write[..., None], log_decay[..., None]]
    if padding := -t % size:
        parts = [F.pad(z, (0, 0, 0, 0, 0, padding)) for z in parts]
    parts = [z.unflatten(1, (-1, size)).transpose(2, 3) for z in parts]  # [b j h c .]
    query, key, value, write, log_decay = parts
    summed = log_decay[..., 0].cumsum(-1)
    decays = (summed[..., :, None] - summed[..., None, :]).tril().exp().tril()
    written = key * write
    mixing = (written @ key.transpose(-1, -2) * decays).tril(-1)
    grown = summed.exp()[..., None]
    sides = torch.cat([value * write, written * grown], dim=-1)
    solved = torch.linalg.solve_triangular(mixing, sides, upper=False, unitriangular=True)
    new_values, erased = solved.split([value.shape[-1], key.shape[-1]], dim=-1)
    to_end = (summed[..., -1:] - summed).exp()[..., None]
    total = summed[..., -1].exp()[..., None, None]
    added, before, memory = [], [], start.transpose(-1, -2)  # [b h k v]
    chunks = zip(*(z.unbind(1) for z in (new_values, erased, (key * to_end).transpose(-1, -2), total)), strict=True)
    for values, erase, keys, decay in chunks:
        before.append(memory)
        added.append(values - erase @ memory)
        memory = memory * decay + keys @ added[-1]
    weights = query @ key.transpose(-1, -2) * decays
    y = weights @ torch.stack(added, dim=1) + (query * grown) @ torch.stack(before, dim=1)
    return y.transpose(2, 3).flatten(1, 2)[:, :t], memory.transpose(-1, -2)
