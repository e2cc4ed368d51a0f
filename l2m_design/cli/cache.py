"""`l2m cache MODEL`: measure what a trained model loses with a bounded KV cache, without training it again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, print_json, print_plan, progress, say, table
from l2m_design.library.lengths import parse_length

if TYPE_CHECKING:
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.library.cache import Losses, PublishedModel, Use

KNOWN = (
    "sinks+window (the most recent tokens; also called recency), key_norm, attention_mass (H2O), surprise, spread; for "
    "Hugging Face models also streaming-llm (sinks+window with positions in the cache) and use (by predicted use); for "
    "models of `l2m train` also value"
)
STREAMING, USE = "streaming-llm", "use"
LAST = ("sinks+window", STREAMING)
COMPETING = {"head": ", no heads compete", "layer": ", heads of a layer compete", "model": ", all heads compete"}
CHOICES = ["sinks+window", "key_norm", "attention_mass", "surprise"]


Model = Annotated[
    str, typer.Argument(help="A folder that `l2m train` wrote, a Hugging Face folder or name, or a .gguf file.")
]
Text = Annotated[str, typer.Option(help="Corpus to read: stdlib, a file, folder or glob, ...")]
Choose = Annotated[
    list[str], typer.Option(help=f"Rule that decides which older tokens stay cached: {KNOWN}. Repeatable.")
]
Share = Annotated[list[float], typer.Option(help="Size of the cache as a fraction of the full cache; repeatable.")]
Length = Annotated[
    str, typer.Option(metavar="TOKENS", help="Length of a window, such as 2048 or 2k; the second half is scored.")
]
Windows = Annotated[int, typer.Option(help="Number of windows, at least 8, spread over all documents.")]
Chunk = Annotated[int, typer.Option(help="Tokens that are read at a time; the two newest chunks are always cached.")]
Sinks = Annotated[int, typer.Option(help="Number of first tokens of a window that are never evicted.")]
Teach = Annotated[int, typer.Option(help="For `value`: number of steps to train the score, on the training split.")]
Allocate = Annotated[
    str,
    typer.Option(
        help="For `use`: which tokens compete for slots: those of each `head`, `layer`, or the whole `model`."
    ),
]
Growth = Annotated[
    float | None,
    typer.Option(
        metavar="EXPONENT",
        help="For `use`: slots grow as t^EXPONENT and reach --share at --length. Default: a fixed number of slots.",
    ),
]
Fit = Annotated[int, typer.Option(help="For `use`: number of training windows to fit the rule on.")]
Finetune = Annotated[
    str,
    typer.Option(
        metavar="TOKENS", help="For `use`: number of training tokens to adapt the weights on; 0 leaves them unchanged."
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="For `use`: write the model with its bounded cache, for transformers to load.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the contents of --out.")]
Split = Annotated[str, typer.Option(help="Split to read: train, validation or test.")]
Tokenized = Annotated[
    str | None, typer.Option(help="For text: a Hugging Face tokenizer. Default: the tokenizer of the model.")
]


def command(
    model: Model,
    corpus: Text = "stdlib",
    choose: Choose = [],  # noqa: B006
    share: Share = [0.5, 0.25, 0.125],  # noqa: B006
    length: Length = "2048",
    windows: Windows = 8,
    chunk: Chunk = 64,
    sinks: Sinks = 4,
    teach: Teach = 200,
    allocate: Allocate = "model",
    growth: Growth = None,
    fit: Fit = 8,
    finetune: Finetune = "0",
    out: Out = None,
    force: Force = False,
    split: Split = "test",
    tokenizer: Tokenized = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure how much the late loss (second half of windows) of a trained model rises with a bounded KV cache.

    Every window begins with the start token of the model, if it has one, which counts as one of the sinks (the first
    tokens of a window).
    """
    from l2m_design.corpus import open_corpus
    from l2m_design.errors import BadInput
    from l2m_design.library.cache import Compared, PublishedModel, TrainedModel, Use
    from l2m_design.measuring.scorer import check_model, own_tokenizer
    from l2m_design.model.backends import pick_device

    if not 8 <= windows <= 100_000:
        raise BadInput(f"--windows {windows}: must be 8 to 100000")
    if teach < 1:
        raise BadInput(f"--teach {teach}: must be at least 1 step")
    window, ours = parse_length(length), (Path(model) / "architecture.yaml").exists()
    check_model(model, "MODEL")
    choose = choose or ([*CHOICES] if ours else [CHOICES[0], STREAMING, *CHOICES[1:]])
    use = _use(choose, share, Use(allocate, growth, fit, parse_length(finetune, "finetune"), out, force), ours)
    caches = [(c, s, _thinning(c, s, window, chunk, sinks, ours)) for c in dict.fromkeys(choose) for s in share]
    own = None if ours or tokenizer or "tokenizer=" in corpus else own_tokenizer(model)
    source = open_corpus(corpus, tokenizer, otherwise=own)
    plan = {"caches": len(caches), "windows": windows, "tokens_read": (len(caches) + 1) * windows * window}
    if USE in choose:
        plan["training_tokens"] = use.fit * min(window, 2048) + use.finetune
    if dry_run:
        print_json(plan) if as_json else print_plan(plan)
        return
    read = {"model": model, "corpus": source.name, "length": window, "windows": windows, "chunk": chunk}
    with progress() as bars:
        compared = Compared(source, window, windows, split, pick_device(device), bars)
        published = None if ours else PublishedModel(model, compared, use)
        result = compared.all(published or TrainedModel(model, compared, teach), caches)
    if not as_json:
        say(f"{model} on {source.name}: {windows} windows of {window:,} tokens")
        _print(result)
    _finish({**asdict(result), **read}, result, published, use, as_json)


