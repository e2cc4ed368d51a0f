"""Finalists: who is on the front, who is chosen, and how each differs from full attention."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from l2m_design.search.known import REFERENCE
from l2m_design.search.record import Record
from l2m_design.training.result import interval_of_mean, paired_difference


def eligible(records: Iterable[Record]) -> list[Record]:
    """Complete, feasible trials, each drawing once."""
    return [r for r in records if r.state == "complete" and r.feasible and r.copy_of is None]


def front(records: Iterable[Record]) -> list[Record]:
    """Eligible trials that no other beats in both late loss and state bytes, by state bytes."""
    best: list[Record] = []
    for record in sorted(eligible(records), key=lambda r: (r.state_bytes, r.late_loss)):
        if not best or (record.late_loss or 0) < (best[-1].late_loss or 0):
            best.append(record)
    return best


def choose(records: Iterable[Record]) -> Record | None:
    """The eligible trial of the least penalised loss; of equals, the smaller state."""
    ranked = sorted(eligible(records), key=lambda r: (r.value, r.state_bytes))
    return ranked[0] if ranked else None


def baselines(records: Iterable[Record]) -> list[Record]:
    """The known designs, trained whether feasible or not."""
    return [r for r in records if r.design]


def row(record: Record, reference: Record | None) -> dict[str, Any]:
    """A line of the result tables, JSON-ready.

    loss: late loss on validation documents. test_loss: on test documents, with interval; difference: test
    loss minus full attention's, paired over documents. Losses in nats a token.
    """
    outcome, rival = record.outcome, reference.outcome if reference else None
    test = interval_of_mean(np.array(outcome.test_late_by_document)) if outcome else None
    paired = (
        paired_difference(outcome.test_late_by_document, rival.test_late_by_document) if outcome and rival else None
    )
    return {
        "trial": record.number,
        "design": record.design,
        "picture": record.picture,
        "architecture": record.architecture,
        "fingerprint": record.fingerprint,
        "parameters": record.parameters,
        "state": record.state,
        "feasible": record.feasible,
        "objective": record.value,
        "loss": record.late_loss,
        "test_loss": test.plain() if test else None,
        "difference": paired.plain() if paired else None,
        "mi_captured_nats": outcome.mi_captured_nats if outcome else None,
        "state_bytes": record.state_bytes,
        "growth_exponent": record.verdict["growth_exponent"],
        "meets_growth": record.verdict["meets_growth"],
        "meets_level": record.verdict["meets_level"],
        "reach_tokens": record.verdict["reach_tokens"],
        "reason": record.reason,
    }


def reference_of(records: Iterable[Record]) -> Record | None:
    """The complete trial of full attention, if there is one."""
    return next((r for r in records if r.design == REFERENCE and r.state == "complete"), None)
