"""Ranks: the processes that train one model together, each on its rows of every batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Ranks:
    """Which process this is (the first one leads) of how many; more than one need torch's default process group.

    shard: does each hold its part of the model alone (see sharding)?
    """

    rank: int = 0
    count: int = 1
    shard: bool = False

    @property
    def leads(self) -> bool:
        """Does this process evaluate, report and write?"""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's rows of so many, a multiple of the number of processes."""
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, the same in each."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def average(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Make gradients their mean over all processes; returns that of the loss.

        In one flattened piece, not by DistributedDataParallel: that waits for the gradients of its own forward pass,
        whereas scores train parameters outside of it, and only in some steps.
        """
        if self.count == 1:
            return loss
        if self.shard:  # gradients came together as each layer's were made
            return self.mean(loss)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([*(g.flatten() for g in gradients), loss.detach().view(1)]))
        for gradient, mean in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))
        return flat[-1]

    def answer(self, goes_on: bool, device: torch.device) -> bool:
        """What the first process says."""
        if self.count == 1:
            return goes_on
        flag = torch.tensor(float(goes_on), device=device)
        distributed.broadcast(flag, 0)
        return bool(flag)

    def agree(self, number: int, device: torch.device) -> bool:
        """Has every process the same number?"""
        if self.count == 1:
            return True
        both = torch.tensor([number, -number], device=device)
        distributed.all_reduce(both, distributed.ReduceOp.MAX)
        return int(both[0]) == -int(both[1])


ALONE = Ranks()
