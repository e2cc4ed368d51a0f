"""`l2m.search` of a study with `start: MODEL`: read it, search plans, and write a page, the plans and a summary."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from l2m_design.export.plans import PlanCard, written_in
from l2m_design.library.published import publish
from l2m_design.report.adoption import outcome, write_adoption
from l2m_design.report.markdown import of_adoption
from l2m_design.search.adoption.bench import RULE, healed_path
from l2m_design.search.adoption.results import AdoptionSummary, PlanRow, plain
from l2m_design.search.adoption.run import Adoption
from l2m_design.search.adoption.settings import load_adoption
from l2m_design.search.results.reading import STUDY
from l2m_design.search.run import Folders
from l2m_design.search.tracking.store import default_uri
from l2m_design.settings import Json, to_json, write_atomically

PLAN = "plan.yaml"


@dataclass(frozen=True, repr=False)
class AdoptionResult:
    """The results of a study with `start: MODEL`. found: all results as values. files: paths of the page and of the
    plans. runs_page: where a browser finds its runs in MLflow.
    """

    found: AdoptionSummary
    files: list[str]
    runs_page: str | None = None

    @property
    def data(self) -> Json:
        """All results as JSON, as in study.json."""
        return plain(self.found)

    @property
    def chosen(self) -> PlanRow | None:
        """The plan with the smallest state that is confirmed to lose at most delta; None if there is none."""
        return self.found.chosen

    @property
    def sentences(self) -> list[str]:
        """The answer in sentences, as at the top of the page."""
        return outcome(self.found)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def open_adoption(
    study: str | Path,
    overrides: Iterable[str] = (),
    *,
    runs: str | Path = "runs",
    reports: str | Path = "reports",
    tracking: str | None = None,
) -> Adoption:
    """Read a study, ready to search; see library.search.open_study. Raises BadInput."""
    folders = Folders(Path(runs), Path(reports))
    return Adoption(load_adoption(study, tuple(overrides)), folders, tracking or default_uri())


def finished(work: Adoption, summary: AdoptionSummary) -> AdoptionResult:
    """Write the results of a search and send them to MLflow; what could not be sent is listed in the notes."""
    result = adopted(work, summary)
    if told := publish(work.tracker, of_adoption(summary), result.files, known=summary.notes):
        summary = replace(summary, notes=[*summary.notes, *told])
        write_atomically(Path(summary.report).with_name(STUDY), to_json(plain(summary)))
    return AdoptionResult(summary, result.files, work.tracker.page if work.tracker else None)


def adopted(work: Adoption, summary: AdoptionSummary) -> AdoptionResult:
    """Write the page, the plan of each budget, the chosen plan as plan.yaml, and the rule that the plans need."""
    page = Path(summary.report)
    write_adoption(summary, page)
    files, folder, runs = [str(page)], page.parent, work.folder.path
    if (runs / RULE).exists():
        shutil.copyfile(runs / RULE, folder / RULE)
    cards = {f"plan-{number + 1}.yaml": budget.healed or budget.best for number, budget in enumerate(summary.budgets)}
    if summary.chosen:
        cards = {PLAN: summary.chosen} | cards
    else:
        (folder / PLAN).unlink(missing_ok=True)
    for name, row in cards.items():
        _card(work, summary, row).save(folder / name)
        files.append(str(folder / name))
    return AdoptionResult(summary, files)


def _card(work: Adoption, summary: AdoptionSummary, row: PlanRow) -> PlanCard:
    from l2m_design.report.words import estimate

    folder, finetune = Path(summary.report).parent, work.settings.finetune
    healed = healed_path(work.folder.path, row.fingerprint, finetune.how) if row.healed and finetune else None
    measured = (
        f"loses {estimate(row.difference, sign=True)} nats per token to the model itself"
        if row.difference
        else (
            "was not measured" if row.predicted is None else f"is predicted to lose {row.predicted:+.4f} nats per token"
        )
    )
    losses = f"On {summary.corpus['name']}, windows of {summary.settings.length:,} tokens, this plan {measured}."
    return PlanCard(
        start=written_in(folder, summary.start.name),
        plan=row.layers,
        picture=row.picture,
        state_bytes=row.state_bytes,
        length=summary.settings.condition.length,
        dtype=summary.settings.cache_dtype,
        losses=losses,
        study=summary.study,
        start_fingerprint=summary.start.fingerprint,
        healed=written_in(folder, str(healed)) if healed else None,
    )
