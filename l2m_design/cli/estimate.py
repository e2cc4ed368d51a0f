"""`l2m estimate CORPUS`: the MI exponent beta of a data set, with an interval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.measured import print_compared, print_measurement, print_two_point
from l2m_design.cli.terminal import Device, DryRun, Json, print_json, progress, say, warn

if TYPE_CHECKING:
    from l2m_design.corpus import Corpus
    from l2m_design.information import Measurement, MeasurementSettings, TwoPoint
    from l2m_design.settings import Json as Plain

PAIRS = "two-point"
ESTIMATORS = ("compression", "profile", "direct", "vclub", "gaussian", PAIRS)
REFERENCE_TOKENS = 500_000


CorpusName = Annotated[
    str, typer.Argument(help="stdlib, santa-fe:beta=0.7, a file, folder, glob, hf:NAME (docs/reference/corpora.md).")
]
Estimators = Annotated[
    list[str],
    typer.Option(help=", ".join(ESTIMATORS) + ". Repeatable. Default: compression, gaussian for real arrays."),
]
Models = Annotated[
    list[str],
    typer.Option(
        help="For profile, direct, vclub: oracle, train, a Hugging Face folder, name or .gguf file, or a server's "
        "address, http://HOST/v1[#MODEL]. Repeatable: models are compared."
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="For text: bytes, bpe:SIZE (learnt here), or a Hugging Face one; else the model's own, or bytes."
    ),
]
Shortest = Annotated[int | None, typer.Option(help="Shortest n, tokens: 128, or 32 for --model train.")]
Longest = Annotated[int | None, typer.Option(help="Longest n; by default what 16 documents hold.")]
Windows = Annotated[
    int | None, typer.Option(help="Windows of 2 x longest tokens to read: 256, compression 128, gaussian 4096.")
]
Prime = Annotated[
    int | None,
    typer.Option(help="Tokens of other documents that compression reads first: 1,048,576, a third of all at most."),
]
Spots = Annotated[int | None, typer.Option(help="Most places in a window at which one length is read.")]
Control = Annotated[str, typer.Option(help="Control variate of profile: compression, none, auto (with a model).")]
Pairing = Annotated[str, typer.Option(help="The second term's Y: same document; other (direct); none (profile).")]
Bigram = Annotated[str, typer.Option(help="none, or paper: the published remedy for a model's cold start.")]
Normalise = Annotated[
    str | None,
    typer.Option(
        help="For gaussian: recording (each on its own scale; default for files), copula (normal scores), none."
    ),
]
Split = Annotated[str | None, typer.Option(help="train, validation or test; by default all documents.")]
Table = Annotated[Path | None, typer.Option(help="Score table, .parquet: written, and used by the next estimate.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the measurement: .png, .svg or .html.")]
Published = Annotated[bool, typer.Option("--published", help="Lay the published PG19 and Wikipedia lines over it.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that a model brings along (off).")]


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
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    replicates: Annotated[int, typer.Option(help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of windows and bootstrap.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, help="Training budget of --model train, tokens.")] = REFERENCE_TOKENS,
    scores: Table = None,
    plot: Plot = None,
    published: Published = False,
    trust_remote_code: Trust = False,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Estimate how the mutual information between two halves of a text grows with its length.

    Estimators and models may be several: the first is the answer, the others stand beside it, and the requirement is
    taken from the one that finds most in the same tokens.
    """
    given: Plain = {"shortest": shortest, "longest": longest, "windows": windows, "spots": spots, "seed": seed}
    given |= {"control": control, "pairing": pairing, "bigram_correction": bigram_correction, "split": split}
    given |= {"normalise": normalise, "prime": prime, "level": level, "replicates": replicates}
    from l2m_design.measuring.estimate import Estimation

    work = Estimation(corpus, tokenizer, trust_remote_code, device, tokens, scores)
    estimator = estimator or [work.default(has_model=bool(model))]
    asked = _asked(estimator, model, given, scores, plot, published)
    if dry_run:
        _tell_plans(work.plans(asked, model), as_json)
        return
    with progress() as shown:
        found = work.measurements(asked, model, shown)
        pairs = work.two_point(split, longest, level, seed) if "two-point" in estimator or plot else None
    warn(*work.notes())
    _tell(found, pairs, work.first, as_json)
    if plot:
        from l2m_design.report.measurement import draw

        draw(plot, corpus, found, pairs, published)
        warn(f"Plot: {plot}")


def _asked(
    estimators: list[str],
    models: list[str],
    given: "Plain",
    scores: Path | None,
    plot: Path | None,
    published: bool,
) -> "list[MeasurementSettings]":
    """The settings of each estimator but two-point. Raises BadInput on what does not go together."""
    from l2m_design.errors import BadInput
    from l2m_design.information import MeasurementSettings

    for name in estimators:
        if name not in ESTIMATORS:
            raise BadInput(f"--estimator: found '{name}', allowed: {', '.join(ESTIMATORS)}")
    names = [name for name in estimators if name != PAIRS]
    asked = [MeasurementSettings.parse(_known(name, given, len(names)), "estimate") for name in names]
    if any(settings.needs_scorer for settings in asked) != bool(models):
        raise BadInput("profile, direct and vclub need a --model; compression, gaussian and two-point take none")
    if scores and len(models) != 1:
        raise BadInput("--scores: a table holds the scores of one model, and goes with one --model")
    if published and not plot:
        raise BadInput("--published lays lines over a --plot")
    if plot:
        from l2m_design.report.picture import check_ending

        check_ending(plot)
    return asked


def _known(estimator: str, given: "Plain", count: int) -> "Plain":
    """The options of one estimator; of several, each takes what it knows."""
    mine = given | {"estimator": estimator}
    if count > 1:
        knows = {"direct": ("same", "other"), "profile": ("same", "none")}.get(estimator, ("same",))
        if given["pairing"] in ("same", "other", "none") and given["pairing"] not in knows:
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


def _tell(found: "list[Measurement]", pairs: "TwoPoint | None", corpus: "Corpus", as_json: bool) -> None:
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
        say(f"Which view: {deciding(found)[1]}.")
    if pairs:
        print_two_point(pairs)


def _tell_plans(plans: "list[Plain]", as_json: bool) -> None:
    if as_json:
        print_json((plans[0] if plans else {}) | {"compared": plans[1:]})
        return
    for numbers in plans:
        say(*(f"{key}: {value}" for key, value in numbers.items()), "")


def _only_pairs(pairs: "TwoPoint | None", corpus: "Corpus") -> "Plain":
    """The promised keys where only the two-point information was asked: it has no beta."""
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
