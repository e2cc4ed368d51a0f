"""The export of a study's chosen architecture beside its report."""

from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.corpus.text import keep_tokenizer
from l2m_design.export.card import card, known, write_card
from l2m_design.laws import PowerLaw
from l2m_design.settings import read_mapping
from l2m_design.terms import Terms

ROW = ("trial", "design", "rate", "seeds", "loss", "test_loss", "difference", "mi_captured_nats", "effective_context")


def demand_of(summary: dict[str, Any]) -> Demand:
    """What a study's data ask for."""
    return Demand(
        PowerLaw.of_plain(summary["demand"]["law"]),
        Terms.parse(summary["demand"]["terms"], "condition"),
        summary["demand"]["has_level"],
    )


def known_demand(source: str | Path) -> Demand | None:
    """The demand of a study whose folder or card this is; of a card by itself only its asked exponent and terms."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    verdict = known(source).get("verdict")
    if verdict is None:
        return None
    study = folder / "study.json"
    if study.exists() and (summary := read_mapping(study)).get("demand"):
        return demand_of(summary)
    return Demand(PowerLaw(1.0, verdict["asked_exponent"]), Terms.parse(verdict.get("terms", {}), "card"), False)


def write_chosen(summary: dict[str, Any], folder: Path, corpus: Corpus) -> list[str]:
    """architecture.yaml and card.json of the chosen trial, and the tokenizer of the study's corpus where it is text.

    Answers the files; nothing is written when none was chosen.
    """
    chosen = summary["chosen"]
    if chosen is None:
        return []
    provenance = {
        "study": summary["study"],
        "corpus": summary["corpus"],
        "recipe": summary["choice"].get("recipe", summary["settings"]["recipe"]),
        "reference": summary["reference"],
        "verdict": summary["verdict"],
    }
    drawing = Architecture.parse(chosen["architecture"], "chosen")
    content = card(drawing, demand_of(summary), provenance | {key: chosen[key] for key in ROW if key in chosen})
    return write_card(content, folder) + [str(path) for path in keep_tokenizer(corpus, folder)]
