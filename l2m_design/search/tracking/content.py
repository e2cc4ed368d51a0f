"""The content of runs in the tracking store: of a trial, of a finalist, and of the parent of a finalist's runs."""

from dataclasses import dataclass

from l2m_design.architecture import Architecture
from l2m_design.condition import Judgement
from l2m_design.laws import size
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import PICKS, RECALL, FinalRun
from l2m_design.search.results.tables import gains_from
from l2m_design.search.results.values import AtLength, Finalist
from l2m_design.search.space.space import Space
from l2m_design.search.tracking.runs import OURS, Point
from l2m_design.settings import Json
from l2m_design.terms import REACH_LIMIT, Terms
from l2m_design.training.result import Result

STATE_LENGTHS = (1024, 4096, 16384, 65536, 262144)
RUNNING = "RUNNING"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "infeasible": "KILLED", "failed": "FAILED"}
LOSS, RUNG = "train_loss", "rung_late_loss"
DESIGN = "design "  # begins the key of a design's run


@dataclass(frozen=True)
class Shown:
    """What the content of runs depends on: the terms of the study, and its space, if it has one."""

    terms: Terms
    space: Space | None = None


@dataclass(frozen=True)
class Content:
    """All that a trial's or finalist's run holds. design: the finalist in whose run it is nested, if in one; seconds:
    that it took; key: of a design's run.
    """

    name: str
    status: str
    tags: dict[str, str]
    params: Json
    metrics: dict[str, float]
    series: list[Point]
    architecture: Json
    design: str | None = None
    seconds: float = 0.0
    key: str = ""

    @property
    def fingerprint(self) -> str | None:
        """Parameters that describe the architecture of the run."""
        found = self.params.get(OURS)
        return None if found is None else str(found)


def run_name(picture: str, state_bytes: int) -> str:
    """The layer pattern and the state at the target length, such as `M W S W · 4.1 MiB`."""
    return f"{picture} · {size(state_bytes)}"


def of_trial(record: Record, shown: Shown) -> Content:
    """The run of a trial; its status is RUNNING if the trial has no outcome yet."""
    open_ = record.state == "failed" and record.reason is None
    tags = {"trial": f"{record.number:03d}", "state": "running" if open_ else record.state, "picture": record.picture}
    tags |= {"stage": stage_of(record)} | ({"design": record.design} if record.design else {})
    tags |= {"reason": record.reason} if record.reason else {}
    picks = shown.space.used(record.params) if shown.space else record.params
    return Content(
        name=run_name(record.picture, record.state_bytes),
        status=RUNNING if open_ else STATUS[record.state],
        tags=tags,
        params={**picks, OURS: record.fingerprint, "copy_of": record.copy_of},
        metrics=trial_metrics(record, shown.terms),
        series=curves(record),
        architecture=record.architecture,
        seconds=record.seconds,
    )


def stage_of(record: Record) -> str:
    """The last stage of a trial: condition (rejected before training), duplicate, recall or training."""
    if record.copy_of is not None:
        return "duplicate"
    if record.state == "infeasible" and not record.ran_out:
        return "condition"
    return "recall" if record.recall is not None and record.state == "pruned" and not record.rungs else "training"


def finalist_key(run: FinalRun) -> str:
    """A key that distinguishes the run of a finalist from all others of the study."""
    return f"{run.job.fingerprint} {run.recipe}"


def of_finalist(run: FinalRun, shown: Shown) -> Content:
    """The run of a finalist, nested in that of its architecture; RUNNING if it has neither a result nor a reason."""
    job, result = run.job, run.result
    drawn = Architecture.parse(job.architecture, job.name)
    ended = "complete" if result else ("failed" if run.reason is not None else "running")
    tags = {"state": ended, "stage": _final_stage(run), "picture": drawn.picture, "design": job.name}
    tuned = f" · learning rate x {job.rate:g}" if job.seed == PICKS else ""
    return Content(
        name=f"{'recall · ' if job.task == RECALL else ''}{job.length:,} tokens · seed {job.seed}{tuned}",
        status={"complete": "FINISHED", "failed": "FAILED", "running": RUNNING}[ended],
        tags=tags | ({"reason": run.reason} if run.reason else {}),
        params={"length": job.length, "rate": job.rate, "seed": job.seed, OURS: drawn.fingerprint},
        metrics=_size_metrics(drawn, shown.terms) | (run_metrics(result) if result else {}),
        series=[(LOSS, tokens, loss) for tokens, loss in result.curve] if result else [],
        architecture=job.architecture,
        design=job.name,
        seconds=result.train_seconds + result.evaluate_seconds if result else 0.0,
    )


def _final_stage(run: FinalRun) -> str:
    if run.job.task == RECALL:
        return "finalist: recall"
    return "finalist: learning rate" if run.job.seed == PICKS else "finalist: seeds"


