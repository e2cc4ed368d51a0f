"""The export of a study's chosen architecture beside its report."""

from dataclasses import asdict
from pathlib import Path

from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.corpus.text import keep_tokenizer
from l2m_design.export.card import Provenance, card, known, write_card
from l2m_design.laws import PowerLaw
from l2m_design.search.results.reading import STUDY, load_summary
from l2m_design.search.results.values import Chosen, Summary
from l2m_design.terms import Terms


def known_demand(source: str | Path) -> Demand | None:
    """The demand of a study whose folder or card this is; of a card by itself only its asked exponent and terms."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    judged = known(source).judged
    if judged is None:
        return None
    if (folder / STUDY).exists():
        return load_summary(folder).demand.demand
    return Demand(PowerLaw(1.0, judged.judgement.asked_exponent), judged.terms or Terms(), False)


def write_chosen(summary: Summary, folder: Path, corpus: Corpus) -> list[str]:
    """architecture.yaml and card.json of the chosen trial, and the tokenizer of the study's corpus where it is text.

    Answers the files; nothing is written when none was chosen.
    """
    chosen = summary.chosen
    if chosen is None:
        return []
    content = card(chosen.architecture, summary.demand.demand, _provenance(summary, chosen))
    return write_card(content, folder) + [str(path) for path in keep_tokenizer(corpus, folder)]


def _provenance(summary: Summary, chosen: Chosen) -> Provenance:
    """The study, and what it found of the chosen model."""
    return {
        "study": summary.study,
        "corpus": asdict(summary.corpus),
        "recipe": summary.choice.recipe.plain(),
        "reference": summary.reference,
        "verdict": summary.verdict,
        "trial": chosen.trial,
        "design": chosen.design,
        "rate": chosen.rate,
        "seeds": chosen.seeds,
        "loss": chosen.loss,
        "test_loss": asdict(chosen.test_loss) if chosen.test_loss else None,
        "difference": asdict(chosen.difference) if chosen.difference else None,
        "mi_captured_nats": chosen.mi_captured_nats,
        "effective_context": chosen.effective_context,
    }
