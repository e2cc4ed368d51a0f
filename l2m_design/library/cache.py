"""Bounded caches compared: the loss of a model with each of several caches; the model written with one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from l2m_design.architecture.thinning import Thinning
    from l2m_design.corpus import Corpus
    from l2m_design.estimates import Estimate
    from l2m_design.training.caches import CacheLosses

Progress = Callable[[str, int, int], None]

BYTES_CONTEXT, TOKENS_CONTEXT = 6, 2
USE, FULL = "use", "full"


@dataclass(frozen=True)
class Use:
    """Options of the rule `use`.

    allocate: tokens compete for slots within each head, each layer, or the whole model. growth: exponent of the number
    of slots, None for a fixed number. fit: number of windows to fit the rule on. finetune: number of tokens to adapt
    the weights on. out: folder to write the model to. force: replace the contents of `out`.
    """

    allocate: str
    growth: float | None
    fit: int
    finetune: int
    out: Path | None
    force: bool


@dataclass(frozen=True)
class CacheRow:
    """A bounded cache compared with the full one. Losses are in nats per token over the second half of windows;
    differences are over all tokens and over repeated tokens.
    """

    choose: str
    allocate: str | None
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
    """The results of the comparison."""

    start_token: int | None
    full: FullRow
    caches: list[CacheRow]


class Readers(Protocol):
    """Makes the readers of a model, one for each cache."""

    start: int | None  # token before every window

    def __call__(self, choose: str, thinning: "Thinning", name: str) -> tuple[Any, int, str | None]:
        """Return a reader with this cache, its elements after a window, and between which heads tokens compete."""
        ...


class Compared:
    """Reads the same windows with every cache."""

    def __init__(self, corpus: "Corpus", length: int, windows: int, split: str, device: Any, bars: Progress) -> None:
        from l2m_design.errors import BadInput
        from l2m_design.training.batches import held_out_windows

        self.corpus, self.device, self.length, self.bars = corpus, device, length, bars
        self._windows = held_out_windows(corpus, split, length - 1, windows)
        if len(set(self._windows.document.tolist())) < 2:
            raise BadInput(
                f"{corpus.name} ({split}): all windows come from one document; intervals need several documents"
            )
        self._context = BYTES_CONTEXT if corpus.vocabulary <= 256 else TOKENS_CONTEXT

    def all(self, readers: Readers, caches: list[tuple[str, float, "Thinning"]]) -> Losses:
        """Return the full cache and a row for each other cache; every window is read after the start token."""
        from l2m_design.architecture.thinning import Thinning

        chunk, sinks = caches[0][2].chunk, caches[0][2].sinks
        everything = Thinning(choose="recency", slots=self.length + 3 * chunk + sinks, chunk=chunk, sinks=sinks)
        full, elements, _ = self._losses(readers, FULL, everything, "full cache")
        rows = []
        for choose, share, thinning in caches:
            losses, held, allocate = self._losses(readers, choose, thinning, f"{choose}, {share:g}")
            late, repeated = losses.difference(full), losses.difference(full, "repeated")
            rows.append(CacheRow(choose, allocate, share, held, float(losses.late.mean()), late, repeated))
        return Losses(readers.start, FullRow(elements, float(full.late.mean())), rows)

    def _losses(
        self, readers: Readers, choose: str, thinning: "Thinning", name: str
    ) -> tuple["CacheLosses", int, str | None]:
        from l2m_design.training.caches import Repeat, cache_losses

        model, elements, allocate = readers(choose, thinning, name)
        losses = cache_losses(
            model,
            self._windows,
            self.device,
            Repeat(self._context, 2 * thinning.chunk),
            readers.start,
            on_step=lambda done, total: self.bars(name, done, total),
        )
        return losses, elements, allocate


class TrainedModel:
    """A model of `l2m train`; the score of `value` is trained once, in `steps` steps."""

    start: int | None = None  # trained on windows without one

    def __init__(self, folder: str, compared: Compared, steps: int) -> None:
        from l2m_design.architecture import Architecture
        from l2m_design.model.weights import load_weights
        from l2m_design.training.run import check_vocabulary

        architecture = Architecture.load(folder)
        check_vocabulary(architecture, compared.corpus)
        self._model = load_weights(architecture, Path(folder) / "weights.safetensors").to(compared.device)
        self._compared, self._steps = compared, steps
        self._trained: Any = None

    def __call__(self, choose: str, thinning: "Thinning", name: str) -> tuple[Any, int, str | None]:
        """See Readers."""
        from l2m_design.model.thinned import thinned
        from l2m_design.training.caches import teach_values

        result = thinned(self._model, thinning)
        if choose == "value":
            if self._trained is None:
                teach_values(result, self._compared.corpus, self._compared.length, self._steps)
                self._trained = result.state_dict()
            result.load_state_dict(self._trained)
        return result, result.architecture.state.elements(self._compared.length), None


class PublishedModel:
    """A model of Hugging Face. The rule `use` is fitted once; the weights are fine-tuned on a copy."""

    def __init__(self, source: str, compared: Compared, use: Use) -> None:
        from l2m_design.errors import BadInput
        from l2m_design.information.scores.huggingface import context_of, load_model
        from l2m_design.information.scores.start import corpus_start, start_token
        from l2m_design.measuring.scorer import check_vocabulary

        self._source, self._compared, self._use = source, compared, use
        self._model = load_model(source, compared.device, where="MODEL")
        check_vocabulary(compared.corpus, source, int(self._model.get_input_embeddings().weight.shape[0]))
        self.start = start_token(self._model.config, corpus_start(compared.corpus))
        longest = context_of(self._model.config, self.start)
        if longest is not None and compared.length > longest:
            raise BadInput(f"`length` {compared.length}: {source} reads at most {longest} tokens")
        self._rule: Any = None
        self._adopted: Any = None

    def __call__(self, choose: str, thinning: "Thinning", name: str) -> tuple[Any, int, str | None]:
        """See Readers."""
        from l2m_design.model.adopted import FullModel
        from l2m_design.model.thinned import BorrowedModel

        if choose == FULL:
            full = FullModel(self._model)
            return full, full.elements(self._compared.length), None
        if choose == USE:
            adopted = self._adopted = self._made(thinning, name)
            return adopted, adopted.elements(self._compared.length), self._use.allocate
        result = BorrowedModel(self._model, thinning)
        return result, result.elements(self._compared.length), None

    def _made(self, thinning: "Thinning", name: str) -> Any:
        import copy

        from l2m_design.training.adoption import LONGEST, BoundedCache, finetuned, fitted, training_windows

        use, compared = self._use, self._compared
        cache = BoundedCache(
            thinning.slots,
            compared.length,
            thinning.chunk,
            thinning.sinks,
            use.growth,
            use.allocate,  # type: ignore[arg-type]
        )

        def windows(count: int, seed: int) -> Any:
            return training_windows(compared.corpus, compared.length, count, self.start, compared.device, seed)

        def step(what: str, done: int, total: int) -> None:
            compared.bars(f"{name}: {what}", done, total)

        model = copy.deepcopy(self._model) if use.finetune else self._model
        adopted = fitted(model, cache, [] if self._rule else windows(use.fit, 0), step)
        self._rule = self._rule or adopted.use.state_dict()
        adopted.use.load_state_dict(self._rule)
        if use.finetune:
            finetuned(adopted, windows(-(-use.finetune // min(compared.length, LONGEST)), 1), step)
        return adopted

    def written(self, result: Losses) -> Any:
        """Write the last model of `use` to a folder; see export.adopted."""
        from l2m_design.export.adopted import export_adopted
        from l2m_design.report.words import estimate

        assert self._use.out
        row, corpus = next(row for row in result.caches if row.choose == USE), self._compared.corpus.name
        losses = (
            f"Measured on {corpus}, windows of {self._compared.length:,} tokens: {row.share:g} of the full cache costs "
            f"{estimate(row.late_difference, sign=True)} nats per token in their second half "
            f"({result.full.late_loss:.4f} with the full cache)."
        )
        return export_adopted(
            self._adopted,
            self._source,
            self._use.out,
            trained=self._use.finetune > 0,
            losses=losses,
            force=self._use.force,
        )
