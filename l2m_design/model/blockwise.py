"""Softmax attention in blocks of queries that each read some of the keys: no square is made, nothing read is repeated.

A block reads a few keys from far, by index, and a run of neighbouring ones. Its gradient computes its weights again
from the saved logarithm of their sum (as in FlashAttention, arXiv 2205.14135), so memory is that of queries, keys and
values. On a CPU torch's own flash kernels compute a block; elsewhere three matrix products do.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

_FLASH: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
Weighed = Callable[[Tensor], None]  # of [b g n+columns]: see block_attention
_FLASH_BACK: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


class Block(NamedTuple):
    """Queries `rows` read the keys `far` [b or 1, g or 1, n] by index and those of `columns`.

    hidden: makes [.. rows n+columns], broadcast to [b g rows n+columns], True where a query does not read a key; or
    what is added to the scaled products, -inf there.
    """

    rows: slice
    far: Tensor | None
    columns: slice
    hidden: Callable[[], Tensor]

    def take(self, z: Tensor) -> Tensor:
        """[b g s .] -> [b g n+columns .], z contiguous."""
        if self.far is None:
            return z[:, :, self.columns]
        return z.flatten(0, 2).index_select(0, self._flat(z)).unflatten(0, (z.shape[0], z.shape[1], -1))

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add a gradient [b g n+columns .] of what `take` took to that of the whole [b g s .], contiguous."""
        if self.far is None:
            total[:, :, self.columns] += part
        else:
            total.view(-1, total.shape[-1]).index_add_(0, self._flat(total), part.flatten(0, 2))

    def _flat(self, z: Tensor) -> Tensor:
        """[b·g·(n+columns)] rows of z [b g s .] as a matrix."""
        assert self.far is not None
        b, g, s, _ = z.shape
        first = torch.arange(0, b * g * s, s, device=z.device).view(b, g, 1)
        near = torch.arange(self.columns.start, self.columns.stop, device=z.device)
        return torch.cat([first + self.far, first + near], dim=-1).flatten()


