"""Settings of a study that starts from a trained model (key `start`), as its YAML file has them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture.plans import NONE, SHARE, SINKS, Allocate, Choose, Kept
from l2m_design.errors import BadInput
from l2m_design.search.settings import DemandSettings, beside
from l2m_design.settings import Json, Values, override, read_mapping
from l2m_design.terms import Terms
from l2m_design.training.healing import Healing

START = "start"  # the key that tells such a study; in `demand.model`, the model itself
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Budget = Annotated[float, Field(gt=0.0)]
Length = Annotated[int, Field(strict=False, ge=1)]


class OptionSettings(Values):
    """A cache that layers may have; a list of shares gives one option for each.

    cache: window, sinks+window, sparse, none (each token reads only itself), or share (the layer reads the cache of the
    next attention layer below and has no cache itself; needs grain: layer). share: size as a share of `length` of
    the study, in tokens; that of a sparse cache includes the current and the previous chunk and the sinks. window: size
    in tokens, instead of a share. sinks: number of first tokens that stay cached, for sinks+window and sparse; 4 by
    default. exponent: slots of a sparse cache grow as t^exponent and reach the share at `length`; by default their
    number is fixed. choose: rule of a sparse cache: use (predicted use, fitted on the training split) or attention_mass
    (H2O).
    """

    cache: Literal["window", "sinks+window", "sparse", "none", "share"]
    share: Share | Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] | None = None
    window: Annotated[int, Field(ge=2, le=2**24)] | None = None
    sinks: Annotated[int, Field(ge=1, le=65536)] | None = None
    exponent: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    choose: Choose = "use"

    @model_validator(mode="after")
    def _fits_its_cache(self) -> Self:
        given = (self.share is not None) + (self.window is not None)
        empty = self.cache in ("none", "share")
        if empty and given:
            raise ValueError(f"share and window: not allowed with cache: {self.cache}")
        if not empty and given != 1:
            raise ValueError(f"cache: {self.cache} needs either a share or a window")
        if self.cache == "sparse" and self.window is not None:
            raise ValueError("window: not allowed with cache: sparse; give a share")
        if self.cache not in ("sinks+window", "sparse") and self.sinks is not None:
            raise ValueError(f"sinks: allowed with cache: sinks+window or sparse only, found {self.cache}")
        if self.cache != "sparse" and (self.exponent is not None or self.choose != "use"):
            raise ValueError(f"exponent and choose: allowed with cache: sparse only, found {self.cache}")
        return self

    def template(self, chunk: int) -> Kept:
        """The kind of cache, without its size."""
        sinks = self.sinks or SINKS
        if self.cache == "sparse":
            return Kept("sparse", sinks=sinks, chunk=chunk, exponent=self.exponent or 0.0, choose=self.choose)
        return Kept(self.cache, sinks=sinks if self.cache == "sinks+window" else 0)

    def kept(self, length: int, chunk: int) -> list[Kept]:
        """What a head keeps, for each share. Raises ValueError where a share is too small."""
        if self.cache in ("none", "share"):
            return [NONE if self.cache == "none" else SHARE]
        template = self.template(chunk)
        if self.window is not None:
            return [template.holding(self.window - 1 + template.sinks, length)]
        shares: Any = self.share if isinstance(self.share, tuple) else (self.share,)
        return [template.holding(round(share * length), length) for share in shares]


class WindowSettings(Values):
    """How many held-out windows of `length` tokens are read.

    costs: windows of the validation split, on which replacements and plans are measured. test: windows of the test
    split, on which the best plans are measured. recall: number of these test windows into which facts are inserted and
    then asked for; 0 for none. context: maximum number of these test windows that are read again with their past cut,
    for the effective context; 0 for none.
    """

    costs: Annotated[int, Field(ge=2, le=4096)] = 4
    test: Annotated[int, Field(ge=2, le=4096)] = 10
    recall: Annotated[int, Field(ge=0, le=4096)] = 4
    context: Annotated[int, Field(ge=0, le=4096)] = 4


class CorrectionSettings(Values):
    """How the assumption that costs add up is checked and corrected, by measuring whole plans.

    random_plans: number of random plans within the budgets, whose measured losses are compared with the predicted ones.
    trials: number of trials of Optuna for each budget, beside the solution and known plans: solutions for scaled costs.
    """

    random_plans: Annotated[int, Field(ge=0, le=1000)] = 30
    trials: Annotated[int, Field(ge=0, le=1000)] = 12


class HealingSettings(Values):
    """How the weights are adapted to the plan of each budget, by distillation from the model with its full cache.

    tokens: training tokens. method: all (all weights) or lora (low-rank matrices by `peft`, merged into the weights).
    rank: rank of these matrices, 16 by default. hidden: weight of the relative squared difference of hidden states,
    added to the divergence of predictions.
    """

    tokens: Annotated[int, Field(ge=1, le=10**10)]
    method: Literal["all", "lora"] = "all"
    rank: Annotated[int, Field(ge=1, le=4096)] | None = None
    hidden: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0

    @model_validator(mode="after")
    def _rank_is_of_lora(self) -> Self:
        if self.method != "lora" and self.rank is not None:
            raise ValueError(f"rank: only for method: lora, found {self.method}")
        return self

    @property
    def how(self) -> Healing:
        """As training has it."""
        return Healing(self.tokens, self.method, self.rank or Healing.rank, self.hidden)


class AdoptionChoice(Values):
    """The rule of choice: the smallest state whose late loss is shown to be at most delta above that of the model
    itself.

    delta: margin in nats per token. confidence: confidence of the one-sided test, paired over test documents.
    """

    delta: Annotated[float, Field(ge=0.0)] = 0.05
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95


class AdoptionSettings(Values):
    """All settings of a study that starts from a trained model.

    name: name of its folders under runs/ and reports/. start: the model: a Hugging Face folder or name, or a .gguf
    file. corpus: corpus, read by the tokenizer of the model. length: length in tokens of the windows on which losses
    are measured. options: caches that layers may have, besides their own. grain: layer (the same cache for all kv heads
    of a layer) or head (a cache for each kv head). allocate: which kv heads may compete for the slots of sparse caches
    by predicted use: layer (those of one layer), or model (plans in which those of all layers compete for the sum of
    their slots are tried too). chunk: tokens of a chunk of sparse caches, a power of two. budgets:
    sizes of the state at the target length, as shares of that of the model (up to 1) or in bytes. limits: by shorter
    lengths, what the state of every plan may be there at most, as shares of that of the model or in bytes. demand: the
    requirement, measured or given; by default no condition is required. condition: how the requirement is judged;
    condition.length is the target length, by default `length`. enforce: parts of the condition that every plan must
    meet. windows: how many held-out windows are read. correction: how plans are checked and improved. finetune: adapt
    the weights to the chosen plans; by default they stay unchanged. choice: the rule of choice. fit: number of training
    windows on which predicted use is fitted. seed: random seed. device: auto, cpu, cuda or cuda:N. threads: CPU
    threads, by default as torch chooses. teraflops: speed for the hours that --dry-run prints, in 10^12 operations per
    second; by default the speed of this machine is measured.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    start: Annotated[str, Field(min_length=1)]
    corpus: str
    length: Annotated[int, Field(ge=32, le=2**22)] = 4096
    options: Annotated[tuple[OptionSettings, ...], Field(strict=False, min_length=1)]
    grain: Literal["layer", "head"] = "layer"
    allocate: Allocate = "model"
    chunk: Annotated[int, Field(ge=2, le=65536)] = 32
    budgets: Annotated[tuple[Budget, ...], Field(strict=False, min_length=1)] = (0.5, 0.25, 0.125, 0.0625)
    limits: dict[Length, Budget] = Field(default_factory=dict)
    demand: DemandSettings | None = None
    condition: Terms = Terms()
    enforce: Annotated[tuple[Literal["growth", "level"], ...], Field(strict=False)] = ("growth", "level")
    windows: WindowSettings = WindowSettings()
    correction: CorrectionSettings = CorrectionSettings()
    finetune: HealingSettings | None = None
    choice: AdoptionChoice = AdoptionChoice()
    fit: Annotated[int, Field(ge=1, le=4096)] = 8
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    device: str = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    teraflops: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _target_is_the_length(cls, data: Any) -> Any:
        """A condition without a length is judged at the length that is measured."""
        if not isinstance(data, dict) or not isinstance(length := data.get("length", 4096), int):
            return data
        condition = data.get("condition") or {}
        if not isinstance(condition, dict):
            return data
        return data | {"condition": {"length": length, "shortest": min(256, max(4, length // 2))} | condition}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk: {self.chunk} must be a power of two")
        if self.condition.length < self.length:
            raise ValueError(
                f"condition.length: {self.condition.length} must be at least length ({self.length}), which is measured"
            )
        if late := [length for length in self.limits if length >= self.condition.length]:
            raise ValueError(
                f"limits: {late[0]} must be below the target length ({self.condition.length}), at which `budgets` hold"
            )
        known: dict[Kept, int] = {}
        for number, option in enumerate(self.options):
            if option.cache == "share" and self.grain == "head":
                raise ValueError(f"options.{number}: cache: share needs grain: layer")
            try:
                found = option.kept(self.length, self.chunk)
            except ValueError as error:
                raise ValueError(f"options.{number}: {error}; give a larger share, or a smaller chunk") from None
            for kept in found:
                if kept in known:
                    raise ValueError(
                        f"options.{number}: {kept}: is the same cache as options.{known[kept]}; remove one of them"
                    )
                if not kept.evicts(self.length):
                    raise ValueError(
                        f"options.{number}: {kept}: evicts nothing in windows of {self.length} tokens; give a smaller "
                        "cache, or a larger `length`"
                    )
                known[kept] = number
        if self.windows.recall > self.windows.test:
            raise ValueError(
                f"windows.recall: {self.windows.recall} must be at most windows.test ({self.windows.test})"
            )
        return self

    @property
    def kept(self) -> list[Kept]:
        """Every option."""
        return [kept for option in self.options for kept in option.kept(self.length, self.chunk)]

    @property
    def cache_dtype(self) -> str:
        """In what keys and values are counted, by the condition; the model's own dtype may be another."""
        return self.condition.dtypes.cache or self.condition.dtypes.model

    @property
    def templates(self) -> list[Kept]:
        """Kinds of cache that known plans give all layers: windows with and without sinks, the options' sparse ones,
        and H2O beside these.
        """
        windows = [Kept("window"), Kept("sinks+window", sinks=SINKS)]
        own = [option.template(self.chunk) for option in self.options if option.cache == "sparse"]
        heavy = [replace(each, exponent=0.0, choose="attention_mass") for each in own]
        return list(dict.fromkeys([*windows, *own, *heavy]))

    @property
    def by_use(self) -> bool:
        """Does some option choose by predicted use?"""
        return any(kept.cache == "sparse" and kept.choose == "use" for kept in self.kept)

    @property
    def measuring(self) -> Json:
        """What measured losses depend on, beside the model and the corpus: not options, budgets, the demand, or which
        heads may compete, so that those may change and what was measured still counts.
        """
        return {
            "length": self.length,
            "windows": {name: count for name, count in self.windows.plain().items() if name != "context"},
            "chunk": self.chunk,
            "fit": self.fit,
            "seed": self.seed,
        }


def is_adoption(path: str | Path) -> bool:
    """Is this file a study with `start: MODEL`? Raises BadInput for one that cannot be read."""
    return START in read_mapping(path)


def load_adoption(path: str | Path, overrides: Iterable[str] = ()) -> AdoptionSettings:
    """A study with `start: MODEL`; model and corpus may lie beside its file. Raises BadInput."""
    settings = AdoptionSettings.parse(override(read_mapping(path), overrides), str(path))
    folder = Path(path).parent
    start = beside(folder, settings.start)
    found = settings.model_copy(update={"corpus": beside(folder, settings.corpus), "start": start})
    demand = found.demand
    if demand and demand.model == START:
        found = found.model_copy(update={"demand": demand.model_copy(update={"model": start})})
    if demand and demand.measure and demand.measure.split == "test":
        raise BadInput(
            f"{path}: demand.measure.split: must be train or validation; test documents are used for the report only"
        )
    return found
