"""`l2m estimate CORPUS`: the MI exponent beta of a data set, with an interval."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, print_json, progress, say, table, warn

if TYPE_CHECKING:
    from l2m_design.information import Measurement


def command(
    corpus: Annotated[str, typer.Argument(help="stdlib, santa-fe:beta=0.7, a text or .jsonl file, a folder, a glob.")],
    estimator: Annotated[str, typer.Option(help="compression, or profile (needs --model).")] = "compression",
    model: Annotated[str | None, typer.Option(help="For profile: oracle (synthetic sources) or train.")] = None,
    shortest: Annotated[int | None, typer.Option(help="Shortest n, tokens: 128, or 32 for --model train.")] = None,
    longest: Annotated[int | None, typer.Option(help="Longest n; by default what 16 documents hold.")] = None,
    windows: Annotated[int, typer.Option(help="Windows of 2 x longest tokens to read.")] = 256,
    split: Annotated[str | None, typer.Option(help="train, validation or test; by default all documents.")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    replicates: Annotated[int, typer.Option(help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of windows and bootstrap.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, help="Training budget of --model train, tokens.")] = 500_000,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Estimate how the mutual information between two halves of a text grows with its length."""
    from l2m_design.corpus import open_corpus
    from l2m_design.errors import BadInput
    from l2m_design.information import MeasurementSettings

    given = {
        "estimator": estimator,
        "shortest": shortest,
        "longest": longest,
        "windows": windows,
        "split": split,
        "level": level,
        "replicates": replicates,
        "seed": seed,
    }
    settings = MeasurementSettings.parse(given, "estimate")
    if model not in (None, "oracle", "train"):
        raise BadInput(f"--model: found '{model}', allowed: oracle, train")
    if (settings.estimator == "profile") != (model is not None):
        raise BadInput("--estimator profile goes with --model oracle or --model train, and only with it")
    source = open_corpus(corpus)
    if dry_run:
        _plan(source, settings, model, tokens, as_json)
        return
    from l2m_design.search.demand import measured

    with progress() as on_progress:
        found = measured(source, settings, model, device, tokens, on_progress)
    warn(*source.notes)
    if as_json:
        print_json(found.plain())
    else:
        _print(found, model)


def _print(found: "Measurement", model: str | None) -> None:
    lengths, law = found.curve.lengths.tolist(), found.fit.law
    slopes = [""] + [f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]" for s in found.fit.local_slopes]
    table(
        ["n, tokens", "I(n;n), nats", "interval", "local slope"],
        [
            [f"{n}", f"{e.value:.4g}", f"{e.low:.4g} .. {e.high:.4g}", slope]
            for n, e, slope in zip(lengths, found.interval, slopes, strict=True)
        ],
    )
    if found.beta:
        offset = f" {law.offset:+.3g}" if law.offset else ""
        say(
            f"beta = {found.beta} ({law.level:.0%}, {len(found.curve.nats)} {found.curve.unit} resampled); "
            f"I(n;n) = {law.prefactor:.3g} n^{law.exponent:.3f}{offset} nats"
        )
    else:
        say(f"no beta: these data prefer the law '{found.fit.preferred}'")
    say(
        f"Law: {found.fit.sentence}.",
        f"Estimator: {found.curve.estimator}; {found.tokens_scored:,} tokens scored in {found.seconds:.1f} s.",
    )
    if found.curve.estimator == "compression":
        say(
            "Compression also counts the cost of learning the language: the amount is too high, "
            "and this exponent is an upper bound of the source's."
        )
    if found.curve.unit == "windows":
        say(
            f"Only {found.documents} documents are long enough: their windows were resampled, so the interval is one "
            "for these documents, not for their kind."
        )
    if found.losses is not None:
        at = [2**j for j in range(0, len(found.losses).bit_length(), 2)]
        say("Loss by position, nats: " + ", ".join(f"{found.losses[t - 1]:.2f} at {t}" for t in at))
    if model == "train":
        say("Relative to this small model: what it cannot use it cannot show, so beta may be too low.")


def _plan(source: Any, settings: Any, model: str | None, tokens: int, as_json: bool) -> None:
    from l2m_design.information.measure import doubling_lengths
    from l2m_design.search.demand import planned

    settings = planned(settings, model)
    documents = source.documents(settings.split) if settings.split else source.all_documents
    lengths = doubling_lengths(settings, documents, source).tolist()
    plan = {
        "corpus": source.name,
        "documents": len(documents),
        "tokens": documents.size,
        "lengths": lengths,
        "windows": settings.windows,
        "tokens_read": 2 * lengths[-1] * settings.windows,
        "training_tokens": tokens if model == "train" else 0,
    }
    if as_json:
        print_json(plan)
    else:
        say(*(f"{key}: {value}" for key, value in plan.items()))