@torch.compiler.disable  # its loop would be unrolled
def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: Iterable[Block],
    weighed: Weighed | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """[b h t v] of query [b h t k] over key [b g s k], value [b g s v], h a multiple of g; blocks cover all queries.

    Products are taken in the values' dtype, the softmax in float32 at least. weighed: is called after each block, with
    the sum of the attention weights that each of its keys received. bias [b g blocks s]: is added to the scaled
    products of all queries of a block; such blocks read no key from far.
    """
    query, key, value = query.to(value.dtype), key.to(value.dtype).contiguous(), value.contiguous()
    with torch.autocast(query.device.type, enabled=False):
        return cast("Tensor", _Blockwise.apply(query, key, value, bias, blocks, weighed))


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        blocks: Iterable[Block],
        weighed: Weighed | None,
    ) -> Tensor:
        b, h, t, _ = query.shape
        g = key.shape[1]
        q = query.unflatten(1, (g, h // g))
        y = query.new_empty(b, g, h // g, t, value.shape[-1])
        log_sum = query.new_empty(b, g, h // g, t, dtype=torch.promote_types(query.dtype, torch.float32))
        read = _flash if bias is None and _flashes(key, value) else _plain
        ctx.blocks = []
        for block in blocks:
            rows = (..., block.rows, slice(None))
            inputs = _stack(q[rows]), block.take(key), block.take(value), _mask(block, h // g, bias, len(ctx.blocks))
            ctx.blocks.append(block)
            if weighed is None:
                out, total = read(*inputs)
            else:
                out, total, mass = _weighed(*inputs)
                weighed(mass)
            y[rows] = out.unflatten(2, (h // g, -1))
            log_sum[..., block.rows] = total.unflatten(2, (h // g, -1))
        ctx.save_for_backward(query, key, value, bias, y, log_sum)
        return y.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, y, log_sum = ctx.saved_tensors
        share = query.shape[1] // key.shape[1]
        q, dy = (z.unflatten(1, (-1, share)) for z in (query, gradients[0]))
        dquery, dkey, dvalue = torch.empty_like(q), torch.zeros_like(key), torch.zeros_like(value)
        dbias = None if bias is None else torch.zeros_like(bias)
        back = _flash_back if bias is None and _flashes(key, value) else _plain_back
        for number, block in enumerate(ctx.blocks):
            rows = (..., block.rows, slice(None))
            inputs = _stack(q[rows]), block.take(key), block.take(value), _mask(block, share, bias, number)
            given = _stack(dy[rows]), _stack(y[rows]), log_sum[..., block.rows].flatten(2)
            dq, dk, dv, dmask = back(*inputs, *given)
            if dbias is not None and dmask is not None:
                dbias[:, :, number, block.columns] = dmask
            dquery[rows] = dq.unflatten(2, (share, -1))
            block.give(dkey, dk)
            block.give(dvalue, dv)
        return dquery.flatten(1, 2), dkey, dvalue, dbias, None, None


def _stack(z: Tensor) -> Tensor:
    """[b g share rows .] -> [b g share·rows .]: the queries of a group of heads are one matrix."""
    return z.flatten(2, 3)


def _mask(block: Block, share: int, bias: Tensor | None, number: int) -> Tensor:
    """[. . share·rows columns]: what is hidden, or what is added, -inf where hidden."""
    hidden = block.hidden()
    hidden = hidden[(None,) * (4 - hidden.ndim)]
    hidden = hidden.repeat(1, 1, share, 1) if share > 1 else hidden
    return hidden if bias is None else torch.where(hidden, -torch.inf, bias[:, :, number, None, block.columns])


def _flashes(key: Tensor, value: Tensor) -> bool:
    """May torch's flash kernels for CPUs compute?"""
    return _FLASH is not None and key.device.type == "cpu" and key.shape[-1] == value.shape[-1]


def _additive(hidden: Tensor, like: Tensor) -> Tensor:
    if hidden.dtype != torch.bool:
        return hidden.to(like.dtype)
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(hidden, -torch.inf, zero)


def _flash(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """y [b g r v] and the log of the weights' sum [b g r]."""
    y, total = _FLASH(query, key, value, attn_mask=_additive(hidden, query))
    return y, total


def _flash_back(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, dy: Tensor, y: Tensor, total: Tensor
) -> tuple[Tensor, Tensor, Tensor, None]:
    """Gradients of query, key, value; none of the mask."""
    mask = _additive(hidden, query)
    # the kernel reads the sums as it wrote them: [b r g] in memory
    total = total.transpose(1, 2).contiguous().transpose(1, 2)
    dq, dk, dv = _FLASH_BACK(dy, query, key, value, y, total, 0.0, False, attn_mask=mask)
    return dq, dk, dv, None


def _plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """See _flash."""
    weights, total = _softmax(_scores(query, key, mask))
    return weights.to(value.dtype) @ value, total


def _weighed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See _flash; and the weight [b g s] that each key received from all queries."""
    weights, total = _softmax(_scores(query, key, mask))
    return weights.to(value.dtype) @ value, total, weights.sum(2)


def _softmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The weights, in place of the scores [b g r s], and the log of their sum [b g r]."""
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    return weights.div_(total), (top + total.log()).squeeze(-1)


def _plain_back(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dy: Tensor, y: Tensor, total: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See _flash_back; and the gradient [b g s] of what was added for each key, the sum over queries."""
    weights = _scores(query, key, mask).sub_(total[..., None]).exp_()
    dvalue = weights.to(value.dtype).transpose(-1, -2) @ dy
    along = (dy * y).sum(-1, dtype=total.dtype)
    dscores = (dy @ value.transpose(-1, -2)).to(weights.dtype).sub_(along[..., None]).mul_(weights)
    dmask = dscores.sum(2)
    dscores = dscores.mul_(1 / math.sqrt(query.shape[-1])).to(query.dtype)
    return dscores @ key, dscores.transpose(-1, -2) @ query, dvalue, dmask


def _scores(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """[b g r s] scaled products, -inf where a mask of truth values hides, or with the mask added."""
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores.masked_fill_(mask, -torch.inf) if mask.dtype == torch.bool else scores.add_(mask)
