"""Losses in a card's provenance: those of the weights that lie beside it, and no others."""

from pathlib import Path
from typing import Literal

import numpy as np

from l2m_design.export.card import Losses, Provenance
from l2m_design.settings import read_mapping
from l2m_design.training.result import RESULT, interval_of_mean

LOSSES: dict[Literal["loss", "test_loss", "difference", "mi_captured_nats"], str] = {
    "loss": "late loss (validation)",
    "test_loss": "late loss (test)",
    "difference": "late loss minus that of full attention",
    "mi_captured_nats": "mutual information captured between the halves of a window",
}


def of_these_weights(provenance: Provenance, weights: Path | None) -> Provenance:
    """The provenance with losses of the given weights alone; those of the design, under other weights, apart."""
    kept: Provenance = {**provenance}
    others: Losses = {}
    for key in LOSSES:
        if (nats := kept.pop(key, None)) is not None:
            others[key] = nats
    kept.pop("result", None)
    if others:
        kept["other_weights"] = others
    return {**kept, **measured(weights)}


def measured(weights: Path | None) -> Provenance:
    """What `l2m train` found with these weights: the result.json beside them, losses with intervals over documents."""
    path = weights and weights.parent / RESULT
    if not path or not path.exists():
        return {}
    result = read_mapping(path)
    found: Provenance = {"result": path.name}
    if "corpus" in result:
        found["corpus"] = result["corpus"]
    if "recipe" in result:
        found["recipe"] = result["recipe"]
    if "mi_captured_nats" in result:
        found["mi_captured_nats"] = result["mi_captured_nats"]
    if values := result.get("late_by_document"):
        found["loss"] = interval_of_mean(np.array(values)).plain()
    if values := result.get("test_late_by_document"):
        found["test_loss"] = interval_of_mean(np.array(values)).plain()
    return found
