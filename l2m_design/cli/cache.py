"""`l2m cache MODEL`: what a trained model loses when its cache is thinned, without training it again."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, Progress, print_json, progress, say, table
from l2m_design.library.lengths import parse_length

if TYPE_CHECKING:
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.corpus import Corpus
    from l2m_design.estimates import Estimate
    from l2m_design.training.caches import CacheLosses

KNOWN = (
    "sinks+window (the last, at their positions in the text; also: recency), streaming-llm (the same, at positions in "
    "the cache; Hugging Face models), key_norm, attention_mass, surprise, spread, value (models trained here)"
)
STREAMING = "streaming-llm"
LAST = ("sinks+window", STREAMING)
CHOICES = ["sinks+window", "key_norm", "attention_mass", "surprise"]
BYTES_CONTEXT, TOKENS_CONTEXT = 6, 2


def command(
    model: Annotated[str, typer.Argument(help="A folder of `l2m train`, or a Hugging Face folder, .gguf or name.")],
    corpus: Annotated[str, typer.Option(help="Held-out text: stdlib, a file, folder or glob, ...")] = "stdlib",
    choose: Annotated[list[str], typer.Option(help=f"Which old tokens stay: {KNOWN}; repeatable.")] = [],  # noqa: B006
    share: Annotated[list[float], typer.Option(help="Of the full cache; repeatable.")] = [0.5, 0.25, 0.125],  # noqa: B006
    length: Annotated[
        str, typer.Option(metavar="TOKENS", help="Tokens of a window, 2048 or 2k; its second half is scored.")
    ] = "2048",
    windows: Annotated[int, typer.Option(help="Windows, 8 or more, over as many documents as there are.")] = 8,
    chunk: Annotated[int, typer.Option(help="Tokens of a chunk; two are always held.")] = 64,
    sinks: Annotated[int, typer.Option(help="First tokens that are never let go.")] = 4,
    teach: Annotated[int, typer.Option(help="Lessons for `value`, on the training split.")] = 200,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    tokenizer: Annotated[str | None, typer.Option(help="For text: a Hugging Face tokenizer; the model's own.")] = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Late loss with thinned caches against the full one, of windows behind the model's start token, if it has one.

    attention_mass is H2O. Sinks are the first tokens read, the start token included.
    """
    from l2m_design.corpus import open_corpus
    from l2m_design.errors import BadInput
    from l2m_design.measuring.scorer import check_model, own_tokenizer

    if not 8 <= windows <= 100_000:
        raise BadInput(f"--windows {windows}: 8 to 100000, so that documents can be resampled")
    if teach < 1:
        raise BadInput(f"--teach {teach}: at least 1 lesson")
    window, ours = parse_length(length), (Path(model) / "architecture.yaml").exists()
    check_model(model, "MODEL")
    choose = choose or ([*CHOICES] if ours else [CHOICES[0], STREAMING, *CHOICES[1:]])
    caches = [(c, s, _thinning(c, s, window, chunk, sinks, ours)) for c in dict.fromkeys(choose) for s in share]
    own = None if ours or tokenizer or "tokenizer=" in corpus else own_tokenizer(model)
    source = open_corpus(corpus, tokenizer, otherwise=own)
    plan = {"caches": len(caches), "windows": windows, "tokens_read": (len(caches) + 1) * windows * window}
    if dry_run:
        print_json(plan) if as_json else say(*(f"{key}: {value:,}" for key, value in plan.items()))
        return
    from l2m_design.model.backends import pick_device

    with progress() as bars:
        load = _ours if ours else _borrowed
        compared = _Compared(source, window, windows, split, pick_device(device), bars)
        made, start = load(model, source, window, teach, compared.device)
        result = compared.all(made, start, caches)
    read = {"model": model, "corpus": source.name, "length": window, "windows": windows, "chunk": chunk}
    if as_json:
        print_json({**asdict(result), **read})
        return
    say(f"{model} on {source.name}: {windows} windows of {window:,} tokens")
    _print(result)


def _thinning(choose: str, share: float, length: int, chunk: int, sinks: int, ours: bool) -> "Thinning":
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.errors import BadInput

    if not 0 < share <= 1:
        raise BadInput(f"--share {share}: above 0, at most 1")
    if choose == "value" and not ours:
        raise BadInput("--choose value: needs a model trained here, which can be taught; try surprise")
    if choose == STREAMING and ours:
        raise BadInput(f"--choose {STREAMING}: is for models of Hugging Face; export this one, or give sinks+window")
    fields = {"choose": "recency" if choose in LAST else choose, "slots": int(share * length), "chunk": chunk}
    fields |= {"sinks": sinks, "positions": "cache" if choose == STREAMING else "text"}
    return Thinning.parse(fields, f"--choose {choose} --share {share:g}")


