"""StudySettings: a study as its YAML file says it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from l2m_design.condition import Terms
from l2m_design.errors import BadInput
from l2m_design.information import MeasurementSettings
from l2m_design.search.space import Space
from l2m_design.settings import Values, override, read_mapping
from l2m_design.training.recipe import Recipe

Beta = Annotated[float, Field(gt=0.0, le=1.0)]


class DemandSettings(Values):
    """Where the demand comes from: a measurement of the corpus, or a given law I(n;n) = prefactor · n^beta.

    model: what scores the corpus for profile, direct and vclub: oracle, train, or a Hugging Face model whose tokenizer
    the corpus names.
    """

    measure: MeasurementSettings | None = None
    model: str | None = None
    beta: Beta | None = None
    beta_interval: Annotated[tuple[Beta, Beta], Field(strict=False)] | None = None
    prefactor: Annotated[float, Field(gt=0.0, le=1e12)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.measure is None) == (self.beta is None):
            raise ValueError("give either measure (settings of a measurement) or beta (a given exponent)")
        if self.measure is not None and (self.prefactor is not None or self.beta_interval is not None):
            raise ValueError("prefactor and beta_interval go with a given beta, not with measure")
        if self.measure and self.measure.needs_scorer != (self.model is not None):
            raise ValueError("model (oracle, train, a folder or a name) goes with profile, direct and vclub only")
        if self.beta and self.beta_interval and not self.beta_interval[0] <= self.beta <= self.beta_interval[1]:
            raise ValueError(f"beta_interval {list(self.beta_interval)} must hold beta ({self.beta})")
        return self


class SearchSettings(Values):
    """How long and by what rule to search.

    trials: candidates trained, the known designs among them. price: nats a token that one doubling of the
    state is worth. enforce: parts of the condition that a candidate must meet before it is built.
    warmup_trials: complete runs before the median rule may stop others; twice as many trials (the known designs
    among them) are drawn before the sampler learns from what it saw.
    """

    trials: Annotated[int, Field(ge=1, le=100_000)] = 24
    price: Annotated[float, Field(ge=0.0)] = 0.01
    enforce: Annotated[tuple[Literal["growth", "level"], ...], Field(strict=False)] = ("growth", "level")
    pruner: Literal["median", "asha", "none"] = "median"
    warmup_trials: Annotated[int, Field(ge=1)] = 6
    known_designs: bool = True
    trial_minutes: Annotated[float, Field(gt=0.0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class StudySettings(Values):
    """A whole study. space: a file, relative to the study's own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    corpus: str
    space: str
    demand: DemandSettings
    condition: Terms = Terms()
    recipe: Recipe = Recipe()
    search: SearchSettings = SearchSettings()
    device: str = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None


def load_study(path: str | Path, overrides: tuple[str, ...] = ()) -> tuple[StudySettings, Space]:
    """A study and its space; `space.x=...` overrides reach into the space's file. Raises BadInput."""
    inner = [setting.removeprefix("space.") for setting in overrides if setting.startswith("space.")]
    outer = [setting for setting in overrides if not setting.startswith("space.")]
    settings = StudySettings.parse(override(read_mapping(path), outer), str(path))
    place = Path(path).parent / settings.space
    if not place.is_file():
        raise BadInput(f"{path}: space: no file {place}")
    return settings, Space.load(place, inner)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys whose values differ between two plain values, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old} -> {new}"]
