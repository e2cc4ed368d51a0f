"""Decoding token by token from a state on: recorded once as a CUDA graph and replayed, where a model allows it.

A GPU waits for the launches of a step's many small kernels; a graph is one launch. A graph repeats what it recorded, so
that a step must depend on no number of the host: states of tensors alone, of fixed size, as those of Mamba-2 and Gated
DeltaNet. Attention counts positions and grows; such models step as they are.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from l2m_design.model.growing import with_room
from l2m_design.model.language import LanguageModel, State

WARM = 3  # steps before recording, in which libraries set themselves up
Decoder = Callable[[Tensor], Tensor]


def decoder(model: LanguageModel, state: State) -> Decoder:
    """Reads one token [b] of each sequence after the other, from `state` on; answers logits [b v_].

    By a graph where there is a GPU, the state is fixed and all kernels can be recorded; without gradient.
    """
    if model.embedding.weight.is_cuda and fixed(model, state):
        with contextlib.suppress(RuntimeError):  # a kernel that asks the host, or no memory for the recording
            return Graph(model, state)
    return Steps(model, state)


def fixed(model: LanguageModel, state: State) -> bool:
    """Does no step depend on a number of the host? True for states of tensors alone that a step leaves as large."""
    if not all(isinstance(part, Tensor) for part in _parts(state)):
        return False
    token = torch.zeros(len(next(_parts(state))), dtype=torch.long, device=model.embedding.weight.device)
    with torch.no_grad():
        _, after = model.advance(token, state)
    return [part.shape for part in _parts(state)] == [part.shape for part in _parts(after)]


class Steps:
    """The model's own steps."""

    def __init__(self, model: LanguageModel, state: State) -> None:
        self._model, self._state = model, with_room(state)

    def __call__(self, token: Tensor) -> Tensor:
        """[b] -> [b v_]."""
        logits, self._state = self._model.step(token, self._state)
        return logits


class Graph:
    """Steps recorded on the current GPU. Weights are read where they lie, so they may change; their shapes may not."""

    def __init__(self, model: LanguageModel, state: State) -> None:
        self._held = [part.clone() for part in _parts(state)]
        start = [part.clone() for part in self._held]
        self._state = _of(state, iter(self._held))
        self._token = torch.zeros(len(self._held[0]), dtype=torch.long, device=self._held[0].device)
        self._graph = torch.cuda.CUDAGraph()
        kind = self._token.device.type
        # what autocast caches would be freed when its context ends, and the graph would read it
        dtype, on = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        with torch.no_grad(), torch.autocast(kind, dtype, on, cache_enabled=False):
            self._warm(model)
            with torch.cuda.graph(self._graph):
                self._logits = self._step(model)
        self._put(start)

    def __call__(self, token: Tensor) -> Tensor:
        """[b] -> [b v_]."""
        self._token.copy_(token)
        self._graph.replay()
        return self._logits.clone()

    def _warm(self, model: LanguageModel) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self._step(model)
        torch.cuda.current_stream().wait_stream(side)

    def _step(self, model: LanguageModel) -> Tensor:
        logits, after = model.advance(self._token, self._state)
        self._put(_parts(after))
        return logits

    def _put(self, parts: Any) -> None:
        for held, part in zip(self._held, parts, strict=True):
            held.copy_(part)


def _parts(state: Any) -> Iterator[Any]:
    """What a state holds, in order."""
    if isinstance(state, tuple):
        for part in state:
            yield from _parts(part)
    elif state is not None:
        yield state


def _of(state: Any, parts: Iterator[Any]) -> Any:
    """A state of other parts."""
    if isinstance(state, tuple):
        made = [_of(part, parts) for part in state]
        return type(state)(*made) if hasattr(state, "_fields") else tuple(made)
    return None if state is None else next(parts)
