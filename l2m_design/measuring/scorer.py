"""From what a user names as a model to scores of a corpus: an oracle, a model trained here, files, a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from l2m_design.corpus import Corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.corpus.text import TextCorpus
from l2m_design.corpus.tokenizers import Bytes, HuggingFaceTokenizer, local
from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.information import MeasurementSettings
from l2m_design.information.plan import documents_of, lengths_of
from l2m_design.information.scores import OracleScorer, Scorer, Scores
from l2m_design.settings import fingerprint

Progress = Callable[[str, int, int], None]
REFERENCE_TOKENS = 500_000
REFERENCE_LENGTHS = (32, 1024)
PADDING = 1024


def is_server(model: str) -> bool:
    """True for the address of a server."""
    return model.startswith(("http://", "https://"))


def check_model(model: str | None, where: str = "`model`") -> None:
    """Raises BadInput when a model is written as a path, and nothing is there; `where` is how it was named."""
    if model and model not in ("oracle", "train") and not is_server(model):
        local(model, where)


def planned(settings: MeasurementSettings, model: str | None) -> MeasurementSettings:
    """The settings with what a reference model needs: held-out documents, lengths that it can be trained on."""
    if model != "train":
        return settings
    if settings.split == "train":
        raise BadInput("split: a reference model is trained on 'train'; allowed for scoring: validation, test")
    needed = {
        "split": settings.split or "test",
        "shortest": settings.shortest or REFERENCE_LENGTHS[0],
        "longest": settings.longest or REFERENCE_LENGTHS[1],
    }
    return settings.model_copy(update=needed)


@dataclass(frozen=True)
class Scoring:
    """How a model scores.

    tokens: the training budget of model "train". table: where scores are kept; those of files and servers are kept in
    the cache unless it is named. trust_remote_code: run code that a model brings along.
    """

    tokens: int = REFERENCE_TOKENS
    table: Path | None = None
    trust_remote_code: bool = False


@contextmanager
def open_scores(
    corpus: Corpus,
    settings: MeasurementSettings,
    model: str,
    device: str = "auto",
    on_progress: Progress = lambda what, done, total: None,
    scoring: Scoring = Scoring(),
) -> Iterator[Scores]:
    """Scores of a corpus' documents by `model`: oracle, train, a folder, a .gguf file, a name, or a server's address.

    Settings must be `planned`. What needs torch is imported where it is needed. Raises BadInput, and WorkFailed when a
    server or a device went away; then the same call continues where it stopped.
    """
    documents = documents_of(corpus, settings, values=model == "oracle")
    scorer = _scorer(corpus, settings, model, device, on_progress, scoring)
    table = scoring.table
    if table is None and model not in ("oracle", "train"):
        name = fingerprint([corpus.fingerprint, scorer.fingerprint])
        table = cache_folder() / "scores" / f"{name}.parquet"
    if table is None:
        yield Scores(documents, scorer, numbered=corpus.all_documents)
        return
    from l2m_design.information.scores.table import ScoreTable

    identity = {"corpus": corpus.fingerprint, "scorer": scorer.fingerprint}
    with ScoreTable(table, corpus.all_documents, identity) as kept:
        scores = Scores(documents, scorer, kept, corpus.all_documents)
        try:
            yield scores
        except (RuntimeError, OSError) as error:
            raise WorkFailed(
                f"{scorer.name}: {first_line(error)}; {scores.tokens_scored:,} tokens of this run are saved in "
                f"{table}; "
                "run the same command to continue"
            ) from None


def _scorer(
    corpus: Corpus,
    settings: MeasurementSettings,
    model: str,
    device: str,
    on_progress: Progress,
    scoring: Scoring,
) -> Scorer:
    if model == "oracle":
        return OracleScorer(corpus)
    if model == "train":
        return _trained(corpus, settings, device, scoring.tokens, on_progress)
    from l2m_design.information.scores.start import corpus_start

    first = unigram_nats(corpus.all_documents, corpus.vocabulary)
    if is_server(model):
        tokenizer = corpus.tokenizer if isinstance(corpus, TextCorpus) else None
        if isinstance(tokenizer, Bytes) and tokenizer.assumed:
            raise BadInput(f"{model}: a server needs token numbers: give the tokenizer of its model with `tokenizer`")
        from l2m_design.information.scores.server import ServerScorer

        url, _, name = model.partition("#")
        return ServerScorer(url, name or None, corpus_start(corpus), first)
    from l2m_design.information.scores.huggingface import load_scorer
    from l2m_design.model.backends import pick_device

    loaded = load_scorer(model, first, pick_device(device), corpus_start(corpus), scoring.trust_remote_code)
    check_vocabulary(corpus, loaded.name, loaded.vocabulary)
    return loaded


def _trained(corpus: Corpus, settings: MeasurementSettings, device: str, tokens: int, on_progress: Progress) -> Scorer:
    from l2m_design.model.backends import pick_device
    from l2m_design.training.reference import reference_recipe, train_reference

    assert settings.split is not None
    longest = int(lengths_of(settings, corpus.documents(settings.split), corpus)[-1])
    recipe = reference_recipe(longest, tokens, settings.seed)
    return train_reference(
        corpus, recipe, pick_device(device), lambda done, total: on_progress("reference model", done, total)
    )


def check_vocabulary(corpus: Corpus, model: str, tokens: int) -> None:
    """A model's table of embeddings may be padded, but not by much. Raises BadInput."""
    if not corpus.vocabulary <= tokens <= corpus.vocabulary + PADDING:
        raise BadInput(
            f"{model}: has {tokens} tokens, {corpus.name} has {corpus.vocabulary}: give the tokenizer of "
            "the model with `tokenizer`"
        )


def own_tokenizer(model: str, trust_remote_code: bool = False) -> str | None:
    """The model's own tokenizer, where it is a folder, a .gguf file or a name that brings one."""
    if model in ("oracle", "train") or is_server(model):
        return None
    try:
        HuggingFaceTokenizer(model, trust_remote_code)
    except BadInput:
        return None
    return model