def _finish(
    answer: dict[str, object], result: "Losses", published: "PublishedModel | None", use: "Use", as_json: bool
) -> None:
    """Write the adopted model if --out is given, and print the JSON result if --json is given."""
    from l2m_design.errors import BadInput, WorkFailed

    if published and use.out:
        try:
            answer["written"] = published.written(result)
        except (BadInput, WorkFailed):
            if as_json:
                print_json(answer)  # what was measured is not lost
            raise
    if as_json:
        print_json(answer)
    elif use.out:
        say(f"Wrote {use.out} (loaded back and compared)")


def _use(choose: list[str], share: list[float], use: "Use", ours: bool) -> "Use":
    from l2m_design.errors import BadInput
    from l2m_design.export.placing import check_place

    if USE not in choose:
        usual = type(use)("model", None, 8, 0, None, False)
        for name, given in asdict(use).items():
            if given != getattr(usual, name):
                raise BadInput(f"--{name}: needs --choose {USE}")
        return use
    if ours:
        raise BadInput(f"--choose {USE}: works for Hugging Face models only; export this model first (`l2m export`)")
    if use.allocate not in ("head", "layer", "model"):
        raise BadInput(f"--allocate {use.allocate}: must be head, layer or model")
    if use.fit < 1:
        raise BadInput(f"--fit {use.fit}: must be at least 1 window")
    if use.finetune < 0:
        raise BadInput(f"--finetune {use.finetune}: must be 0 or more tokens")
    if use.growth is not None and not 0 < use.growth <= 1:
        raise BadInput(f"--growth {use.growth:g}: must be above 0 and at most 1")
    if (use.out or use.finetune) and len(share) != 1:
        raise BadInput(f"{'--out' if use.out else '--finetune'}: needs exactly one --share, found {len(share)}")
    if use.out:
        check_place(use.out, use.force)
    return use


def _thinning(choose: str, share: float, length: int, chunk: int, sinks: int, ours: bool) -> "Thinning":
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.errors import BadInput

    if not 0 < share <= 1:
        raise BadInput(f"--share {share}: must be above 0 and at most 1")
    if choose == "value" and not ours:
        raise BadInput("--choose value: works for models of `l2m train` only; use --choose use for Hugging Face models")
    if choose == STREAMING and ours:
        raise BadInput(
            f"--choose {STREAMING}: works for Hugging Face models only; export this model first (`l2m export`), or "
            "use --choose sinks+window"
        )
    fields = {"choose": "recency" if choose in (*LAST, USE) else choose, "slots": int(share * length), "chunk": chunk}
    fields |= {"sinks": sinks, "positions": "cache" if choose == STREAMING else "text"}
    return Thinning.parse(fields, f"--choose {choose} --share {share:g}")


def _print(result: "Losses") -> None:
    from l2m_design.report.words import estimate

    full = result.full
    say(
        f"Late loss {full.late_loss:.4f} nats per token with the full cache of {full.state_elements:,} elements",
        f"Every window begins with the model's start token, {result.start_token}"
        if result.start_token is not None
        else "Windows begin without a start token: the model has none",
        "Late loss minus that with the full cache, nats per token:",
    )
    rows = [
        [
            row.choose + COMPETING.get(row.allocate or "", ""),
            f"{row.share:g}",
            f"{row.state_elements:,}",
            estimate(row.late_difference, sign=True),
            estimate(row.repeated_difference, sign=True),
        ]
        for row in result.caches
    ]
    table(["rule", "share", "state elements", "all tokens", "repeated tokens"], rows)
