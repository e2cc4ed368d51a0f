"""Settings of a study, as its YAML file has them."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from l2m_design.errors import BadInput
from l2m_design.information import MeasurementSettings
from l2m_design.search.space.space import Space
from l2m_design.settings import Json, Values, override, read_mapping
from l2m_design.terms import Terms
from l2m_design.training.recipe import Recipe

Beta = Annotated[float, Field(gt=0.0, le=1.0)]


class DemandSettings(Values):
    """Where the requirement comes from: a measurement of the corpus, or a given law I(n;n) = prefactor · n^beta.

    measure: settings of a measurement of the corpus. model: language model that scores the corpus, for the estimators
    profile, direct and vclub: oracle, train, or a Hugging Face model whose tokenizer the corpus uses. beta: given
    exponent, instead of measure. beta_interval: interval of the given exponent. prefactor: prefactor of the given law,
    in nats; without it the capacity condition is not judged. unit: what n of the given law counts: tokens of the
    corpus, or bytes.
    """

    measure: MeasurementSettings | None = None
    model: str | None = None
    beta: Beta | None = None
    beta_interval: Annotated[tuple[Beta, Beta], Field(strict=False)] | None = None
    prefactor: Annotated[float, Field(gt=0.0, le=1e12)] | None = None
    unit: Literal["tokens", "bytes"] = "tokens"

    @model_serializer(mode="wrap")
    def _without_the_usual_unit(self, handler: SerializerFunctionWrapHandler) -> Json:
        """Settings that count tokens stay what they were, so that studies begun with them go on."""
        plain: Json = handler(self)
        return {key: value for key, value in plain.items() if (key, value) != ("unit", "tokens")}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.measure is None) == (self.beta is None):
            raise ValueError("give either measure (settings of a measurement) or beta (a given exponent)")
        if self.measure is None and self.model is not None:
            raise ValueError("model: allowed with measure only; leave it out with a given beta")
        if self.measure is not None and (self.prefactor is not None or self.beta_interval is not None):
            raise ValueError("prefactor and beta_interval: allowed with a given beta only; leave them out with measure")
        if self.unit == "bytes" and self.prefactor is None:
            raise ValueError("unit: allowed with a given beta and prefactor only")
        if self.measure and self.measure.needs_scorer != (self.model is not None):
            raise ValueError(
                "model (oracle, train, a folder or a name): required by profile, direct and vclub, not allowed with "
                "other estimators"
            )
        if self.beta and self.beta_interval and not self.beta_interval[0] <= self.beta <= self.beta_interval[1]:
            raise ValueError(f"beta_interval {list(self.beta_interval)} must contain beta ({self.beta})")
        return self


Share = Annotated[float, Field(gt=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1000.0)]


class SearchSettings(Values):
    """Budget and rules of the search.

    trials: number of architectures to train, besides the baselines. mode: penalised minimises late loss + price ·
    log2(state bytes); pareto minimises late loss, state bytes and, with latency, the milliseconds of a decoding step as
    separate objectives. price: state penalty, in nats per token for each doubling of the state. latency: also minimise
    the time of a decoding step, with mode pareto. sampler: sampler of Optuna; auto uses gp for up to 300 trials, else
    tpe. enforce: parts of the condition that a candidate must meet to be trained: growth, level (the capacity
    condition). rates: factors of the learning rate of the recipe; each candidate takes one of them, baselines try all.
    pruner: median, asha, hyperband or none; auto is median, or asha with pareto. reduction: at each rung asha and
    hyperband continue one of this many trials. warmup_trials: number of complete trials before the median pruner may
    stop others; the first 2 · warmup_trials trials are sampled evenly, without the sampler. known_designs: also train
    the baselines. trial_minutes: time limit of a trial; a slower one fails. memory_gib: memory limit of training; a
    candidate that needs more, or more than the GPU has, counts as infeasible. kernels: names of faster kernels that
    every worker must have. seed: random seed of the sampler.
    """

    trials: Annotated[int, Field(ge=0, le=100_000)] = 24
    mode: Literal["penalised", "pareto"] = "penalised"
    price: Annotated[float, Field(ge=0.0, le=1e6)] = 0.01
    latency: bool = False
    sampler: Literal["auto", "tpe", "gp", "nsga2", "random"] = "auto"
    enforce: Annotated[tuple[Literal["growth", "level"], ...], Field(strict=False)] = ("growth", "level")
    rates: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)] = (1.0,)
    pruner: Literal["auto", "median", "asha", "hyperband", "none"] = "auto"
    reduction: Annotated[int, Field(ge=2, le=10)] = 3
    warmup_trials: Annotated[int, Field(ge=1)] = 6
    known_designs: bool = True
    trial_minutes: Annotated[float, Field(gt=0.0)] | None = None
    memory_gib: Annotated[float, Field(gt=0.0)] | None = None
    kernels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "pareto" and self.pruner in ("median", "hyperband"):
            raise ValueError(f"pruner: {self.pruner} is not allowed with mode: pareto; use asha or none")
        if self.latency and self.mode != "pareto":
            raise ValueError("latency: only with mode: pareto, where it is an objective")
        return self


class RecallSettings(Values):
    """A second criterion: recall on a source whose Bayes loss is known; `choice.recall` limits the excess over it.

    corpus: recall source, such as mqar:..., noisy-recall:... or santa-fe:...; by default Santa Fe with the required
    beta. stage: which models are trained on it: finalists (each once), or trials (every trial, before it is trained on
    the corpus). length: window length in tokens. tokens: training tokens. batch_tokens: tokens of a training step.
    learning_rate: peak learning rate. keep: with stage trials, the share of candidates that continue on the corpus,
    ranked by excess over the Bayes loss, after the first `search.warmup_trials`.
    """

    corpus: str | None = None
    stage: Literal["trials", "finalists"] = "trials"
    length: Annotated[int, Field(ge=32, le=2**20)] = 512
    tokens: Annotated[int, Field(ge=32)] = 200_000
    batch_tokens: Annotated[int, Field(ge=32)] = 2048
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 5e-3
    keep: Share = 1.0

    @model_validator(mode="after")
    def _keeps_trials(self) -> Self:
        if self.keep < 1 and self.stage == "finalists":
            raise ValueError("keep: only for stage: trials")
        return self


class FinalistSettings(Values):
    """The last stage: the best candidates and the baselines, trained longer, with several fresh seeds and at each
    length.

    top: number of candidates. seeds: number of seeds that are compared; one more selects candidates. baselines: names
    of the baselines that are trained again, by default all; the best model of all trials is always trained again.
    tokens: training tokens of a run, by default four times those of the recipe. batch_tokens: tokens of a training
    step, by default those of the recipe. lengths: context lengths for training and evaluation, by default that of the
    recipe. windows: number of held-out windows, by default that of the recipe. rates: factors of the learning rate of
    the recipe; the best one is used, by validation loss with the seed that selects, at the shortest length. designs:
    further architectures by name, each a list of layers.
    """

    top: Annotated[int, Field(ge=0, le=100)] = 3
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    tokens: Annotated[int, Field(ge=1)] | None = None
    batch_tokens: Annotated[int, Field(ge=16)] | None = None
    lengths: Annotated[tuple[Annotated[int, Field(ge=16)], ...], Field(strict=False)] = ()
    rates: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)] = (1.0,)
    windows: Annotated[int, Field(ge=8)] | None = None
    baselines: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    designs: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)


class ChoiceSettings(Values):
    """The rule of choice: the smallest state that is shown to be at most delta worse than any other finalist.

    delta: margin for the late loss and for the gain from far context, in nats per token. confidence: confidence of the
    one-sided tests over documents and seeds, for all of them together. reference: best (compare with every finalist;
    differences are given to the lowest loss), full attention, or the name of a baseline or finalist. context: the gain
    from context beyond this many tokens is compared; by default a quarter of the window. recall: highest excess over
    the Bayes loss on the source of `recall`, in bits per scored token.
    """

    delta: Annotated[float, Field(ge=0.0)] = 0.02
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    reference: Annotated[str, Field(min_length=1)] = "best"
    context: Annotated[int, Field(ge=2)] | None = None
    recall: Annotated[float, Field(ge=0.0)] | None = None


class StudySettings(Values):
    """All settings of a study.

    name: name of its folders under runs/ and reports/. corpus: corpus, as `l2m estimate` takes it. space: file of the
    search space, relative to the file of the study. demand: the requirement, measured or given. condition: how the
    requirement is judged. recipe: how each model is trained. search: budget and rules of the search. recall: second
    criterion, by default none. finalists: the last stage; without it no choice is confirmed. choice: the rule of
    choice. device: auto, cpu, cuda or cuda:N. threads: CPU threads per trial, by default an equal share. workers:
    number of trials at once, each on its own GPU or on its share of the CPU threads. executor: local, or ray for the
    nodes of a Ray cluster. gpus_per_trial: number of processes per trial, each with one GPU. shard: divide weights,
    gradients and optimiser states among these processes, for models that do not fit one GPU. storage: URL of the Optuna
    database, by default sqlite in the folder of the study.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    corpus: str
    space: str
    demand: DemandSettings
    condition: Terms = Terms()
    recipe: Recipe = Recipe()
    search: SearchSettings = SearchSettings()
    recall: RecallSettings | None = None
    finalists: FinalistSettings | None = None
    choice: ChoiceSettings = ChoiceSettings()
    device: str = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    executor: Literal["local", "ray"] = "local"
    gpus_per_trial: Annotated[int, Field(ge=1, le=64)] = 1
    shard: bool = False
    storage: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, data: Any) -> Any:
        """Studies that say how long a silent worker lived; now there are none."""
        return {key: value for key, value in data.items() if key != "grace_seconds"} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.shard and self.gpus_per_trial == 1:
            raise ValueError("shard: requires gpus_per_trial: 2 or more; a single process stores all weights")
        if self.choice.recall is not None and self.recall is None:
            raise ValueError("choice.recall: requires a recall source; add the key recall to the study")
        window = self.compared_at
        if self.choice.context is not None and self.choice.context > window // 2:
            raise ValueError(
                f"choice.context: {self.choice.context} is longer than half of the windows of {window} tokens"
            )
        return self

    @property
    def longest(self) -> int:
        """The longest window that is trained, in tokens."""
        return max(self.recipe.length, self.compared_at)

    @property
    def compared_at(self) -> int:
        """The window at which the choice is made, in tokens: the finalists' longest, else the trials'."""
        return max((self.finalists.lengths if self.finalists else ()) or (self.recipe.length,))

    @property
    def context(self) -> int:
        """Tokens from beyond which the choice asks for the gain: those named, else a quarter of the window."""
        return self.choice.context or self.compared_at // 4

    def public(self) -> Json:
        """As `plain`, without the storage's password: for whatever is kept, shown or sent."""
        return self.plain() | {"storage": masked(self.storage) if self.storage else None}

    @property
    def identity(self) -> Json:
        """What makes two studies the same: how trials are drawn and trained, not how many, where, or the choice."""
        plain = self.plain()
        plain["search"].pop("trials")
        plain.pop("corpus")  # its fingerprint tells it, wherever it lies
        for key in ("device", "threads", "workers", "executor", "gpus_per_trial", "shard", "storage"):
            plain.pop(key)
        for key in ("finalists", "choice"):
            plain.pop(key)
        return plain


