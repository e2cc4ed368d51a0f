"""`l2m cache MODEL`: what a trained model loses when its cache is thinned, without training it again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, print_json, progress, say, table
from l2m_design.library.lengths import parse_length

if TYPE_CHECKING:
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.library.cache import Borrowed, Losses, Use

KNOWN = (
    "sinks+window (the last, at their positions in the text; also: recency), streaming-llm (the same, at positions in "
    "the cache; Hugging Face models), use (predicted use, kv heads compete; Hugging Face models), key_norm, "
    "attention_mass, surprise, spread, value (models trained here)"
)
STREAMING, USE = "streaming-llm", "use"
LAST = ("sinks+window", STREAMING)
COMPETING = {"head": ", no heads compete", "layer": ", heads of a layer compete", "model": ", all heads compete"}
CHOICES = ["sinks+window", "key_norm", "attention_mass", "surprise"]


Model = Annotated[str, typer.Argument(help="A folder of `l2m train`, or a Hugging Face folder, .gguf or name.")]
Text = Annotated[str, typer.Option(help="Held-out text: stdlib, a file, folder or glob, ...")]
Choose = Annotated[list[str], typer.Option(help=f"Which old tokens stay: {KNOWN}; repeatable.")]
Share = Annotated[list[float], typer.Option(help="Of the full cache; repeatable.")]
Length = Annotated[
    str, typer.Option(metavar="TOKENS", help="Tokens of a window, 2048 or 2k; its second half is scored.")
]
Windows = Annotated[int, typer.Option(help="Windows, 8 or more, over as many documents as there are.")]
Chunk = Annotated[int, typer.Option(help="Tokens of a chunk; two are always cached.")]
Sinks = Annotated[int, typer.Option(help="First tokens that are never evicted.")]
Teach = Annotated[int, typer.Option(help="Steps that train the score of `value`, on the training split.")]
Allocate = Annotated[
    str, typer.Option(help="`use`: kv heads compete for slots in each head, layer, or the whole model.")
]
Growth = Annotated[
    float | None,
    typer.Option(metavar="EXPONENT", help="`use`: slots grow as t^EXPONENT and are --share at --length; else fixed."),
]
Fit = Annotated[int, typer.Option(help="`use`: windows of the training split that the rule is fitted to.")]
Finetune = Annotated[
    str, typer.Option(metavar="TOKENS", help="`use`: training tokens that adapt the weights to the cache.")
]
Out = Annotated[Path | None, typer.Option(help="`use`: write the model with this cache, for transformers to load.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out holds.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
Tokenized = Annotated[str | None, typer.Option(help="For text: a Hugging Face tokenizer; the model's own.")]


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
    """Late loss with bounded caches against the full one, of windows behind the model's start token, if it has one.

    attention_mass is H2O. Sinks are the first tokens read, the start token included.
    """
    from l2m_design.corpus import open_corpus
    from l2m_design.errors import BadInput
    from l2m_design.library.cache import Borrowed, Compared, TrainedHere, Use
    from l2m_design.measuring.scorer import check_model, own_tokenizer
    from l2m_design.model.backends import pick_device

    if not 8 <= windows <= 100_000:
        raise BadInput(f"--windows {windows}: 8 to 100000, so that documents can be resampled")
    if teach < 1:
        raise BadInput(f"--teach {teach}: at least 1 step")
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
        print_json(plan) if as_json else say(*(f"{key}: {value:,}" for key, value in plan.items()))
        return
    read = {"model": model, "corpus": source.name, "length": window, "windows": windows, "chunk": chunk}
    with progress() as bars:
        compared = Compared(source, window, windows, split, pick_device(device), bars)
        borrowed = None if ours else Borrowed(model, compared, use)
        result = compared.all(borrowed or TrainedHere(model, compared, teach), caches)
    if not as_json:
        say(f"{model} on {source.name}: {windows} windows of {window:,} tokens")
        _print(result)
    _finish({**asdict(result), **read}, result, borrowed, use, as_json)


def _finish(
    answer: dict[str, object], result: "Losses", borrowed: "Borrowed | None", use: "Use", as_json: bool
) -> None:
    """Write the adopted model, if it is to be written, and print the JSON answer, if it is asked for."""
    from l2m_design.errors import BadInput, WorkFailed

    if borrowed and use.out:
        try:
            answer["written"] = borrowed.written(result)
        except (BadInput, WorkFailed):
            if as_json:
                print_json(answer)  # what was measured is not lost
            raise
    if as_json:
        print_json(answer)
    elif use.out:
        say(f"Written and loaded back: {use.out}")


def _use(choose: list[str], share: list[float], use: "Use", ours: bool) -> "Use":
    from l2m_design.errors import BadInput
    from l2m_design.export.placing import check_place

    if USE not in choose:
        usual = type(use)("model", None, 8, 0, None, False)
        for name, given in asdict(use).items():
            if given != getattr(usual, name):
                raise BadInput(f"--{name}: with --choose {USE}")
        return use
    if ours:
        raise BadInput(f"--choose {USE}: is for models of Hugging Face; export this one first (`l2m export`)")
    if use.allocate not in ("head", "layer", "model"):
        raise BadInput(f"--allocate {use.allocate}: head, layer or model")
    if use.fit < 1:
        raise BadInput(f"--fit {use.fit}: at least 1 window")
    if use.finetune < 0:
        raise BadInput(f"--finetune {use.finetune}: 0 or more tokens")
    if use.growth is not None and not 0 < use.growth <= 1:
        raise BadInput(f"--growth {use.growth:g}: above 0, at most 1")
    if (use.out or use.finetune) and len(share) != 1:
        raise BadInput(f"{'--out' if use.out else '--finetune'}: one --share, found {len(share)}")
    if use.out:
        check_place(use.out, use.force)
    return use


def _thinning(choose: str, share: float, length: int, chunk: int, sinks: int, ours: bool) -> "Thinning":
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.errors import BadInput

    if not 0 < share <= 1:
        raise BadInput(f"--share {share}: above 0, at most 1")
    if choose == "value" and not ours:
        raise BadInput("--choose value: needs a model trained here, whose score can be trained; try use")
    if choose == STREAMING and ours:
        raise BadInput(f"--choose {STREAMING}: is for models of Hugging Face; export this one, or give sinks+window")
    fields = {"choose": "recency" if choose in (*LAST, USE) else choose, "slots": int(share * length), "chunk": chunk}
    fields |= {"sinks": sinks, "positions": "cache" if choose == STREAMING else "text"}
    return Thinning.parse(fields, f"--choose {choose} --share {share:g}")


def _print(result: "Losses") -> None:
    from l2m_design.report.words import estimate

    full = result.full
    say(
        f"Late loss {full.late_loss:.4f} nats a token with the full cache of {full.state_elements:,} elements",
        f"Windows are read behind the start token, {result.start_token}"
        if result.start_token is not None
        else "Windows are read without a start token: the model has none",
        "Differences from it, nats a token, in the second half of the windows:",
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
    table(["choose", "share", "state elements", "all tokens", "tokens that repeat"], rows)
