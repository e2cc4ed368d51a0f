"""Observed attention: how much of it each token of a window receives by age, and what a unit of it is worth.

One pass of an adopted model over a window with its full cache, and one back: the loss that follows if a token is not
read by a query is p/(1-p) · g · (o - v) to first order, p its attention, o what was read, g the gradient of the loss.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.errors import BadInput
from l2m_design.model.adopted import AdoptedModel, read_by, unturned
from l2m_design.model.ages import ages_of, by_age
from l2m_design.model.use import features

MOST_CERTAIN = 0.95  # of attention: a token read alone cannot be left out to first order
FEWEST_CHUNKS = 4
FIRST = 4  # tokens that draw attention whatever they are


class Observed(NamedTuple):
    """Of some tokens of a window, by kv head of the layers of full attention: features [h n f] (see use), attention
    mass a query [h n ages] by age (NaN where the window ends before), ages in chunks [ages]; the loss avoided and the
    mass received of all far tokens, summed [h].
    """

    features: Tensor
    mass: Tensor
    ages: Tensor
    worth: Tensor
    received: Tensor


def observe(adopted: AdoptedModel, tokens: Tensor, keep: int, rng: np.random.Generator) -> Observed:
    """Of `keep` tokens of one window [1 t], drawn at random."""
    chunk, whole = adopted.budget.chunk, adopted.shape.whole
    count = tokens.shape[1] // chunk
    if count < FEWEST_CHUNKS:
        raise BadInput(
            f"{tokens.shape[1]} tokens are fewer than {FEWEST_CHUNKS} chunks of {chunk}: give smaller chunks"
        )
    tokens = tokens[:, : count * chunk]
    drawn = np.sort(rng.choice(np.arange(FIRST, tokens.shape[1]), min(keep, tokens.shape[1] - FIRST), replace=False))
    reader = _Reader(adopted, torch.from_numpy(drawn).to(tokens.device), ages_of(count, tokens.device))
    embedded = adopted.model.get_input_embeddings()(tokens).detach().requires_grad_()
    with torch.enable_grad():
        logits = read_by(adopted.model, embedded, 0, reader)
        F.cross_entropy(logits[0, :-1].float(), tokens[0, 1:], reduction="sum").backward()
    found = [reader.found[layer] for layer in whole]
    parts = [
        torch.cat([each[name] for each in found]).float().cpu() for name in ("features", "mass", "worth", "received")
    ]
    return Observed(parts[0], parts[1], reader.ages.cpu(), parts[2], parts[3])


class _Reader:
    """Full attention that takes notes."""

    def __init__(self, adopted: AdoptedModel, drawn: Tensor, ages: Tensor) -> None:
        self.adopted, self.drawn, self.ages = adopted, drawn, ages
        self.found: dict[int, dict[str, Tensor]] = {}

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See Reader of the adopted model."""
        shape = self.adopted.shape
        if layer not in shape.whole:
            t = query.shape[2]
            mask = torch.ones(t, t, dtype=torch.bool, device=query.device).tril().triu(1 - shape.window)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
        plain = unturned(key.detach(), 0, self.adopted.rates[layer])[0, :, self.drawn]
        notes = _Notes(self.adopted.budget.chunk, scaling)
        y: Tensor = _Noted.apply(query, key, value, notes)
        mass = by_age(notes.found["attention"], self.drawn, self.ages)
        notes.found |= {"features": features(plain, value.detach()[0, :, self.drawn]), "mass": mass}
        del notes.found["attention"]
        self.found[layer] = notes.found
        return y


@dataclass
class _Notes:
    chunk: int
    scaling: float
    found: dict[str, Tensor] = field(default_factory=dict)


class _Noted(torch.autograd.Function):
    """Causal attention of one sequence, chunk by chunk of its queries; weights are computed anew on the way back."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, notes: _Notes) -> Tensor:
        chunk, scaling = notes.chunk, notes.scaling
        g, t = key.shape[1:3]
        attention = torch.zeros(g, t // chunk, t, device=key.device)
        outputs = []
        for number in range(t // chunk):
            weights = _weights(query, key, scaling, number, chunk)
            seen = weights.shape[-1]
            outputs.append(weights.flatten(1, 2) @ value[0, :, :seen])
            attention[:, number, :seen] = weights.mean(1).sum(1)
        y = torch.cat([each.unflatten(1, (-1, chunk)) for each in outputs], dim=2).flatten(0, 1)[None]
        ctx.save_for_backward(query, key, value, y)
        ctx.notes = notes
        far = _far(attention, chunk)
        notes.found |= {"attention": attention, "received": (attention * far).sum((1, 2))}
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, y = ctx.saved_tensors
        g, chunk, scaling = key.shape[1], ctx.notes.chunk, ctx.notes.scaling
        dquery, dkey, dvalue = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
        worth = torch.zeros(g, key.shape[2] // chunk, key.shape[2], device=key.device)
        for number in range(key.shape[2] // chunk):
            rows = slice(number * chunk, (number + 1) * chunk)
            weights = _weights(query, key, scaling, number, chunk)
            seen = weights.shape[-1]
            dy, own = (z[0, :, rows].unflatten(0, (g, -1)) for z in (gradients[0], y))
            dweights = dy @ value[0, :, None, :seen].transpose(-1, -2)
            missing = (dy * own).sum(-1, keepdim=True) - dweights
            worth[:, number, :seen] = (weights / (1 - weights).clamp(min=1 - MOST_CERTAIN) * missing).sum((1, 2))
            dlogits = (-weights * missing * scaling).flatten(1, 2)
            dquery[0, :, rows] = (dlogits @ key[0, :, :seen]).unflatten(1, (-1, chunk)).flatten(0, 1)
            dkey[0, :, :seen] += dlogits.transpose(1, 2) @ query[0, :, rows].unflatten(0, (g, -1)).flatten(1, 2)
            dvalue[0, :, :seen] += weights.flatten(1, 2).transpose(1, 2) @ dy.flatten(1, 2)
        ctx.notes.found["worth"] = (worth.abs() * _far(worth, chunk)).sum((1, 2))
        return dquery, dkey, dvalue, None


def _weights(query: Tensor, key: Tensor, scaling: float, number: int, chunk: int) -> Tensor:
    """[g h/g chunk seen] of the queries of one chunk."""
    g, seen = key.shape[1], (number + 1) * chunk
    rows = query[0, :, seen - chunk : seen].unflatten(0, (g, -1)) * scaling
    hidden = torch.ones(chunk, seen, dtype=torch.bool, device=key.device).triu(seen - chunk + 1)
    logits = (rows.flatten(1, 2) @ key[0, :, :seen].transpose(-1, -2)).unflatten(1, (-1, chunk))
    return logits.float().masked_fill(hidden, -torch.inf).softmax(-1).to(query.dtype)


def _far(z: Tensor, chunk: int) -> Tensor:
    """[chunks t] is the token at least two chunks old, and none of the first?"""
    chunks, t = z.shape[1:]
    at = torch.arange(t, device=z.device)
    return (torch.arange(chunks, device=z.device)[:, None] - at // chunk >= 2) & (at >= FIRST)
