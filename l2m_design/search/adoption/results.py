"""What an adoption study found, as values: all of it (`AdoptionSummary`), as its study.json holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError, WithJsonSchema

from l2m_design.condition import Judgement
from l2m_design.errors import BadInput
from l2m_design.estimates import Estimate
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.results.paired import Gap
from l2m_design.search.results.reading import stored
from l2m_design.settings import Json, first_error

KIND = "adoption"
AS_FILES = {"type": "object", "description": "as its JSON has it"}


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model that the study starts from. bytes: its state at the target length, in the judged dtypes; context_gain,
    effective_context: see PlanRow.
    """

    name: str
    fingerprint: str
    layers: list[str]
    kv_heads: int
    head_dim: int
    bytes: int
    late_loss: float
    test_loss: float | None
    recall: dict[str, float] = field(default_factory=dict)
    context_gain: dict[int, Gap] = field(default_factory=dict)
    effective_context: int | None = None


@dataclass(frozen=True, kw_only=True)
class UnitRow:
    """A layer, or some of its kv heads: the caches that it may take, in words, the bytes of each at the target, and its
    cost alone, nats per token.
    """

    layer: int
    heads: list[int]
    options: list[str]
    bytes: list[int]
    costs: list[float]


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A plan. layers: as CachePlan writes them; kept: by unit, the number of its option, none where it is no option.

    predicted: summed costs, the same whichever heads compete for slots; validation: late loss above the model's on
    the windows that chose; difference: on test windows, paired over documents; p: that a difference as small were
    seen if the true one were delta. recall: share of the digits asked for that were the likeliest token.
    context_gain: by context c in tokens, late loss on test windows with the past cut to c less that with the whole
    past; effective_context: the longest c with a gain, 0 where there is none, None where it was not measured.
    healed: was it distilled? part: of a uniform plan, what the best plan of its budget loses on test windows as a part
    of what this one does, where this is clearly above 0.
    """

    name: str
    budget: int
    layers: Annotated[list[Any], WithJsonSchema({"type": "array"})]
    picture: str
    fingerprint: str
    kept: list[int | None]
    state_bytes: int
    share: float
    judgement: Annotated[Judgement, WithJsonSchema(AS_FILES)] | None
    predicted: float | None
    validation: float | None
    difference: Gap | None = None
    repeated: Gap | None = None
    p: float | None = None
    recall: dict[str, float] = field(default_factory=dict)
    context_gain: dict[int, Gap] = field(default_factory=dict)
    effective_context: int | None = None
    healed: bool = False
    part: Estimate | None = None

    @property
    def key(self) -> str:
        """Tells it from all others of the study."""
        return f"{self.fingerprint} {self.healed}"

    @property
    def meets(self) -> bool | None:
        """Growth and level, as far as they are judged; None without a demand."""
        found = self.judgement
        return None if found is None else found.meets_growth and found.meets_level is not False


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """A budget of bytes: the plan that is best on validation windows first (`best`), and what it is compared with.

    over: what the best plan loses on test windows less what the uniform plan that loses least there does (`rival`),
    paired; lost: its part of what that one loses, where this is clearly above 0. gain: by how much healing lowers its
    loss. seconds: of solving the knapsack.
    """

    bytes: int
    share: float
    best: PlanRow
    healed: PlanRow | None
    others: list[PlanRow]
    lost: Estimate | None
    gain: Gap | None
    rival: str | None
    seconds: float
    over: Gap | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Random plans: summed costs and measured late loss above the model's on validation windows, nats per token."""

    predicted: list[float]
    measured: list[float]
    spearman: Estimate | None


@dataclass(frozen=True, kw_only=True)
class AdoptionSummary:
    """All of it; losses in nats per token. test_documents: that hold the test windows (those akin count as one); None
    in files of older versions.
    """

    kind: Literal["adoption"] = "adoption"
    study: str
    version: str
    settings: AdoptionSettings
    start: Start
    corpus: dict[str, str]
    demand: dict[str, Any] | None
    units: list[UnitRow]
    budgets: list[BudgetRow]
    check: Check
    chosen: PlanRow | None
    seconds: float
    report: str = ""
    tracking_uri: str | None = None
    test_documents: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[PlanRow]:
        """Every plan of every budget, each once."""
        found = [row for b in self.budgets for row in (b.best, *([b.healed] if b.healed else []), *b.others)]
        return list({row.key: row for row in found}.values())


@cache
def _adapter() -> "TypeAdapter[AdoptionSummary]":
    return TypeAdapter(AdoptionSummary)


def plain(summary: AdoptionSummary) -> Json:
    """JSON-ready, with the keys that other programs rely on."""
    return _adapter().dump_python(summary, mode="json")


def of_plain(data: Mapping[str, Any], where: str) -> AdoptionSummary:
    """The summary that `plain` wrote. Raises BadInput with the field."""
    try:
        return _adapter().validate_python(data)
    except ValidationError as error:
        raise BadInput(f"{where}: {first_error(error)}; search again") from None


def load_adoption_summary(place: str | Path) -> AdoptionSummary | None:
    """What a study with `start` found, from its study.json or folder; None where the study is of another kind. Raises
    BadInput when there is none.
    """
    path, data = stored(place)
    return of_plain(data, str(path)) if data.get("kind") == KIND else None
