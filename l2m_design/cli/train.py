"""`l2m train ARCHITECTURE`: train one drawing on a corpus and say what it reached."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, Set, print_json, progress, say

if TYPE_CHECKING:
    from l2m_design.corpus import Corpus
    from l2m_design.model import LanguageModel
    from l2m_design.training.result import Result


def command(
    architecture: Annotated[str, typer.Argument(help="A YAML drawing or a card.")],
    corpus: Annotated[str, typer.Option(help="stdlib, santa-fe:beta=0.7, a file, folder or glob.")] = "stdlib",
    overrides: Set = [],  # noqa: B006 - typer copies it
    tokenizer: Annotated[str | None, typer.Option(help="For text: bytes, bpe:SIZE, or a Hugging Face one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights, drawing, tokenizer and result.")] = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train with the recipe of a study; --set learning_rate=0.01, tokens=1000000, length=1024, seed=1, ..."""
    from l2m_design.architecture import Architecture
    from l2m_design.corpus import open_corpus
    from l2m_design.errors import BadInput
    from l2m_design.settings import override
    from l2m_design.training.recipe import Recipe

    drawing = Architecture.load(architecture)
    recipe = Recipe.parse(override({}, overrides), "--set")
    if out and out.exists() and any(out.iterdir()):
        raise BadInput(f"{out}: holds files already; give another --out")
    source = open_corpus(corpus, tokenizer)
    if drawing.vocabulary < source.vocabulary:
        raise BadInput(f"{architecture}: vocabulary: {drawing.vocabulary}, the corpus {corpus} has {source.vocabulary}")
    drawing.check_context(recipe.length, architecture)
    plan = {
        "parameters": drawing.parameters,
        "steps": recipe.steps,
        "tokens": recipe.spent,
        "training_tokens_in_corpus": source.documents("train").size,
        "training_flops": 3 * drawing.flops(recipe.length) * recipe.steps * recipe.batch,
    }
    if dry_run:
        print_json(plan) if as_json else say(*(f"{key}: {value:,}" for key, value in plan.items()))
        return
    from l2m_design.model.backends import pick_device
    from l2m_design.training.run import train

    with progress() as on_progress:
        model, result = train(
            drawing,
            source,
            recipe,
            pick_device(device),
            on_step=lambda done, total: on_progress(drawing.picture, done, total),
        )
    files = _write(out, model, source, result.plain() | {"recipe": recipe.plain()}) if out else []
    if as_json:
        print_json(result.plain() | _context(result) | {"files": files})
        return
    say(
        f"{drawing.picture}: late loss {result.late_loss:.4f} nats a token (validation), "
        f"{result.test_late_loss:.4f} (test), "
        f"after {result.tokens:,} tokens in {result.train_seconds:.0f} s on {result.device}",
        *_of_source(result, source, recipe.length),
        *(f"Kernel: {sentence}" for sentence in result.kernels),
        *(f"Wrote {file}" for file in files),
    )


def _of_source(result: "Result", source: "Corpus", length: int) -> list[str]:
    """What the run shows of the corpus: mutual information captured, where it is defined, and the excess over Bayes."""
    from math import log

    from l2m_design.corpus.synthetic import is_exact, knows_information
    from l2m_design.training.result import context_gains, effective_context

    found = []
    if gains := context_gains(result):
        each = ", ".join(f"{c:,}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" for c, gain in gains.items())
        found.append(f"Gain from beyond c tokens, nats a token: {each}")
        reached = effective_context(gains)
        found.append(
            f"Effective context: {reached:,} tokens" if reached else f"No gain from beyond {min(gains):,} tokens"
        )
    if knows_information(source) or not is_exact(source):
        found.append(f"MI captured at n = {length // 2}: {result.mi_captured_nats:.1f} nats")
    if result.late_excess_nats is not None:
        bits = result.late_excess_nats / log(2)
        found.append(f"Excess over the exact Bayes predictor: {bits:.4f} bits a judged token of a window's second half")
    return found


def _context(result: "Result") -> dict[str, Any]:
    """What far context gains, JSON-ready."""
    from l2m_design.training.result import context_gains, effective_context

    gains = context_gains(result)
    return {
        "context_gain": {str(c): gain.plain() for c, gain in gains.items()},
        "effective_context": effective_context(gains) if gains else None,
    }


def _write(out: Path, model: "LanguageModel", source: "Corpus", result: dict[str, Any]) -> list[str]:
    from l2m_design.corpus.text import keep_tokenizer
    from l2m_design.model.weights import save_weights
    from l2m_design.settings import to_json, write_atomically

    model.architecture.save(out / "architecture.yaml")
    save_weights(model, out / "weights.safetensors")
    write_atomically(out / "result.json", to_json(result | {"corpus": source.name}))
    own = [str(out / name) for name in ("architecture.yaml", "weights.safetensors", "result.json")]
    return own + [str(path) for path in keep_tokenizer(source, out)]
