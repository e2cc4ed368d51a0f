"""What an adoption study's runs show in the tracking store: one run a plan, under the study's."""

from collections.abc import Callable
from functools import partial

from l2m_design.search.adoption.results import AdoptionSummary, PlanRow
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.tracked import Content
from l2m_design.settings import Json


def flat(settings: AdoptionSettings) -> Json:
    """The study's settings, a param each."""
    found: Json = {}
    for section, values in settings.plain().items():
        if isinstance(values, dict):
            found |= {f"{section}.{key}": value for key, value in values.items() if value is not None}
        else:
            found[section] = values
    return found


def contents(summary: AdoptionSummary) -> list[tuple[str, Callable[[], Content]]]:
    """A run for each plan that test windows were read with, by its key."""
    return [(f"{row.fingerprint} {row.healed}", partial(_content, row)) for row in summary.rows if row.difference]


def _content(row: PlanRow) -> Content:
    metrics: dict[str, float] = {"state_bytes_target": row.state_bytes, "state_share": row.share}
    known = {"predicted_loss_above": row.predicted, "late_loss_above": row.validation, "p_at_most_delta": row.p}
    metrics |= {name: value for name, value in known.items() if value is not None}
    for name, gap in (("test_late_loss_above", row.difference), ("test_repeated_loss_above", row.repeated)):
        if gap:
            metrics |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    metrics |= {f"recall_{what}": share for what, share in row.recall.items()}
    if row.effective_context is not None:
        metrics["effective_context"] = row.effective_context
    if row.judgement:
        metrics["growth_exponent"] = row.judgement.growth_exponent
    return Content(
        name=f"{row.name}, budget {row.budget + 1}",
        status="FINISHED",
        tags={"state": "plan", "picture": row.picture},
        params={"plan": row.fingerprint, "healed": row.healed, "budget": row.budget},
        metrics=metrics,
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
    return found
