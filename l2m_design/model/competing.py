"""Competing caches: the kv heads of a layer, or of all layers, share one budget of slots, so heads hold unlike numbers.

Slots are packed: those of one head after those of another, each head's in the order of time. Every sequence of a batch
has equally many slots in all, however they are spread.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.precision import wide
from l2m_design.model.rules import BIRTH, RECEIVED, Rule

Allocation = Literal["head", "layer", "model"]


class Slots(NamedTuple):
    """Packed slots of h kv heads: keys [b s k], values [b s v], records [b s r] (see rules), and how many slots each
    head has, counts [b h], int32.
    """

    keys: Tensor
    values: Tensor
    records: Tensor
    counts: Tensor

    def heads(self) -> Tensor:
        """[b s] the head of each slot."""
        b, h = self.counts.shape
        heads = torch.arange(h, device=self.counts.device).repeat(b)
        size = b * self.keys.shape[1]  # known: nothing waits for the device
        return heads.repeat_interleave(self.counts.flatten().long(), output_size=size).view(b, -1)


def no_slots(heads: int, key: Tensor, value_dim: int, width: int) -> Slots:
    """Nothing cached yet, with records of `width`; `key` [b ... k] says batch, dtype and device."""
    batch = len(key)
    keys = key.new_zeros(batch, 0, key.shape[-1])
    records = torch.zeros(batch, 0, width, device=key.device)
    counts = torch.zeros(batch, heads, dtype=torch.int32, device=key.device)
    return Slots(keys, key.new_zeros(batch, 0, value_dim), records, counts)


class Contest(NamedTuple):
    """As chunk number `current` of `chunk` tokens begins, every `rivals` neighbouring heads share `slots` slots; each
    head's first `sinks` tokens always stay.
    """

    rivals: int
    slots: int
    current: int
    chunk: int
    sinks: int


def compete(slots: Slots, aged: Slots, rule: Rule, contest: Contest) -> Slots:
    """What stays of the slots and of a chunk that has aged, equally many tokens of each head."""
    groups = slots.counts.shape[1] // contest.rivals

    def grouped(old: Tensor, new: Tensor) -> Tensor:
        """[b groups n .]: the slots of each group of rivals, then what has aged."""
        return torch.cat([z.reshape(len(z), groups, z.shape[1] // groups, *z.shape[2:]) for z in (old, new)], dim=2)

    both = [grouped(old, new) for old, new in zip(slots[:3], aged[:3], strict=True)]
    heads = grouped(slots.heads(), aged.heads())
    with torch.no_grad():
        scores = rule.scores(both[2].flatten(1, 2), heads.flatten(1, 2), contest.current, contest.chunk)
    first = grouped(*first_tokens(slots, aged, contest))
    scores = scores.view_as(first).masked_fill(first, torch.inf)
    best = best_of(scores, contest)
    staying = best.gather(2, (heads.gather(2, best) * scores.shape[-1] + best).argsort(dim=-1))  # by head, then time
    own = heads.gather(2, staying).flatten(1)
    kept = [z.gather(2, staying[..., None].expand(-1, -1, -1, z.shape[-1])).flatten(1, 2) for z in both]
    counts = torch.zeros_like(slots.counts, dtype=torch.int64).scatter_add_(1, own, torch.ones_like(own))
    return Slots(kept[0], kept[1], kept[2], counts.int())


def best_of(scores: Tensor, contest: Contest) -> Tensor:
    """[b groups m] places of the best of each group, by scores [b groups n], in any order; of equals, the first."""
    stay, n = contest.slots, scores.shape[-1]
    if stay >= n:
        return torch.arange(n, device=scores.device).expand(scores.shape)
    if scores.device.type != "cpu":  # the host of a GPU would wait for the places
        return scores.argsort(dim=-1, descending=True, stable=True)[..., :stay]
    scores = scores.nan_to_num(torch.inf, torch.inf, -torch.inf)
    last = scores.topk(n - stay, largest=False).values.amax(-1, keepdim=True)  # few go: cheaper than to sort all
    better, equal = scores > last, scores == last
    better |= equal & (equal.cumsum(-1) <= stay - better.sum(-1, keepdim=True))
    return _places(better)


def ascending(places: Tensor, n: int) -> Tensor:
    """Different places [b groups m] below n in each group, in order."""
    if places.device.type != "cpu":
        return places.sort(dim=-1).values
    chosen = torch.zeros(*places.shape[:-1], n, dtype=torch.bool)
    return _places(chosen.scatter_(-1, places, True))


def _places(chosen: Tensor) -> Tensor:
    """[.. m] where chosen [.. n] is True, as often in every row."""
    return chosen.nonzero()[:, -1].view(*chosen.shape[:-1], -1)


def remembered(records: Tensor, memory: float) -> Tensor:
    """Records [... r] of whose attention received this share still counts."""
    if memory == 1:
        return records
    return torch.cat([records[..., :RECEIVED], records[..., RECEIVED:BIRTH] * memory, records[..., BIRTH:]], dim=-1)


def first_tokens(slots: Slots, aged: Slots, contest: Contest) -> tuple[Tensor, Tensor]:
    """Of slots [b n] and of a chunk that has aged: is it one of its head's first tokens? These came first and always
    stay, so each head begins with them.
    """
    places = []
    for part in (slots, aged):
        begins = (part.counts.long().cumsum(1) - part.counts).gather(1, part.heads())
        places.append(torch.arange(part.keys.shape[1], device=begins.device) - begins)
    return places[0] < contest.sinks, places[1] + aged.records[..., BIRTH] * contest.chunk < contest.sinks


class Far(NamedTuple):
    """Where attention finds the slots of one layer: packed slots, the place of every head's first [b][h + 1], and the
    layer's first head.
    """

    slots: Slots
    starts: list[list[int]]
    first: int


def starts(slots: Slots) -> list[list[int]]:
    """[b][h + 1] places where heads begin, and the end."""
    return F.pad(slots.counts.long().cumsum(1), (1, 0)).tolist()


def ragged_attention(
    query: Tensor, far: Far, near: tuple[Tensor, Tensor], scaling: float
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Attention [b h t v] of queries [b h t k] over a layer's slots and all of the near keys and values [b g n .], the
    last t of which are the queries' own; and the mass that slots (by sequence [s of the layer]) and near keys [b g n]
    got from all queries, the mean over the query heads of a group.
    """
    b, h, t, _ = query.shape
    g, n = near[0].shape[1:3]
    rows = (query * scaling).reshape(b, g, h // g * t, -1)
    hidden = torch.ones(t, n, dtype=torch.bool, device=query.device).triu(n - t + 1).repeat(h // g, 1)
    local = wide(rows @ near[0].transpose(-1, -2)).masked_fill(hidden, -torch.inf)
    outputs, far_mass, near_mass = [], [], []
    for row in range(b):
        masses = []
        for head in range(g):
            part = slice(*far.starts[row][far.first + head : far.first + head + 2])
            held = part.stop - part.start
            logits = torch.cat([wide(rows[row, head] @ far.slots.keys[row, part].T), local[row, head]], dim=-1)
            weights = logits.softmax(-1)
            mass = weights.detach().sum(0) * (g / h)
            masses.append(mass[:held])
            near_mass.append(mass[held:])
            weights = weights.to(query.dtype)
            outputs.append(weights[:, :held] @ far.slots.values[row, part] + weights[:, held:] @ near[1][row, head])
        far_mass.append(torch.cat(masses))
    return torch.stack(outputs).view(b, h, t, -1), far_mass, torch.stack(near_mass).view(b, g, n)
