"""A study's summary, made by hand."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from l2m_design.architecture import Architecture
from l2m_design.condition import Judgement, Reach
from l2m_design.estimates import Estimate
from l2m_design.information.measured import Measured
from l2m_design.laws import PowerLaw
from l2m_design.search.record import Record
from l2m_design.search.results.paired import Gap
from l2m_design.search.results.values import (
    Asked,
    ChoiceMade,
    Chosen,
    CorpusFacts,
    Counts,
    DemandRow,
    Rung,
    Seconds,
    StandingRow,
    Summary,
    TradeStep,
    TrialRow,
)
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.terms import Terms
from l2m_design.training.result import Result

ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
DRAWING = Architecture.parse({"vocabulary": 10, "width": 16, "layers": [ATTENTION]}, "test")
LAW = PowerLaw(1.0, 0.6, 0.0, np.array([[1.0, 0.55, 0.0], [1.0, 0.65, 0.0]]))
TERMS = {"length": 4096, "shortest": 256, "end": "upper", "nats_per_element": 0.06, "dtype": "bfloat16"}
SETTINGS = {
    "name": "test", "corpus": "stdlib", "space": "space.yaml", "demand": {"beta": 0.6},
    "recipe": {"tokens": 1024, "length": 64, "batch_tokens": 64}, "search": {"rates": [0.5, 1.0]},
    "finalists": {"seeds": 3},
}  # fmt: skip
JUDGED = Judgement("yes", 1.0, 0.65, "t", "t^0.65", True, True, {4096: 1.0}, Reach(None, 4096))


def gap(value: float, half: float = 0.01) -> Gap:
    return Gap(value, value - half, value + half, standard_error=half / 2, seeds=3)


def record(number: int, loss: float | None, **changes: Any) -> Record:
    result = None
    if loss is not None:
        profile = [loss + 1 / (t + 1) for t in range(64)]
        result = asdict(Result(loss, [loss], loss, [loss], profile, 1.0, [(64, loss)], 1, 64, 1.0, 0.1, 1, "cpu", 0))
    fields: dict[str, Any] = {
        "number": number, "state": "complete", "architecture": DRAWING.plain(), "picture": "A",
        "fingerprint": str(number), "parameters": 1000, "state_bytes": 1024 * (number + 1), "feasible": True,
        "verdict": JUDGED.plain(), "params": {}, "value": 2.0, "result": result,
    }  # fmt: skip
    return Record(**{**fields, **changes})


def row(source: Record) -> TrialRow:
    interval = Estimate(2.0, 1.9, 2.1)
    return TrialRow(
        trial=source.number, design=source.design, picture="A", architecture=DRAWING, fingerprint=source.fingerprint,
        parameters=1000, state=source.state, feasible=source.feasible, objective=2.0, loss=source.late_loss, rate=1.0,
        test_loss=interval, difference=interval, mi_captured_nats=1.0, state_bytes=source.state_bytes,
        growth_exponent=1.0, meets_growth=True, meets_level=True, reach_tokens=Reach(None, 4096), reason=None,
        context_gain={4: gap(2.0), 16: gap(2.0)}, effective_context=16,
    )  # fmt: skip


MEASURED = Measured(
    beta=Estimate(0.6, 0.55, 0.65), prefactor_nats=1.0, offset_nats=0.0, power_exponent=Estimate(0.6, 0.55, 0.65),
    lengths=[64, 128, 256], mi_nats=[10.0, 15.0, 22.0], mi_low=[9.0, 14.0, 21.0], mi_high=[11.0, 16.0, 23.0],
    local_slopes=[Estimate(0.6, 0.5, 0.7)], estimator="compression", preferred_law="power", preference="a sentence",
    preferred_by_replicates=1.0, law=LAW, required=LAW, unit="tokens", bytes_per_token=None, documents=40,
    vocabulary=10, resampled="documents", tokens_scored=1000, seconds=1.0, corpus_fingerprint="f", losses_nats=None,
    control_explained=None, explained_by=None, compression=None, context_used=None, notes=[],
)  # fmt: skip


@pytest.fixture
def summary() -> Summary:
    attention = record(0, 2.0, design="all attention")
    mamba = record(1, 2.1, design="all Mamba-2 <b>", feasible=False)
    best = record(2, 1.9)
    rejected = record(3, None, state="infeasible", feasible=False)
    settings = StudySettings.parse(SETTINGS, "test")
    standing = StandingRow(rival="trial 0 (all attention)", p=0.01, difference=gap(0.01), lost_gain=gap(0.0))
    return Summary(
        study="test", version="0", trials=Counts(3, 0, 1, 0), duplicates=0, asked=Asked(2, 1),
        chosen=Chosen(**vars(row(best))), reference="trial 0 (all attention)", verdict="confirmed",
        uses_context=True, trial_reference="trial 0 (all attention)",
        choice=ChoiceMade(
            among="trials", length=64, context=16, recipe=settings.recipe, delta=0.02, confidence=0.95,
            said=["The least state."], confirmed=["trial 2"], standings={"trial 2": standing},
        ),
        tradeoff=[
            TradeStep(larger="a", smaller="b", state_bytes=2048, halvings=1.0, knee=knee, cost=gap(cost),
                      cost_per_halving=gap(cost))
            for knee, cost in ((True, 0.01), (False, 0.3))
        ],
        front=[row(best)], baselines=[row(attention), row(mamba)], finalists=[],
        ladder=[Rung("architecture only", 9, 0.0, 9, Estimate(0.5, 0.1, 0.8)), Rung("the corpus", 9, 9.0, 0, None)],
        seconds=Seconds(9.0, 8.0, 0.5, 0.5), records=[attention, mamba, best, rejected],
        demand=DemandRow(law=LAW, has_level=True, terms=Terms.parse(TERMS, "test"), exponent=0.65,
                         measurement=MEASURED),
        settings=settings,
        space=Space.parse({"depth": 1, "parameters": 1000, "kinds": {"a": ATTENTION}}, "test"),
        corpus=CorpusFacts("corpus", "f", 10), rejected_unasked=0, notes=["a note"], report="index.html",
        tracking_uri="sqlite:///x.db",
    )  # fmt: skip
