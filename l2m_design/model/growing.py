"""Memory for keys and values that grow token by token. New ones are appended in place, so a step copies only these.

A state has memory for exactly its slots unless decoding asks for room (`with_room`): then for an eighth more, at least
LEAST slots. States stay values. Only the newest state of a room is continued in place; a step from an older state, as
another branch of the same text takes, copies it into a new room.
"""

from typing import Any

import torch
from torch import Tensor

SPARE = 8  # memory for an eighth more slots than are held,
LEAST = 16  # and for at least so many more


class Room:
    """Memory [b g slots k] for keys and values, with free slots at its end.

    held: views [b g s k] of it, the only keys and values that are continued in place. end: the number of slots written,
    including those that `held` has left behind.
    """

    @torch.no_grad()
    def __init__(self, keys: Tensor, values: Tensor, more: int = 1) -> None:
        self.end = keys.shape[2]
        size = _roomy(self.end + more)
        self._both = tuple(_longer(z, size) for z in (keys, values))
        key, value = (memory[:, :, : self.end] for memory in self._both)
        self.held = key, value

    def owns(self, keys: Tensor, values: Tensor) -> bool:
        """Are these the keys and values `held`?"""
        return keys is self.held[0] and values is self.held[1]

    def takes(self, keys: Tensor, values: Tensor, more: int) -> bool:
        """Can this many slots be written behind these keys and values?"""
        writable = torch.is_inference_mode_enabled() or not self._both[0].is_inference()
        return self.owns(keys, values) and writable and self.end + more <= self._both[0].shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append these [b g t k] to `held`, and return it."""
        first, after = self.end - self.held[0].shape[2], self.end + keys.shape[2]
        for memory, new in zip(self._both, (keys, values), strict=True):
            memory.data[:, :, self.end : after] = new  # the slots of earlier states, which autograd may need, stay
        key, value = (memory[:, :, first:after] for memory in self._both)
        self.held, self.end = (key, value), after
        return key, value

    def keeps(self, keys: Tensor, values: Tensor, last: tuple[Tensor, Tensor]) -> bool:
        """Hold only these last slots of the keys and values from now on; False if they are too few for this memory."""
        if not self.owns(keys, values) or self._both[0].shape[2] > _roomy(last[0].shape[2] + 1):
            return False
        self.held = last
        return True


def _roomy(slots: int) -> int:
    return slots + max(LEAST, slots // SPARE)


def _longer(z: Tensor, size: int) -> Tensor:
    memory = z.new_empty(*z.shape[:2], size, z.shape[3])
    memory[:, :, : z.shape[2]] = z
    return memory


def appended(
    held: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], room: Room | None
) -> tuple[Tensor, Tensor, Room | None]:
    """The new keys and values appended to those held: in a room if they had one and no gradients are needed."""
    alike = all(one.dtype == two.dtype for one, two in zip(held, new, strict=True))
    if room is None or torch.is_grad_enabled() or not alike:
        key, value = (torch.cat(pair, dim=2) for pair in zip(held, new, strict=True))
        return key, value, None
    more = new[0].shape[2]
    if not room.takes(*held, more):
        room = Room(*held, more)
    return *room.append(*new), room


def with_room(state: Any) -> Any:
    """The state of a model with room for keys and values to grow in place.

    A layer gets none while it holds nothing, if its heads compete, or if its state needs gradients.
    """
    if hasattr(state, "room"):
        growing = state.keys.shape[2] and not state.keys.requires_grad
        if state.room is not None or state.slots is not None or not growing:
            return state
        room = Room(state.keys, state.values)
        return state._replace(keys=room.held[0], values=room.held[1], room=room)
    return tuple(map(with_room, state)) if type(state) is tuple else state
