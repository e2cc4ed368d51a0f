"""The export of a study's chosen architecture beside its report."""

from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Terms
from l2m_design.export.card import card, write_card
from l2m_design.laws import PowerLaw

ROW = ("trial", "design", "rate", "seeds", "loss", "test_loss", "difference", "mi_captured_nats")


def write_chosen(summary: dict[str, Any], folder: Path) -> list[str]:
    """architecture.yaml and card.json of the chosen trial; nothing when none was chosen."""
    chosen = summary["chosen"]
    if chosen is None:
        return []
    demand = Demand(
        PowerLaw.of_plain(summary["demand"]["law"]),
        Terms.parse(summary["demand"]["terms"], "condition"),
        summary["demand"]["has_level"],
    )
    provenance = {
        "study": summary["study"],
        "corpus": summary["corpus"],
        "recipe": summary["choice"].get("recipe", summary["settings"]["recipe"]),
    }
    drawing = Architecture.parse(chosen["architecture"], "chosen")
    content = card(drawing, demand, provenance | {key: chosen[key] for key in ROW if key in chosen})
    return write_card(content, folder)
