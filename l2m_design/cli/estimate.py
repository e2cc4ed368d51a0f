"""`l2m estimate CORPUS`: estimate the exponent beta of the mutual information of a corpus, with an interval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.measured import print_compared, print_measurement, print_two_point
from l2m_design.cli.terminal import Device, DryRun, Json, print_json, print_plan, progress, say, warn

if TYPE_CHECKING:
    from l2m_design.corpus import Corpus
    from l2m_design.information import Measurement, MeasurementSettings, TwoPoint
    from l2m_design.settings import Json as Plain

PAIRS = "two-point"
ESTIMATORS = ("compression", "profile", "direct", "vclub", "gaussian", PAIRS)
REFERENCE_TOKENS = 500_000


CorpusName = Annotated[
    str,
    typer.Argument(
        help="stdlib, santa-fe:beta=0.7, a file, folder, glob or hf:NAME; docs/reference/corpora.md lists all."
    ),
]
Estimators = Annotated[
    list[str],
    typer.Option(
        help=", ".join(ESTIMATORS) + "; repeatable. Default: gaussian for arrays of real numbers, else compression."
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        help="Language model for profile, direct and vclub: oracle (the exact one of a synthetic source), train (train "
        "one first), a Hugging Face folder or name, a .gguf file, or a server: http://HOST/v1 or http://HOST/v1#MODEL. "
        "Repeatable, to compare models."
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="For text: bytes, bpe:SIZE (trained on this corpus) or a Hugging Face tokenizer. Default: that of "
        "--model, else bytes."
    ),
]
Shortest = Annotated[
    int | None, typer.Option(help="Shortest n of I(n;n) in tokens.", show_default="128; 32 with --model train")
]
Longest = Annotated[
    int | None,
    typer.Option(help="Longest n in tokens.", show_default="the longest for which 16 documents are long enough"),
]
Windows = Annotated[
    int | None,
    typer.Option(
        help="Number of windows of 2 x --longest tokens to read.", show_default="256; compression 128, gaussian 4096"
    ),
]
Prime = Annotated[
    int | None,
    typer.Option(
        help="For compression: tokens of other documents that the compressor reads first.",
        show_default="1,048,576, at most a third of the corpus",
    ),
]
Spots = Annotated[
    int | None, typer.Option(help="Maximum number of split points between X and Y, for each window and length.")
]
Control = Annotated[
    str,
    typer.Option(help="For profile: control variate, compression or none; auto uses compression with a --model."),
]
Pairing = Annotated[
    str,
    typer.Option(
        help="Y whose log p(Y) is subtracted: same (of the same document), other (of another document; direct only) or "
        "none (profile only: the losses of the first half minus those of the second are used instead)."
    ),
]
Bigram = Annotated[
    str,
    typer.Option(
        help="Correction of the first two tokens, which are scored without context: paper (published) or none."
    ),
]
Normalise = Annotated[
    str | None,
    typer.Option(
        help="For gaussian: recording (standardise each recording; default for files), copula (normal scores) or none."
    ),
]
Split = Annotated[str | None, typer.Option(help="Documents to read: train, validation or test. Default: all.")]
Table = Annotated[
    Path | None,
    typer.Option(help="File of the model's scores, .parquet: existing scores are reused, new ones are added."),
]
Plot = Annotated[Path | None, typer.Option(help="Plot I(n;n) against n: .png, .svg or .html.")]
Published = Annotated[
    bool, typer.Option("--published", help="Add the published lines of PG19 and Wikipedia to --plot.")
]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")]


def command(
    corpus: CorpusName,
    estimator: Estimators = [],  # noqa: B006 - typer copies it
    model: Models = [],  # noqa: B006 - typer copies it
    tokenizer: Tokenizer = None,
    shortest: Shortest = None,
    longest: Longest = None,
    windows: Windows = None,
    spots: Spots = None,
    prime: Prime = None,
    control: Control = "auto",
    pairing: Pairing = "same",
    bigram_correction: Bigram = "none",
    normalise: Normalise = None,
    split: Split = None,
    level: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    replicates: Annotated[int, typer.Option(help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed of the windows and the bootstrap.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, help="For --model train: training tokens.")] = REFERENCE_TOKENS,
    scores: Table = None,
    plot: Plot = None,
    published: Published = False,
    trust_remote_code: Trust = False,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Estimate how the mutual information between neighbouring blocks of n tokens grows with n: I(n;n) = A n^beta.

    With several estimators or models, the first is the main result and the others are compared with it. The
    requirement comes from the one that finds most information in the same tokens.
    """
    given: Plain = {"shortest": shortest, "longest": longest, "windows": windows, "spots": spots, "seed": seed}
    given |= {"control": control, "pairing": pairing, "bigram_correction": bigram_correction, "split": split}
    given |= {"normalise": normalise, "prime": prime, "level": level, "replicates": replicates}
    from l2m_design.measuring.estimate import Estimation

    work = Estimation(corpus, tokenizer, trust_remote_code, device, tokens, scores)
    estimator = estimator or [work.default(has_model=bool(model))]
    wanted = _settings(estimator, model, given, scores, plot, published)
    if dry_run:
        _print_plans(work.plans(wanted, model), as_json)
        return
    with progress() as shown:
        found = work.measurements(wanted, model, shown)
        pairs = work.two_point(split, longest, level, seed) if "two-point" in estimator or plot else None
    warn(*work.notes())
    _print(found, pairs, work.first, as_json)
    if plot:
        from l2m_design.report.measurement import draw

        draw(plot, corpus, found, pairs, published)
        warn(f"Plot: {plot}")


