"""What a trial's or a finalist's run shows in the tracking store."""

from dataclasses import dataclass

from l2m_design.laws import Dtypes
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalRun
from l2m_design.settings import Json
from l2m_design.training.result import Result

STATE_LENGTHS = (1024, 4096, 16384, 65536, 262144)
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "infeasible": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Content:
    """All that a trial's or finalist's run holds; series: (name, tokens read, nats)."""

    name: str
    status: str
    tags: dict[str, str]
    params: Json
    metrics: dict[str, float]
    series: list[tuple[str, int, float]]
    architecture: Json


def of_trial(record: Record, dtypes: str | Dtypes) -> Content:
    """A trial's run."""
    tags = {"state": record.state, "picture": record.picture}
    tags |= {"design": record.design} if record.design else {}
    tags |= {"reason": record.reason} if record.reason else {}
    return Content(
        name=f"{record.number:03d} {record.picture}",
        status=STATUS[record.state],
        tags=tags,
        params={**record.params, "drawing": record.fingerprint, "copy_of": record.copy_of},
        metrics=trial_metrics(record, dtypes),
        series=curves(record),
        architecture=record.architecture,
    )


def of_finalist(run: FinalRun) -> Content:
    """A finalist's run."""
    job, result = run.job, run.result
    return Content(
        name=f"finalist {job.name}, {job.length} tokens, seed {job.seed}",
        status="FINISHED" if result else "FAILED",
        tags={"state": "finalist", "design": job.name} | ({"reason": run.reason} if run.reason else {}),
        params={"length": job.length, "rate": job.rate, "seed": job.seed},
        metrics=run_metrics(result) if result else {},
        series=[("train_loss", tokens, loss) for tokens, loss in result.curve] if result else [],
        architecture=job.architecture,
    )


def trial_metrics(record: Record, dtypes: str | Dtypes) -> dict[str, float]:
    """What a trial's run shows: losses, state at several lengths, exponent, constraint slacks."""
    found = record.judgement
    metrics: dict[str, float] = {
        "parameters": record.parameters,
        "growth_exponent": found.growth_exponent,
        "growth_slack": found.growth_exponent - found.asked_exponent,
        "state_bytes_target": record.state_bytes,
        "seconds": record.seconds,
    }
    state = record.drawing.state
    metrics |= {f"state_bytes_{length}": state.bytes(length, dtypes) for length in STATE_LENGTHS}
    metrics |= {f"level_slack_{length}": slack for length, slack in (found.level_slack or {}).items()}
    if record.value is not None:
        metrics["objective"] = record.value
    metrics["learning_rate_factor"] = record.rate
    if record.recall is not None:
        metrics["recall_excess_nats"] = record.recall
    return metrics | (run_metrics(record.outcome) if record.outcome else {})


def run_metrics(result: Result) -> dict[str, float]:
    """What any training run shows."""
    metrics: dict[str, float] = {
        "late_loss": result.late_loss,
        "test_late_loss": result.test_late_loss,
        "mi_captured_nats": result.mi_captured_nats,
        "peak_memory_bytes": result.peak_memory_bytes,
        "train_seconds": result.train_seconds,
        "compile_seconds": result.compile_seconds,
    }
    optional = {"late_excess_nats": result.late_excess_nats, "decode_ms": result.decode_ms}
    return metrics | {name: value for name, value in optional.items() if value is not None}


def curves(record: Record) -> list[tuple[str, int, float]]:
    """(name, tokens read, nats): the training loss and the looks at the rungs."""
    points = [("rung_late_loss", tokens, loss) for tokens, loss in record.rungs]
    if record.outcome:
        points += [("train_loss", tokens, loss) for tokens, loss in record.outcome.curve]
    return points
