"""`l2m.train`: train one architecture on a corpus, with optional folder and MLflow tracking."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.training.recipe import Recipe
from l2m_design.training.trained import Trained, Training


def train(
    architecture: str | Path | Architecture,
    corpus: str | Path | Corpus = "stdlib",
    *,
    tokenizer: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    processes: int = 1,
    tracking: str | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    **recipe: Any,
) -> Trained:
    """Train one architecture on a corpus.

    architecture: an Architecture, or the path of one or of a card. corpus: a name or path as on the command line, or an
    opened Corpus. tokenizer: for text, by default bytes. out: folder for model, result and tokenizer; an interrupted
    run continues from its checkpoint there. device: auto, cpu, cuda or cuda:N. processes: number of data-parallel
    processes, each on its own GPU if there are GPUs; a script with several needs `if __name__ == "__main__":`.
    tracking: MLflow tracking URI to log the run to. on_step: called with (finished steps, all steps). recipe: fields of
    Recipe, such as tokens=100_000, length=256. Returns the Trained model. Raises BadInput if arguments contradict each
    other, FloatingPointError if the loss is not finite, WorkFailed if one of several processes fails.

    Examples:
        >>> import l2m_design as l2m
        >>> layer = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 16}
        >>> architecture = l2m.Architecture(vocabulary=66, width=32, layers=[layer])
        >>> found = l2m.train(architecture, "santa-fe:beta=0.5,keys=64,pairs=128", tokens=2048, length=64, windows=8)
        >>> found.result.late_loss > 0
        True
    """
    architecture = architecture if isinstance(architecture, Architecture) else Architecture.load(str(architecture))
    source = corpus if isinstance(corpus, Corpus) else open_corpus(str(corpus), tokenizer)
    spec = None if isinstance(corpus, Corpus) else (str(corpus), tokenizer)
    folder = Path(out).expanduser() if out else None
    work = Training(architecture, source, Recipe.parse(recipe, "recipe"), folder, processes=processes, spec=spec)
    trained, trouble = run_tracked(work, device, tracking, on_step)
    if trouble:
        warnings.warn(f"tracking: {trouble}", stacklevel=2)
    if work.out:
        trained.save(work.out)
    return trained


def run_tracked(
    work: Training, device: str, tracking: str | None, on_step: Callable[[int, int], None]
) -> tuple[Trained, str | None]:
    """Train, and log to MLflow if `tracking` is given. Return the trained model, and why logging failed, if it did."""
    if tracking is None:
        return work.run(device, on_step), None
    from l2m_design.library.tracked import connected

    shown = connected(tracking, work)
    with shown.running():
        trained = work.run(device, on_step)
        shown.log(trained.result)
    return trained, shown.trouble
