"""Pooled slots: the kv heads of several layers of a planned model compete for one budget, the sum of their own."""

import torch
from torch import Tensor, nn

from l2m_design.architecture.plans import Kept
from l2m_design.model.competing import Contest, Slots, compete, no_slots, remembered
from l2m_design.model.rules import RECEIVED
from l2m_design.model.use import Use

Near = tuple[Tensor, Tensor, Tensor]  # keys, values [b g n d] and records [b g n r] of the own and the previous chunk


class Pool(nn.Module):
    """What groups of kv heads, sizes[i] of them keeping kept[i], compete for. rule: over all of them, in that order.

    All groups have the same chunks and sinks.
    """

    def __init__(self, sizes: list[int], kept: list[Kept], rule: Use) -> None:
        super().__init__()
        self.sizes, self.kept, self.rule = sizes, kept, rule
        self.chunk, self.sinks = kept[0].chunk, kept[0].sinks

    def empty(self, like: Tensor) -> Slots:
        """Nothing cached yet; like: [b h 0 d] of any number of heads."""
        return no_slots(sum(self.sizes), like, like.shape[-1], self.rule.width)

    def slots(self, current: int) -> int:
        """Slots of all heads together, as chunk number `current` begins."""
        return sum(size * kept.budget.budget(current) for size, kept in zip(self.sizes, self.kept, strict=True))

    def evicted(self, slots: Slots, near: list[Near], seen: int) -> tuple[Slots, list[Near]]:
        """What stays as a chunk begins: the chunk before the previous one competes with what is cached."""
        c = self.chunk
        current, inside = divmod(seen, c)
        if inside or current < 2:
            return slots, near
        keys, values, records = (torch.cat([z[:, :, :c] for z in part], 1) for part in zip(*near, strict=True))
        counts = slots.counts.new_full(keys.shape[:2], c)
        aged = Slots(keys.flatten(1, 2), values.flatten(1, 2), records.flatten(1, 2), counts)
        contest = Contest(sum(self.sizes), self.slots(current), current, c, self.sinks)
        staying = compete(slots, aged, self.rule, contest)
        return staying._replace(records=remembered(staying.records, self.rule.memory)), [
            (keys[:, :, c:], values[:, :, c:], remembered(records[:, :, c:], self.rule.memory))
            for keys, values, records in near
        ]

    def attended(self, slots: Slots, received: list[list[Tensor]]) -> Slots:
        """Slots of a piece that was read; received: of every group, by sequence, the attention that its slots got."""
        records = slots.records.clone()
        records[..., RECEIVED] += torch.stack([torch.cat(rows) for rows in zip(*received, strict=True)])
        return slots._replace(records=records)