def _settings(
    estimators: list[str],
    models: list[str],
    given: "Plain",
    scores: Path | None,
    plot: Path | None,
    published: bool,
) -> "list[MeasurementSettings]":
    """Return the settings of each estimator except two-point. Raises BadInput if options contradict each other."""
    from l2m_design.errors import BadInput
    from l2m_design.information import MeasurementSettings

    for name in estimators:
        if name not in ESTIMATORS:
            raise BadInput(f"--estimator: found '{name}', allowed: {', '.join(ESTIMATORS)}")
    names = [name for name in estimators if name != PAIRS]
    wanted = [MeasurementSettings.parse(_options_of(name, given, len(names)), "estimate") for name in names]
    if any(settings.needs_scorer for settings in wanted) != bool(models):
        raise BadInput(
            "--model: the estimators profile, direct and vclub need one; compression, gaussian and two-point take none"
        )
    if scores and len(models) != 1:
        raise BadInput(f"--scores: needs exactly one --model, whose scores it stores; found {len(models)}")
    if published and not plot:
        raise BadInput("--published: needs --plot, to which it adds the published lines")
    if plot:
        from l2m_design.report.picture import check_ending

        check_ending(plot)
    return wanted


def _options_of(estimator: str, given: "Plain", count: int) -> "Plain":
    """Return the options of one estimator; if there are several, options that one does not have are left out."""
    mine = given | {"estimator": estimator}
    if count > 1:
        pairings = {"direct": ("same", "other"), "profile": ("same", "none")}.get(estimator, ("same",))
        if given["pairing"] in ("same", "other", "none") and given["pairing"] not in pairings:
            mine["pairing"] = "same"
        if estimator not in ("profile", "direct"):
            mine["bigram_correction"] = "none"
        if estimator != "profile":
            mine["control"] = "auto"
        if estimator != "compression":
            mine["prime"] = None
        if estimator != "gaussian":
            mine["normalise"] = None
    return mine


def _print(found: "list[Measurement]", pairs: "TwoPoint | None", corpus: "Corpus", as_json: bool) -> None:
    from l2m_design.information.views import deciding

    if as_json:
        first = found[0].plain() if found else _only_pairs(pairs, corpus)
        if len(found) > 1:
            chosen, why = deciding(found)
            own = found[chosen]
            first |= {
                "required": own.required.plain() if own.required else None,
                "required_by": {"view": chosen, "estimator": own.curve.estimator, "why": why},
                "explained_by": own.explained_by,
            }
        compared = [measurement.plain() for measurement in found[1:]]
        print_json(first | {"compared": compared, "two_point": pairs.plain() if pairs else None})
        return
    for measurement in found:
        print_measurement(measurement)
    if len(found) > 1:
        print_compared(found)
        say(f"Estimate that gives the requirement: {deciding(found)[1]}.")
    if pairs:
        print_two_point(pairs)


def _print_plans(plans: "list[Plain]", as_json: bool) -> None:
    if as_json:
        print_json((plans[0] if plans else {}) | {"compared": plans[1:]})
        return
    for numbers in plans:
        print_plan(numbers)
        say("")


def _only_pairs(pairs: "TwoPoint | None", corpus: "Corpus") -> "Plain":
    """Return the documented keys if two-point is the only estimator: it has no beta."""
    assert pairs is not None
    empty: Plain = {key: [] for key in ("lengths", "mi_nats", "mi_low", "mi_high", "local_slopes")}
    nothing: Plain = dict.fromkeys(("beta", "prefactor_nats", "preferred_law"))
    return (
        nothing
        | empty
        | {
            "estimator": "two-point",
            "documents": pairs.documents,
            "copies": corpus.copied,
            "tokens_scored": 2 * pairs.pairs,
            "seconds": round(pairs.seconds, 2),
            "corpus_fingerprint": corpus.fingerprint,
        }
    )