def masked(url: str) -> str:
    """A URL with stars for its password."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*:).*@", r"\1***@", url))


def load_study(path: str | Path, overrides: tuple[str, ...] = ()) -> tuple[StudySettings, Space]:
    """A study and its space; `space.x=...` overrides reach into the space's file. Raises BadInput.

    The space lies beside the study's file, and so may the corpus.
    """
    inner = [setting.removeprefix("space.") for setting in overrides if setting.startswith("space.")]
    outer = [setting for setting in overrides if not setting.startswith("space.")]
    data = read_mapping(path)
    if script := data.get("script"):
        raise BadInput(f"{path}: script: is run by `python {script}`, not by `l2m search`")
    settings = StudySettings.parse(override(data, outer), str(path))
    settings = settings.model_copy(update={"corpus": beside(Path(path).parent, settings.corpus)})
    place = Path(path).parent / settings.space
    if not place.is_file():
        raise BadInput(f"{path}: space: no file {place}")
    return settings, Space.load(place, inner)


def beside(folder: Path, corpus: str) -> str:
    """The corpus, found beside the study's file where a path of that name lies there and none here; a path from the
    working directory where it lies in it.
    """
    name, colon, options = corpus.partition(":")
    path = folder / name
    there = not Path(name).exists() and not Path(name).is_absolute() and path.exists()
    if not there:
        return corpus
    full, here = path.resolve(), Path.cwd()
    return f"{full.relative_to(here) if full.is_relative_to(here) else full}{colon}{options}"


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys whose values differ between two plain values, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old} -> {new}"]