def _ours(folder: str, corpus: "Corpus", length: int, teach: int, device: Any) -> Any:
    from l2m_design.architecture import Architecture
    from l2m_design.model.thinned import thinned
    from l2m_design.model.weights import load_weights
    from l2m_design.training.caches import teach_values
    from l2m_design.training.run import check_vocabulary

    drawing = Architecture.load(folder)
    check_vocabulary(drawing, corpus)
    model = load_weights(drawing, Path(folder) / "weights.safetensors").to(device)

    taught: dict[str, object] = {}  # of tensors

    def made(thinning: "Thinning") -> Any:
        result = thinned(model, thinning)
        if thinning.choose == "value":
            if not taught:
                teach_values(result, corpus, length, teach)
                taught.update(result.state_dict())
            result.load_state_dict(taught)
        return result, result.architecture.state.elements(length)

    return made, None  # trained on windows without a start token


def _borrowed(source: str, corpus: "Corpus", length: int, teach: int, device: Any) -> Any:
    from l2m_design.errors import BadInput
    from l2m_design.information.scores.huggingface import context_of, load_model
    from l2m_design.information.scores.start import corpus_start, start_token
    from l2m_design.measuring.scorer import check_vocabulary
    from l2m_design.model.thinned import BorrowedModel

    model = load_model(source, device, where="MODEL")
    check_vocabulary(corpus, source, int(model.get_input_embeddings().weight.shape[0]))
    start = start_token(model.config, corpus_start(corpus))
    longest = context_of(model.config, start)
    if longest is not None and length > longest:
        raise BadInput(f"--length {length}: {source} reads at most {longest} tokens")

    def made(thinning: "Thinning") -> Any:
        result = BorrowedModel(model, thinning)
        return result, result.elements(length)

    return made, start


@dataclass(frozen=True)
class CacheRow:
    """A cache beside the full one; losses in nats a token over the second half of windows, differences over
    all tokens and over those that repeat.
    """

    choose: str
    share: float
    state_elements: int
    late_loss: float
    late_difference: "Estimate | None"
    repeated_difference: "Estimate | None"


@dataclass(frozen=True)
class FullRow:
    """The full cache."""

    state_elements: int
    late_loss: float


@dataclass(frozen=True)
class Losses:
    """What the comparison answers."""

    start_token: int | None
    full: FullRow
    caches: list[CacheRow]


class _Compared:
    """The same windows read with every cache."""

    def __init__(self, corpus: "Corpus", length: int, windows: int, split: str, device: Any, bars: Progress) -> None:
        from l2m_design.errors import BadInput
        from l2m_design.training.batches import held_out_windows

        self.device, self._length, self._bars = device, length, bars
        self._windows = held_out_windows(corpus, split, length - 1, windows)
        if len(set(self._windows.document.tolist())) < 2:
            raise BadInput(f"{corpus.name} ({split}): one document holds all windows; differences need several")
        self._context = BYTES_CONTEXT if corpus.vocabulary <= 256 else TOKENS_CONTEXT

    def all(self, made: Any, start: int | None, caches: list[tuple[str, float, "Thinning"]]) -> Losses:
        """Rows by cache, after the full one; every window is read behind the start token."""
        from l2m_design.architecture.thinning import Thinning

        self._start = start
        chunk, sinks = caches[0][2].chunk, caches[0][2].sinks
        everything = Thinning(choose="recency", slots=self._length + 3 * chunk + sinks, chunk=chunk, sinks=sinks)
        full, elements = self._losses(made, everything, "full cache")
        rows = []
        for choose, share, thinning in caches:
            losses, held = self._losses(made, thinning, f"{choose}, {share:g}")
            late, repeated = losses.difference(full), losses.difference(full, "repeated")
            rows.append(CacheRow(choose, share, held, float(losses.late.mean()), late, repeated))
        return Losses(start, FullRow(elements, float(full.late.mean())), rows)

    def _losses(self, made: Any, thinning: "Thinning", name: str) -> tuple["CacheLosses", int]:
        from l2m_design.training.caches import Repeat, cache_losses

        model, elements = made(thinning)
        losses = cache_losses(
            model,
            self._windows,
            self.device,
            Repeat(self._context, 2 * thinning.chunk),
            self._start,
            on_step=lambda done, total: self._bars(name, done, total),
        )
        return losses, elements


def _print(result: Losses) -> None:
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
            row.choose,
            f"{row.share:g}",
            f"{row.state_elements:,}",
            estimate(row.late_difference, sign=True),
            estimate(row.repeated_difference, sign=True),
        ]
        for row in result.caches
    ]
    table(["choose", "share", "state elements", "all tokens", "tokens that repeat"], rows)
