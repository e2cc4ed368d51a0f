"""Losses in a card's provenance: those of the weights that lie beside it, and no others."""

from pathlib import Path
from typing import Any

import numpy as np

from l2m_design.settings import read_mapping
from l2m_design.training.result import RESULT, interval_of_mean

LOSSES = {
    "loss": "late loss (validation)",
    "test_loss": "late loss (test)",
    "difference": "late loss minus full attention's",
    "mi_captured_nats": "mutual information captured between a window's halves",
}


def of_these_weights(provenance: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """The provenance with losses of the given weights alone; those of the design, under other weights, apart."""
    others = {key: provenance[key] for key in LOSSES if provenance.get(key) is not None}
    kept = {key: value for key, value in provenance.items() if key not in (*LOSSES, "result")}
    return kept | ({"other_weights": others} if others else {}) | measured(weights)


def measured(weights: Path | None) -> dict[str, Any]:
    """What `l2m train` found with these weights: the result.json beside them, losses with intervals over documents."""
    path = weights and weights.parent / RESULT
    if not path or not path.exists():
        return {}
    result = read_mapping(path)
    found = {"result": path.name} | {
        key: result[key] for key in ("corpus", "recipe", "mi_captured_nats") if key in result
    }
    for key, documents in (("loss", "late_by_document"), ("test_loss", "test_late_by_document")):
        if values := result.get(documents):
            found[key] = interval_of_mean(np.array(values)).plain()
    return found