def of_design(name: str, run: Content, shown: Shown) -> Content:
    """The parent of all runs of a finalist, while they run."""
    drawn = Architecture.parse(run.architecture, name)
    return Content(
        name=f"finalist {run_name(drawn.picture, drawn.state.bytes(shown.terms.length, shown.terms.dtypes))}",
        status=RUNNING,
        tags={"state": "running", "stage": "finalist", "picture": drawn.picture, "design": name},
        params={OURS: drawn.fingerprint},
        metrics=_size_metrics(drawn, shown.terms),
        series=[],
        architecture=run.architecture,
        key=f"{DESIGN}{name}",
    )


def of_entrant(row: Finalist, length: int, shown: Shown) -> Content:
    """The parent of all runs of a finalist at the end: the results of its fresh seeds at a context length."""
    at, drawn = row.lengths.get(length), row.architecture
    metrics = _size_metrics(drawn, shown.terms) | {"growth_exponent": row.growth_exponent}
    if at:
        metrics |= _entrant_metrics(at)
    return Content(
        name=f"finalist {run_name(row.picture, row.state_bytes)}",
        status="FINISHED" if at else "FAILED",
        tags={"state": "complete" if at else "failed", "stage": "finalist", "picture": row.picture, "design": row.name}
        | ({"reason": row.failed[0]} if row.failed and not at else {}),
        params={OURS: row.fingerprint},
        metrics=metrics,
        series=[],
        architecture=drawn.plain(),
        key=f"{DESIGN}{row.name}",
    )


def _entrant_metrics(at: AtLength) -> dict[str, float]:
    metrics = {
        "late_loss": at.loss,
        "test_late_loss": at.test_interval.value,
        "test_late_loss_low": at.test_interval.low,
        "test_late_loss_high": at.test_interval.high,
        "mi_captured_nats": at.mi_captured_nats,
        "train_seconds": at.seconds,
    }
    if at.difference:
        gap = at.difference
        metrics |= {"difference": gap.value, "difference_low": gap.low, "difference_high": gap.high}
    metrics |= {f"context_gain_{c}": gain.value for c, gain in at.context_gain.items()}
    return metrics | ({} if at.effective_context is None else {"effective_context": at.effective_context})


def trial_metrics(record: Record, terms: Terms) -> dict[str, float]:
    """Metrics of a trial: losses, state at several lengths, exponent, longest context covered, constraint slacks."""
    metrics = _size_metrics(record.drawing, terms) | judged_metrics(record.judgement)
    metrics |= {"state_bytes_target": record.state_bytes, "learning_rate_factor": record.rate}
    if record.value is not None:
        metrics["objective"] = record.value
    if record.recall is not None:
        metrics["recall_excess_nats"] = record.recall
    if record.seconds:
        metrics["seconds"] = record.seconds
    return metrics | (run_metrics(record.outcome) if record.outcome else {})


def judged_metrics(found: Judgement) -> dict[str, float]:
    """Metrics of the condition. reach_tokens: the longest context covered, at most REACH_LIMIT."""
    metrics = {
        "growth_exponent": found.growth_exponent,
        "growth_slack": found.growth_exponent - found.asked_exponent,
    }
    if found.level_slack is not None:
        reach = {"hard": found.reach_tokens.hard, "effective": found.reach_tokens.effective}
        metrics |= {f"reach_tokens_{name}": REACH_LIMIT if at is None else at for name, at in reach.items()}
    return metrics | {f"level_slack_{length}": slack for length, slack in (found.level_slack or {}).items()}


def _size_metrics(drawn: Architecture, terms: Terms) -> dict[str, float]:
    state = drawn.state
    metrics: dict[str, float] = {"parameters": drawn.parameters}
    metrics["state_bytes_target"] = state.bytes(terms.length, terms.dtypes)
    return metrics | {f"state_bytes_{length}": state.bytes(length, terms.dtypes) for length in STATE_LENGTHS}


def run_metrics(result: Result) -> dict[str, float]:
    """Metrics of any training run."""
    metrics: dict[str, float] = {
        "late_loss": result.late_loss,
        "test_late_loss": result.test_late_loss,
        "mi_captured_nats": result.mi_captured_nats,
        "peak_memory_bytes": result.peak_memory_bytes,
        "train_seconds": result.train_seconds,
        "compile_seconds": result.compile_seconds,
    }
    if result.train_seconds:
        metrics["tokens_per_second"] = result.tokens / result.train_seconds
    gains, reached = gains_from(result)
    metrics |= {f"context_gain_{c}": gain.value for c, gain in gains.items()}
    optional = {
        "late_excess_nats": result.late_excess_nats,
        "decode_ms": result.decode_ms,
        "effective_context": reached,
    }
    return metrics | {name: value for name, value in optional.items() if value is not None}


def curves(record: Record) -> list[Point]:
    """(name, tokens read, nats) of the training loss and of the losses at the rungs."""
    points = [(RUNG, tokens, loss) for tokens, loss in record.rungs]
    curve = record.outcome.curve if record.outcome else record.curve
    return points + [(LOSS, tokens, loss) for tokens, loss in curve]
