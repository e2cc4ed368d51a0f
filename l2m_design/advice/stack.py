"""Stack: a model as a list of what its layers keep, whoever drew or published it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from l2m_design.advice.surgery import has_keys
from l2m_design.condition import Demand
from l2m_design.laws import StateLaw


@dataclass(frozen=True)
class Stack:
    """State laws of the layers, and `rest`: what the model keeps outside of them.

    slot: elements per token that a layer without keys of its own would keep as full attention.
    """

    layers: tuple[StateLaw, ...]
    slot: int
    rest: StateLaw = field(default_factory=StateLaw)

    @classmethod
    def of(cls, layers: tuple[StateLaw, ...], width: int, rest: StateLaw | None = None) -> "Stack":
        """Of a model of this width: its slot is that of its widest keys, else 2 · width."""
        own = (sum(term.elements for term in law.terms if has_keys(term)) for law in layers)
        return cls(layers, max(own, default=0) or 2 * width, rest or StateLaw())

    @cached_property
    def state(self) -> StateLaw:
        """The sum of all, terms that grow alike as one."""
        return StateLaw((*self.rest.terms, *(term for law in self.layers for term in law.terms))).merged()

    def changed(self, laws: Mapping[int, StateLaw]) -> "Stack":
        """The same with other laws in these layers (from 0)."""
        layers = tuple(laws.get(index, law) for index, law in enumerate(self.layers))
        return Stack(layers, self.slot, self.rest)

    def covers(self, demand: Demand) -> bool:
        """Is the level met up to the target?"""
        return demand.covers(self.state, demand.terms.length)

    def meets(self, demand: Demand) -> bool:
        """Are growth and level met?"""
        return demand.grows(self.state) and self.covers(demand)
