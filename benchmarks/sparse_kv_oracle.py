"""An oracle for the study of sparse caches: it knows what attention each token will receive from the full cache."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.model.adopted import read_by
from l2m_design.model.rules import ALL, Rule


class Oracle(Rule):
    """Tokens stay by the most loss they will avoid a chunk, over the best number of chunks to come: the mean over the
    next n chunks of attention received times the head's worth, the greatest over n.

    mass [b h t chunks]: attention that each token gets from the queries of each chunk; ln_worth [h].
    """

    width = 3

    def __init__(self, mass: Tensor, ln_worth: Tensor) -> None:
        super().__init__()
        self.mass, self.ln_worth = mass, ln_worth

    @torch.no_grad()
    def records(self, key: Tensor, value: Tensor, seen: int, chunk: int, heads: slice = ALL) -> Tensor:
        """See Rule; the token's place in the text is stored."""
        plain = super().records(key, value, seen, chunk, heads)
        place = torch.arange(seen, seen + key.shape[2]).float().expand(plain.shape[:3])
        return torch.cat([place[..., None], plain], dim=-1)

    def scores(self, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
        """See Rule."""
        found = []
        for row, (place, head) in enumerate(zip(records[..., 0].long(), heads, strict=True)):
            coming = self.mass[row][head, place, current:]
            means = coming.cumsum(-1) / torch.arange(1, coming.shape[-1] + 1)
            found.append(means.amax(-1).clamp(min=1e-12).log() + self.ln_worth[head])
        return torch.stack(found)


@torch.no_grad()
def future_attention(model: Any, tokens: Tensor, chunk: int) -> Tensor:
    """[b h t chunks] attention that tokens [b t] get from all queries of each chunk, the mean over query heads, by kv
    head of all layers; the model reads with its full cache.
    """
    found: list[Tensor] = []

    def reader(layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        b, g, t, _ = key.shape
        received, outputs = torch.zeros(b, g, t, -(-t // chunk)), []
        for number, rows in enumerate((query * scaling).unflatten(1, (g, -1)).split(chunk, dim=3)):
            seen = number * chunk + rows.shape[3]
            hidden = torch.ones(rows.shape[3], seen, dtype=torch.bool).triu(number * chunk + 1)
            logits = rows @ key[:, :, None, :seen].transpose(-1, -2)
            weights = logits.masked_fill(hidden, -torch.inf).softmax(-1)
            outputs.append(weights @ value[:, :, None, :seen])
            received[:, :, :seen, number] = weights.mean(2).sum(2)
        found.append(received)
        return torch.cat(outputs, dim=3).flatten(1, 2)

    read_by(model, tokens, 0, reader, last=True)
    return torch.cat(found, dim=1)
