"""What an adoption study's runs show in the tracking store: one run a plan, under the study's."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from l2m_design import __version__
from l2m_design.search.adoption.results import AdoptionSummary, PlanRow
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.tracking import views
from l2m_design.search.tracking.content import RUNNING, Content, Shown, judged_metrics, run_name
from l2m_design.search.tracking.study import LEDGER, flat, kept_identity, kept_source
from l2m_design.search.tracking.tracker import StudyRun, Tracker


def adoption_tracker(
    uri: str,
    settings: AdoptionSettings,
    corpus: dict[str, str],
    folder: Path,
    identity: str | None = None,
    took: float | None = None,
) -> Tracker:
    """The tracker of a study in its folder. corpus: name and fingerprint; identity: that of the folder unless it is
    given; took: seconds of one that is sent again; else it is searched here and now.
    """
    params = {"version": __version__} | flat(settings.plain())
    corpus, source = corpus | {"source": settings.corpus}, kept_source(folder, took is None)
    run = StudyRun(settings.name, params, corpus, source, views.of_adoption(), took or 0.0)
    return Tracker(
        uri, run, Shown(settings.condition), folder / LEDGER, identity or kept_identity(folder), system=took is None
    )


def finish_adoption(tracker: Tracker, summary: AdoptionSummary, path: Path) -> None:
    """Send what was not sent, mark the chosen plan, and end the study's run. path: of study.json. Never raises."""
    tracker.send(contents(summary), last=True)
    tracker.finish(metrics(summary), [path], [plan_key(summary.chosen)] if summary.chosen else [])


def contents(summary: AdoptionSummary) -> list[tuple[str, Callable[[], Content]]]:
    """A run for each plan that test windows were read with, by its key."""
    return [(plan_key(row), partial(of_plan, row)) for row in summary.rows if row.difference]


def plan_key(row: PlanRow) -> str:
    """What tells a plan's run from all others of the study."""
    return row.key


def of_plan(row: PlanRow) -> Content:
    """A plan's run; RUNNING before test windows were read with it."""
    metrics: dict[str, float] = {"state_bytes_target": row.state_bytes, "state_share": row.share}
    known = {"predicted_loss_above": row.predicted, "late_loss_above": row.validation, "p_at_most_delta": row.p}
    metrics |= {name: value for name, value in known.items() if value is not None}
    for name, gap in (("test_late_loss_above", row.difference), ("test_repeated_loss_above", row.repeated)):
        if gap:
            metrics |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    metrics |= {f"recall_{what}": share for what, share in row.recall.items()}
    metrics |= {f"context_gain_{c}": gain.value for c, gain in row.context_gain.items()}
    if row.effective_context is not None:
        metrics["effective_context"] = row.effective_context
    return Content(
        name=run_name(row.picture, row.state_bytes),
        status="FINISHED" if row.difference else RUNNING,
        tags={
            "state": "complete" if row.difference else "running",
            "stage": "healing" if row.healed else "test",
            "picture": row.picture,
            "design": row.name,
        },
        params={"plan": row.fingerprint, "healed": row.healed, "budget": row.budget + 1},
        metrics=metrics | (judged_metrics(row.judgement) if row.judgement else {}),
        series=[],
        architecture={"layers": row.layers},
    )


def metrics(summary: AdoptionSummary) -> dict[str, float]:
    """What the study's own run shows."""
    found: dict[str, float] = {"seconds": summary.seconds, "start_state_bytes": summary.start.bytes}
    if summary.check.spearman:
        found["predicted_measured_spearman"] = summary.check.spearman.value
    if summary.chosen:
        found |= {"chosen_state_bytes": summary.chosen.state_bytes, "chosen_share": summary.chosen.share}
        if summary.chosen.difference:
            found["chosen_test_late_loss_above"] = summary.chosen.difference.value
    return found
