"""Two rivals of the study of sparse caches, in a model that is not trained for them: slots that are means of many
tokens, and tokens that a recurrent state could not absorb.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.adopted import read_by, shape_of, unturned
from l2m_design.model.delta_rule import delta_scan, unit
from l2m_design.model.rules import ALL, BIRTH, Rule
from l2m_design.model.turned import rotary_rates, turned

WRITE = 0.5  # beta of the delta rule
LEAST = 1e-6


class Exceptions(Rule):
    """Tokens stay by what an associative state could not absorb, over their age: beta |v - S k| / age.

    S <- S + beta (v - S k) k^T is the delta rule (arXiv 2412.06464 without decay) over keys before rotation, scaled to
    length 1, and values of a kv head. Here it only ranks: queries cannot ask it, since the model was not trained with
    it, so beta is one number for all tokens. The state is kept in the rule: texts are read from their beginning, one
    batch at a time.
    """

    width = 3

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, Tensor] = {}

    @torch.no_grad()
    def records(self, key: Tensor, value: Tensor, seen: int, chunk: int, heads: slice = ALL) -> Tensor:
        """See Rule; ln of what was not absorbed is stored."""
        first = heads.start or 0
        start = self.states[first] if seen else key.new_zeros(*key.shape[:2], value.shape[-1], key.shape[-1])
        keys, values = unit(key.float()).transpose(1, 2), value.float().transpose(1, 2)
        write = torch.full(keys.shape[:3], WRITE)
        read, self.states[first] = delta_scan(keys, keys, values, write, torch.zeros_like(write), start)
        missed = (values - read).norm(dim=-1).transpose(1, 2) * (WRITE / (1 - WRITE))  # read after the write
        return torch.cat([missed.clamp(min=LEAST).log()[..., None], super().records(key, value, seen, chunk)], dim=-1)

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        return records[..., 0] - (current - records[..., BIRTH]).log()


class Means(NamedTuple):
    """Slots of one layer, each the mean of some tokens: keys before rotation [b g n k], values [b g n v], positions
    [b g n], and of how many tokens [b g n].
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    counts: Tensor


def joined(slots: Means, aged: Means, room: int, sinks: int) -> Means:
    """Slots after tokens have aged (counts of 1): the `room` tokens whose nearest slot is farthest, by cosine of keys,
    append; each other one is added to the mean of its nearest slot, the new ones included. The first `sinks` slots take
    nothing.
    """
    alike = unit(aged.keys) @ unit(slots.keys[:, :, sinks:]).transpose(-1, -2)
    novelty = -alike.amax(-1) if alike.shape[-1] else torch.zeros_like(aged.counts)
    order = novelty.argsort(dim=-1, descending=True, stable=True)
    own, rest = (Means(*(_taken(z, places) for z in aged)) for places in (order[..., :room], order[..., room:]))
    slots = Means(*(torch.cat(pair, dim=2) for pair in zip(slots, own, strict=True)))
    nearest = sinks + (unit(rest.keys) @ unit(slots.keys[:, :, sinks:]).transpose(-1, -2)).argmax(-1)
    counts = slots.counts.scatter_add(2, nearest, rest.counts)

    def mean(held: Tensor, new: Tensor) -> Tensor:
        wide = slots.counts.view(*counts.shape, *[1] * (held.ndim - 3))
        index = nearest.view(*nearest.shape, *[1] * (held.ndim - 3)).expand_as(new)
        return (held * wide).scatter_add(2, index, new) / counts.view_as(wide)

    return Means(*(mean(held, new) for held, new in zip(slots[:3], rest[:3], strict=True)), counts)


def _taken(z: Tensor, places: Tensor) -> Tensor:
    return z.gather(2, places.view(*places.shape, *[1] * (z.ndim - 3)).expand(*places.shape, *z.shape[3:]))


class Merged:
    """A model of Hugging Face with a cache of means (after Key-Value Means, arXiv 2605.09877, whose models are trained
    for it): B(t) old slots a kv head, of which the share `recent` are the last tokens, one a slot; the own and the
    previous chunk are cached whole. A mean of n tokens is read with ln n added to its logit, at their mean position.
    """

    def __init__(self, model: Any, budget: GlobalBudget, recent: float = 0.0) -> None:
        self.model, self.budget, self.recent = model.eval(), budget, recent
        self.shape, self.rates = shape_of(model), rotary_rates(model).float()

    @torch.no_grad()
    def prefill(
        self, tokens: Tensor, state: tuple[int, list[tuple[Means, Means]]] | None = None, last: bool = False
    ) -> tuple[Tensor, tuple[int, list[tuple[Means, Means]]]]:
        """Logits [b t v_] of tokens [b t], or of the last one [b 1 v_], and the state after them: tokens seen, and by
        layer the means and the last tokens.
        """
        seen, layers = state or (0, [(self._none(len(tokens)),) * 2] * len(self.shape.layers))
        logits, done = [], 0
        while done < tokens.shape[1]:
            piece = tokens[:, done : done + self.budget.chunk - seen % self.budget.chunk]
            held = [self._aged(seen, *layer) for layer in layers]
            after: list[tuple[Means, Means]] = []
            found = read_by(self.model, piece, seen, self._reader(seen, held, after), last)
            logits = [found] if last else [*logits, found]
            seen, layers, done = seen + piece.shape[1], after, done + piece.shape[1]
        return torch.cat(logits, dim=1), (seen, layers)

    def _none(self, batch: int) -> Means:
        none = torch.zeros(batch, self.shape.kv_heads, 0, self.shape.head_dim)
        return Means(none, none, none[..., 0], none[..., 0])

    def _aged(self, seen: int, means: Means, near: Means) -> tuple[Means, Means]:
        """As a chunk begins, the tokens older than the recent ones join the means."""
        c = self.budget.chunk
        current, inside = divmod(seen, c)
        if inside or current < 2:
            return means, near
        slots = self.budget.budget(current)
        recent = int(self.recent * slots) // c * c
        old = near.counts.shape[2] - c - recent
        if old <= 0:
            return means, near
        aged, near = (Means(*(z[:, :, part] for z in near)) for part in (slice(old), slice(old, None)))
        room = max(0, min(old, slots - recent - means.counts.shape[2]))
        return joined(means, aged, room, self.budget.sinks), near

    def _reader(self, seen: int, held: list[tuple[Means, Means]], after: list[tuple[Means, Means]]) -> Any:
        def reader(layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
            b, g, t, _ = key.shape
            at = torch.arange(seen, seen + t).float().expand(b, g, t)
            new = Means(unturned(key, seen, self.rates[layer]), value, at, torch.ones(b, g, t))
            means, near = held[layer]
            near = Means(*(torch.cat(pair, dim=2) for pair in zip(near, new, strict=True)))
            after.append((means, near))
            every = Means(*(torch.cat(pair, dim=2) for pair in zip(means, near, strict=True)))
            keys = turned(every.keys, every.positions[..., None], self.rates[layer])
            n = keys.shape[2]
            hidden = torch.ones(t, n, dtype=torch.bool).triu(n - t + 1)
            bias = every.counts.log()[:, :, None].expand(b, g, t, n).masked_fill(hidden, -torch.inf)
            bias = bias.repeat_interleave(query.shape[1] // g, dim=1)
            return F.scaled_dot_product_attention(
                query, keys, every.values, attn_mask=bias, scale=scaling, enable_gqa=True
            )

        return reader
