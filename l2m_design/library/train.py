"""`l2m.train`: one architecture trained on a corpus, from names, kept in a folder and tracked where asked for."""

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
    """Train one drawing on a corpus.

    architecture: a drawing, or the path of one or of a card. corpus: a name or path as the command line takes it, or an
    opened corpus. out: where model, result and tokenizer are kept; a run that was cut short goes on from its checkpoint
    there. processes: how many share each batch, each on a GPU of its own where there are GPUs; a script that asks for
    several needs `if __name__ == "__main__":`. tracking: an MLflow URI, where the run is shown. on_step: told steps
    done and steps in all. recipe: fields of Recipe, such as tokens=100_000, length=256. Raises BadInput when they do
    not fit together, FloatingPointError when the loss is not finite, WorkFailed when one of several processes fails.

    Examples:
        >>> import l2m_design as l2m
        >>> layer = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 16}
        >>> drawing = l2m.Architecture(vocabulary=66, width=32, layers=[layer])
        >>> found = l2m.train(drawing, "santa-fe:beta=0.5,keys=64,pairs=128", tokens=2048, length=64, windows=8)
        >>> found.result.late_loss > 0
        True
    """
    drawing = architecture if isinstance(architecture, Architecture) else Architecture.load(str(architecture))
    source = corpus if isinstance(corpus, Corpus) else open_corpus(str(corpus), tokenizer)
    spec = None if isinstance(corpus, Corpus) else (str(corpus), tokenizer)
    folder = Path(out).expanduser() if out else None
    work = Training(drawing, source, Recipe.parse(recipe, "recipe"), folder, processes=processes, spec=spec)
    trained, trouble = run_tracked(work, device, tracking, on_step)
    if trouble:
        warnings.warn(f"tracking: {trouble}", stacklevel=2)
    if work.out:
        trained.save(work.out)
    return trained


def run_tracked(
    work: Training, device: str, tracking: str | None, on_step: Callable[[int, int], None]
) -> tuple[Trained, str | None]:
    """Train, shown in an MLflow store where one is named; and why it is not shown there, in one line."""
    if tracking is None:
        return work.run(device, on_step), None
    from l2m_design.library.tracked import connected

    shown = connected(tracking, work)
    with shown.running():
        trained = work.run(device, on_step)
        shown.log(trained.result)
    return trained, shown.trouble
