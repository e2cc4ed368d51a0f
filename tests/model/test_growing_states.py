"""State spaces whose state grows, against their definitions: every pair of tokens, every copy, one token at a time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import CheckpointedSSM, LogLinear, Mamba2
from l2m_design.model import checkpointed
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.fenwick import blocks, tree
from tests.model.test_scans import close, selected

CUTS = pytest.mark.parametrize("cuts", [[1], [64], [330], [65, 1, 62, 1, 201], [20, 44, 192, 64, 10]], ids=str)


def assert_defined(mixer: Any, define: Callable[[Tensor], Tensor], cuts: list[int]) -> None:
    """What a mixer reads in pieces, and all gradients, are those of its definition of the whole."""
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64).requires_grad_()
    state, pieces = mixer.empty(2), []
    for piece in x.split(cuts, dim=1):
        y, state = mixer(piece, state)
        pieces.append(y)
    inputs = [x, *mixer.parameters()]
    results = [
        [y, *torch.autograd.grad(y.cos().sum(), inputs, materialize_grads=True)]
        for y in (torch.cat(pieces, dim=1), define(x))
    ]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-7)


@CUTS
@pytest.mark.parametrize(("levels", "groups"), [(6, 1), (16, 2)])
def test_log_linear_equals_a_sum_over_all_pairs(cuts: list[int], levels: int, groups: int) -> None:
    torch.manual_seed(0)
    mixer: Any = build_mixer(LogLinear(d_state=5, head_dim=4, levels=levels, groups=groups), 16).double()
    with torch.no_grad():
        mixer.level_weights.weight.mul_(20)

    def define(x: Tensor) -> Tensor:
        new, B, C, log_decay = selected(mixer, x)
        weights = F.softplus(mixer.level_weights(x) + mixer.level_bias).unflatten(-1, (8, levels))
        level = [[min((t ^ s).bit_length(), levels - 1) for s in range(x.shape[1])] for t in range(x.shape[1])]
        share = weights.transpose(1, 2).gather(-1, torch.tensor(level).expand(2, 8, -1, -1))
        summed = log_decay.cumsum(1).transpose(1, 2)
        share = share * (summed[..., :, None] - summed[..., None, :]).tril().exp().tril()
        share = share * (C.transpose(1, 2) @ B.permute(0, 2, 3, 1))
        y = share @ (new.values * new.dt[..., None]).transpose(1, 2)
        return close(mixer, y.transpose(1, 2), new)

    assert_defined(mixer, define, cuts)


@CUTS
@pytest.mark.parametrize(("exponent", "keep", "groups"), [(0.5, 1.0, 1), (0.8, 0.5, 2), (1.0, 0.2, 1)])
def test_a_checkpointed_state_space_equals_its_definition(
    monkeypatch: pytest.MonkeyPatch, cuts: list[int], exponent: float, keep: float, groups: int
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(checkpointed, "AT_ONCE", 1000)  # several blocks of tokens, and of copies
    spec = CheckpointedSSM(d_state=5, head_dim=4, exponent=exponent, keep=keep, groups=groups)
    mixer: Any = build_mixer(spec, 16).double()

    def define(x: Tensor) -> Tensor:
        new, B, C, log_decay = selected(mixer, x)
        query = mixer.query(x).unflatten(-1, (8, 4))
        state, copies, y = x.new_zeros(2, 8, 4, 5), [], []
        for t in range(x.shape[1]):
            added = (new.dt[:, t, :, None] * new.values[:, t])[..., None] * B[:, t, :, None]
            state = state * log_decay[:, t].exp()[..., None, None] + added
            y.append((state * C[:, t, :, None]).sum(-1))
            if copies:
                reads = (torch.stack(copies) * C[:, t, :, None]).sum(-1)
                logits = (mixer.read_norm(reads) * query[:, t]).sum(-1) / math.sqrt(4)
                shares = F.pad(logits, (0, 0, 0, 0, 0, 1)).softmax(0)[:-1]
                y[-1] = y[-1] + (shares[..., None] * reads).sum(0)
            if math.floor(keep * (t + 1) ** exponent + 1e-9) > len(copies):
                copies.append(state)
        return close(mixer, torch.stack(y, dim=1), new)

    assert_defined(mixer, define, cuts)


def test_blocks_of_tokens_read_together_as_much_as_is_allowed_or_a_chunk() -> None:
    held = np.repeat(np.arange(10), 100)
    sizes = checkpointed._blocks(held, 2000)
    assert sum(sizes) == len(held)
    for size, end in zip(sizes, np.cumsum(sizes), strict=True):
        assert size * held[end - 1] <= 2000
        assert end == len(held) or (size + 1) * held[end] > 2000
    assert checkpointed._blocks(held, 1) == [100, *[64] * 14, 4]


@pytest.mark.parametrize("t", [0, 1, 2, 3, 12, 64, 1000, 1023])
def test_a_fenwick_tree_covers_the_past_by_one_block_a_bit(t: int) -> None:
    covered = [position for start, bit in blocks(t) for position in range(start, start + 2**bit)]
    assert covered == list(range(t))
    assert len(blocks(t)) == t.bit_count()


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 13), (5, 1), (6, 9), (31, 33)])
def test_chunks_read_the_blocks_of_a_fenwick_tree(first: int, count: int) -> None:
    for at in range(count + 1):
        read = []
        for bit, level in enumerate(tree(first, count)):
            even = first >> bit & ~1
            if at in level.readers:
                read.append(((even + level.blocks[level.readers.index(at)]) << bit, bit))
        assert read[::-1] == blocks(first + at)


def test_log_linear_starts_as_mamba2() -> None:
    torch.manual_seed(0)
    mixer: Any = build_mixer(LogLinear(d_state=5, head_dim=4), 16)
    plain: Any = build_mixer(Mamba2(d_state=5, head_dim=4), 16)
    with torch.no_grad():
        mixer.level_weights.weight.zero_()
        plain.load_state_dict({name: mixer.state_dict()[name] for name in plain.state_dict()})
        x = torch.randn(2, 100, 16)
        torch.testing.assert_close(mixer(x, mixer.empty(2))[0], plain(x, plain.empty(2))[0], atol=1e-5, rtol=0)
