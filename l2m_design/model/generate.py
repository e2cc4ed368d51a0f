"""Generation: continue prompts of different lengths in one batch, each with exactly its own state.

All rows have read the same number of tokens at any time: prompts are read together up to the shortest, from there on
a row takes its own next prompt token while it has one and a sampled one after. Nothing is padded, so nothing that is
not the text's enters a state.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from l2m_design.errors import BadInput, WorkFailed
from l2m_design.model.growing import Room, with_room


class Decoder(Protocol):
    """What can be generated with (see LanguageModel)."""

    def prefill(self, tokens: Tensor, state: Any = None, last: bool = False) -> tuple[Tensor, Any]:
        """Logits [b t v_], or of the last token only [b 1 v_], and the state after tokens [b t]."""
        ...

    def check(self, tokens: Tensor) -> None:
        """Raises BadInput when tokens [b t] cannot be read."""
        ...


class Sampling(NamedTuple):
    """How tokens are drawn. temperature: 0 takes the likeliest token; then a row is what it would be alone (sampling
    shares one generator). top_p: from the smallest set of tokens that holds this much probability. stop: a row ends
    before this token, which is not returned.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    stop: int | None = None
    generator: torch.Generator | None = None


@torch.inference_mode()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    most: int,
    device: torch.device,
    sampling: Sampling = Sampling(),  # noqa: B008 - a tuple
) -> list[list[int]]:
    """Up to `most` new tokens for each prompt.

    Raises BadInput for an empty prompt or a setting out of range, WorkFailed when logits are not finite.
    """
    temperature, top_p, stop, generator = sampling
    _check(most, temperature, top_p, stop)
    texts = [_tokens(index, prompt) for index, prompt in enumerate(prompts)]
    for text in texts:
        model.check(torch.tensor([text]))
    written: list[list[int]] = [[] for _ in texts]
    rows, read, state, logits = list(range(len(prompts))), 0, None, torch.empty(0)
    while rows and most:
        ahead = min(len(texts[row]) for row in rows) - read
        if not ahead:
            taking = [place for place, row in enumerate(rows) if len(texts[row]) == read]
            chosen = dict(zip(taking, sample(logits[taking], temperature, top_p, generator).tolist(), strict=True))
            going = []
            for place, row in enumerate(rows):
                if place not in chosen:
                    going.append(place)
                elif chosen[place] != stop:
                    written[row].append(chosen[place])
                    texts[row].append(chosen[place])
                    if len(written[row]) < most:
                        going.append(place)
            state = state if len(going) == len(rows) else select_rows(state, going)
            rows = [rows[place] for place in going]
            continue
        tokens = torch.tensor([texts[row][read : read + ahead] for row in rows], device=device)
        logits, state = model.prefill(tokens, state, last=True)
        logits, state, read = logits[:, -1], with_room(state), read + ahead
    return written


def sample(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> Tensor:
    """[b] tokens drawn from logits [b v_]."""
    if not torch.isfinite(logits).all():
        raise WorkFailed(
            "the model's logits are not finite: its weights contain NaN or infinities, or its activations overflow"
        )
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.double()
    shares = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)
    if top_p < 1:
        ordered, tokens = shares.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0  # the first is always kept
        shares = torch.zeros_like(shares).scatter_(-1, tokens, ordered)
    return torch.multinomial(shares, 1, generator=generator)[:, 0]


def select_rows(state: Any, rows: list[int]) -> Any:
    """The state of some sequences of a batch, in memory of its own."""
    if isinstance(state, Room):
        return None
    if isinstance(state, Tensor):
        return state[rows]
    if isinstance(state, tuple):
        parts = [select_rows(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def _tokens(index: int, prompt: Any) -> list[int]:
    """A prompt as a list of integers. Raises BadInput."""
    found = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise BadInput(f"prompt {index}: must be a list of tokens, found {prompt!r:.40}")
    if not found:
        raise BadInput(f"prompt {index}: is empty; give at least one token")
    for token in found:
        if not isinstance(token, Integral) or not -(2**31) <= int(token) < 2**31:
            raise BadInput(f"prompt {index}: tokens must be integers, found {token!r:.40}")
    return [int(token) for token in found]


def _check(most: Any, temperature: Any, top_p: Any, stop: Any) -> None:
    if not isinstance(most, Integral) or most < 0:
        raise BadInput(f"most ({most}): must be the number of new tokens, an integer of 0 or more")
    if not isinstance(temperature, Real) or not 0 <= float(temperature) < math.inf:
        raise BadInput(f"temperature ({temperature}): must be 0 or more; 0 always takes the most probable token")
    if not isinstance(top_p, Real) or not 0 < float(top_p) <= 1:
        raise BadInput(f"top_p ({top_p}): must be above 0 and at most 1")
    if stop is not None and not isinstance(stop, Integral):
        raise BadInput(f"stop ({stop!r}): must be one token, or None")
