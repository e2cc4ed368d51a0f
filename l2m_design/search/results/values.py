"""What a study found, as values: the rows of its tables, its choice, and all of it (`Summary`), as study.json holds it.

Fields that have a default are those that earlier versions did not write.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Reach
from l2m_design.estimates import Estimate
from l2m_design.information.measured import Law, Measured
from l2m_design.search.record import Record, State
from l2m_design.search.results.choice import Verdict
from l2m_design.search.results.paired import Gap
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.terms import Terms
from l2m_design.training.recipe import Recipe

AS_FILES = {"type": "object", "description": "as in its YAML file, see search_spaces/schema.json"}
Drawing = Annotated[Architecture, WithJsonSchema(AS_FILES)]
Kept = Annotated[Record, PlainSerializer(Record.plain)]  # as the study's database keeps it
ITS_FILE = {"type": "object", "description": "as in the YAML file of the study, with all defaults"}
Shown = Annotated[StudySettings, PlainSerializer(StudySettings.public), WithJsonSchema(ITS_FILE)]  # no password leaves


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A line about a trial; losses in nats per token, state_bytes at the target length.

    loss: late loss on validation documents; test_loss: on test documents, with interval; difference: test loss less the
    reference's, paired over documents. rate: factor of the recipe's learning rate. context_gain: by context c, the loss
    with the past cut to c less the loss with the whole past; effective_context: the longest c, in tokens, with a gain
    beyond its interval, None where that was not measured. kernels: what computed on a GPU, besides torch.
    """

    trial: int | None
    design: str | None
    picture: str
    architecture: Drawing
    fingerprint: str
    parameters: int
    state: State
    feasible: bool
    objective: float | None
    loss: float | None
    rate: float
    test_loss: Estimate | None
    difference: Gap | Estimate | None
    mi_captured_nats: float | None
    state_bytes: int
    growth_exponent: float
    meets_growth: bool
    meets_level: bool | None
    reach_tokens: Reach
    reason: str | None
    decode_ms: float | None = None
    context_gain: dict[int, Gap] = field(default_factory=dict)
    effective_context: int | None = None
    kernels: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The baseline's name, else the trial's number."""
        return self.design or f"trial {self.trial}"


@dataclass(frozen=True, kw_only=True)
class Chosen(TrialRow):
    """The chosen model: a trial, or a finalist with the losses of its longer training (trial: none of a design that
    only finalists trained). picked_by, recall_bits: see Finalist. seeds: that its losses are means of.
    """

    picked_by: float | None = None
    recall_bits: float | None = None
    seeds: int = 1

    @property
    def names(self) -> list[str]:
        """By what names a choice may know it."""
        trial = [] if self.trial is None else [f"trial {self.trial}", f"trial {self.trial} ({self.design})"]
        return [*([self.design] if self.design else []), *trial]


@dataclass(frozen=True, kw_only=True)
class AtLength:
    """What a finalist reached at a context length, over fresh seeds; information in nats at n = length / 2.

    loss: late loss on validation documents, nats per token, test_loss: on test documents; test_interval: the same,
    documents resampled. difference, excess_difference_bits: from the reference, paired over test documents and seeds;
    late_excess_bits and its difference are above Bayes, in bits a fact. context_gain, effective_context: see TrialRow.
    """

    seeds: int
    learning_rate: float
    loss: float
    loss_by_seed: list[float]
    test_loss: float
    test_interval: Estimate
    difference: Gap | None
    context_gain: dict[int, Gap] = field(default_factory=dict)
    effective_context: int | None = None
    context_seconds: float = 0.0
    late_excess_bits: float | None
    late_excess_bits_by_seed: list[float]
    excess_difference_bits: Gap | None
    mi_captured_nats: float
    corpus_nats: Estimate | None
    nats_per_element: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A line about a finalist: its law and verdict, what picked it, and by length what fresh seeds reached.

    known: is it a baseline? failed: why runs of it failed. picked_by: late loss of the seed that picks. recall_bits:
    excess over Bayes on the recall source, bits per scored token.
    """

    name: str
    known: bool
    picture: str
    architecture: Drawing
    fingerprint: str
    parameters: int
    state_bytes: int
    feasible: bool
    growth_exponent: float
    meets_growth: bool
    meets_level: bool | None
    reach_tokens: Reach
    failed: list[str]
    picked_by: float | None = None
    recall_bits: float | None = None
    lengths: dict[int, AtLength]

    @property
    def title(self) -> str:
        """Its name, with its layer pattern where it is a trial's number."""
        return self.name if self.known else f"{self.name}: {self.picture}"


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """A model compared with the reference: difference in late loss and in gain from far context, nats per token."""

    difference: Gap | None
    lost_gain: Gap | None


