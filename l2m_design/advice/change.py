"""Change: layers that would keep otherwise, and how the condition would then answer."""

from dataclasses import dataclass
from typing import Literal

from l2m_design.advice.stack import Stack
from l2m_design.condition import Demand
from l2m_design.settings import Json

To = Literal[
    "window",
    "fixed",
    "sparse",
    "shorter_window",
    "smaller_state",
    "full",
    "longer_window",
    "larger_budget",
    "larger_state",
    "larger_all",
]


@dataclass(frozen=True)
class Change:
    """What `layers` (numbers from 0) become, and the stack that results.

    window, fixed: what growing layers may become. sparse: t^exponent keys. full: full attention. shorter_window:
    windows that may be shorter. smaller_state: recurrences whose state may be `factor` times as large. longer_window,
    larger_budget, larger_state: more of what they are; larger_all: every layer's state times `factor`. window_tokens:
    tokens that each window holds. fixed_elements: of each fixed state. exponent, keep: of the budget. slot_elements: a
    token, in layers that had no keys. thinned: growing layers that then cache t^exponent keys only.
    """

    to: To
    layers: tuple[int, ...]
    after: Stack
    window_tokens: int | None = None
    fixed_elements: int | None = None
    exponent: float | None = None
    keep: float | None = None
    factor: float | None = None
    slot_elements: int | None = None
    thinned: tuple[int, ...] = ()

    def elements(self, demand: Demand) -> int:
        """State elements at the target, after it."""
        return self.after.state.elements(demand.terms.length)

    def plain(self, demand: Demand) -> Json:
        """JSON-ready, with the answer after the change at the target."""
        terms, state = demand.terms, self.after.state
        return {
            "to": self.to,
            "layers": list(self.layers),
            "window_tokens": self.window_tokens,
            "fixed_elements": self.fixed_elements,
            "exponent": self.exponent,
            "keep": self.keep,
            "factor": self.factor,
            "slot_elements": self.slot_elements,
            "thinned_layers": list(self.thinned),
            "state_elements": state.elements(terms.length),
            "state_bytes": state.bytes(terms.length, terms.dtypes),
            "meets_growth": demand.grows(state),
            "meets_level": self.after.covers(demand) if demand.has_level else None,
            "meets": self.after.meets(demand),
            "enough_state": enough.answer if (enough := demand.enough(state)) else None,
        }
