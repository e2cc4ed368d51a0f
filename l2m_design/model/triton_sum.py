"""The smallest Triton kernel: does this machine compile one, and does it compute? Import it only where triton is."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def _add(a, b, y, n, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * block + tl.arange(0, block)
    there = at < n
    tl.store(y + at, tl.load(a + at, mask=there) + tl.load(b + at, mask=there), mask=there)


def triton_sum(a: Tensor, b: Tensor) -> Tensor:
    """[n] a + b of two contiguous vectors on a GPU."""
    y = torch.empty_like(a)
    _add[(triton.cdiv(len(a), BLOCK),)](a, b, y, len(a), block=BLOCK)
    return y
