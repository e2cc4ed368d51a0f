"""Recall: a rung below the user's data, on a source whose information and Bayes loss are known exactly."""

from l2m_design.corpus import open_corpus
from l2m_design.corpus.synthetic import is_exact_on_windows
from l2m_design.errors import BadInput
from l2m_design.search.record import Record, Records
from l2m_design.search.settings import RecallSettings, StudySettings
from l2m_design.training.batches import held_out_windows
from l2m_design.training.recipe import Recipe

LEAST_BETA, MOST_BETA = 0.2, 0.9
MOST_KEYS = 1024
DOCUMENTS = 2000


def source(settings: StudySettings, beta: float, vocabulary: int, rate: float = 1.0) -> tuple[str, Recipe]:
    """The source that the study names, or the Santa Fe source of the demanded exponent that fits a vocabulary; and how
    to train on it. rate: factor of its learning rate.
    """
    asked = settings.recall
    assert asked is not None
    beta = round(min(MOST_BETA, max(LEAST_BETA, beta)), 2)
    keys = min(MOST_KEYS, vocabulary - 2)
    known = f"santa-fe:beta={beta:g},keys={keys},pairs={asked.length // 2 + 1},documents={DOCUMENTS}"
    recipe = settings.recipe.model_copy(
        update={
            "length": asked.length,
            "tokens": asked.tokens,
            "batch_tokens": max(asked.batch_tokens, asked.length),
            "learning_rate": min(1.0, asked.learning_rate * rate),
            "rungs": (),
            "contexts": (),
        }
    )
    return asked.corpus or known, recipe


def check_recall(asked: RecallSettings, vocabulary: int) -> None:
    """Raises BadInput where a named recall source cannot judge: unknown, without a Bayes loss, too large, too short."""
    assert asked.corpus is not None
    corpus = open_corpus(asked.corpus)
    if not is_exact_on_windows(corpus):
        raise BadInput(
            f"recall.corpus: the Bayes loss of {corpus.name} is unknown; use mqar, noisy-recall, santa-fe, ..."
        )
    if corpus.vocabulary > vocabulary:
        raise BadInput(
            f"recall.corpus: {corpus.name} has {corpus.vocabulary} tokens, but the models of the study have "
            f"{vocabulary}"
        )
    held_out_windows(corpus, "test", asked.length, 1)


def behind(record: Record, records: Records, settings: StudySettings) -> bool:
    """Is a candidate's recall outside of the best share? Nobody is before `warmup_trials` were seen."""
    assert settings.recall is not None
    seen = [other.recall for other in records.all if other.recall is not None and other.feasible]
    if record.recall is None or len(seen) < settings.search.warmup_trials:
        return False
    return sum(other < record.recall for other in seen) >= settings.recall.keep * len(seen)