@dataclass(frozen=True, kw_only=True)
class StandingRow:
    """A model beside the rival to which it is least surely not inferior. p: of the test that it is inferior to none."""

    rival: str
    p: float
    difference: Gap | None
    lost_gain: Gap | None


@dataclass(frozen=True, kw_only=True)
class ChoiceMade:
    """How the choice was made: among models of which window (length, in tokens) and recipe, under which rule.

    context: tokens beyond which the gain was compared, 0 if it was not. said: why, in sentences. See choice.Choice.
    """

    among: Literal["finalists", "trials"]
    length: int
    context: int = 0
    recipe: Recipe
    delta: float
    confidence: float
    recall: float | None = None
    said: list[str]
    standings: dict[str, StandingRow] = field(default_factory=dict)
    confirmed: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    comparisons: dict[str, ComparisonRow] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TradeStep:
    """A step along the front from a model to the next smaller. halvings: log2 of the ratio of states; cost: rise of the
    late loss, nats per token; knee: is the smaller one the front's?
    """

    larger: Annotated[str, Field(alias="from")]
    smaller: Annotated[str, Field(alias="to")]
    state_bytes: int
    halvings: float
    cost: Gap | None
    cost_per_halving: Estimate | None
    knee: bool


@dataclass(frozen=True)
class Rung:
    """A rung of the fidelity ladder: its cost, and how well it orders candidates as the next one does (Spearman)."""

    rung: str
    candidates: int
    seconds_each: float
    shared_with_next: int
    spearman_to_next: Estimate | None


@dataclass(frozen=True)
class Counts:
    """Trials by state, each architecture once."""

    complete: int
    pruned: int
    infeasible: int
    failed: int


@dataclass(frozen=True)
class Asked:
    """Candidates that the sampler asked for, and those that met the condition."""

    drawings: int
    feasible: int


@dataclass(frozen=True)
class Seconds:
    """Of the whole study: wall time, training and evaluating of all workers, and what workers spent besides."""

    total: float
    training: float
    evaluating: float
    overhead: float


@dataclass(frozen=True)
class CorpusFacts:
    """The corpus of a study. copies: documents that repeat others, see Corpus.copied."""

    name: str
    fingerprint: str
    vocabulary: int
    copies: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DemandRow:
    """What was required, and how it was measured (None where it was given)."""

    law: Law
    has_level: bool
    terms: Terms
    exponent: float
    measurement: Measured | None

    @property
    def demand(self) -> Demand:
        """The demand itself."""
        return Demand(self.law, self.terms, self.has_level)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that a study found. duplicates: trials answered from an earlier equal one.

    reference: whom differences of finalists (of trials, where there are none) are from; trial_reference: those of the
    trials' tables. verdict: is it confirmed that the chosen model keeps up? uses_context: does any model gain from
    beyond a sixteenth of its window; gains_at_context: from beyond the choice's context (None where not measured)?
    rejected_unasked: architectures refused before a trial. report: the page; tracking_uri: of MLflow, or empty.
    """

    schema: Literal[1] = 1
    study: str
    version: str
    trials: Counts
    duplicates: int
    asked: Asked
    chosen: Chosen | None
    reference: str | None = None
    verdict: Verdict | None = None
    effective_context: int | None = None
    context_gain: dict[int, Gap] = field(default_factory=dict)
    uses_context: bool | None = None
    gains_at_context: bool | None = None
    trial_reference: str | None = None
    choice: ChoiceMade
    tradeoff: list[TradeStep] = field(default_factory=list)
    front: list[TrialRow]
    baselines: list[TrialRow]
    finalists: list[Finalist]
    ladder: list[Rung]
    seconds: Seconds
    records: list[Kept]
    demand: DemandRow
    settings: Shown
    space: Annotated[Space, WithJsonSchema(AS_FILES)]
    corpus: CorpusFacts
    rejected_unasked: int
    notes: list[str]
    report: str
    tracking_uri: str
