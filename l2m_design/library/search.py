"""`l2m.search`: run a study, write its report and the chosen architecture, and return a summary."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.export.study import write_chosen
from l2m_design.library.adopt import AdoptionResult, open_adoption
from l2m_design.library.adopt import finished as adoption_finished
from l2m_design.library.published import publish
from l2m_design.report import words
from l2m_design.report.markdown import of_study
from l2m_design.report.page import at_a_glance, write_figures, write_page
from l2m_design.search.adoption.settings import is_adoption
from l2m_design.search.driver import Listener
from l2m_design.search.results.reading import STUDY, plain
from l2m_design.search.results.reselect import reselected
from l2m_design.search.results.values import Summary
from l2m_design.search.run import Folders, Search
from l2m_design.search.settings import load_study
from l2m_design.search.tracking.store import default_uri
from l2m_design.settings import Json, to_json, write_atomically


@dataclass(frozen=True, repr=False)
class StudySummary:
    """The results of a study. found: all results as values. files: paths of the page and of the files of the choice.
    runs_page: where a browser finds its runs in MLflow.
    """

    found: Summary
    files: list[str]
    runs_page: str | None = None

    @property
    def data(self) -> Json:
        """All results as JSON, as in study.json."""
        return plain(self.found)

    @property
    def chosen(self) -> Architecture | None:
        """The chosen architecture; None if no architecture was chosen."""
        return self.found.chosen.architecture if self.found.chosen else None

    @property
    def verdict(self) -> str:
        """confirmed, not confirmed or undecided."""
        return str(self.found.verdict)

    @property
    def sentences(self) -> list[str]:
        """The answer in sentences, as at the top of the page."""
        return words.outcome(self.found)

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def __repr__(self) -> str:
        chosen = self.chosen.picture if self.chosen else "none"
        return f"<StudySummary {self.found.study}: chosen {chosen}, {self.verdict}>"

    def _repr_html_(self) -> str:
        return at_a_glance(self.found)


def open_study(
    study: str | Path,
    overrides: Iterable[str] = (),
    *,
    runs: str | Path = "runs",
    reports: str | Path = "reports",
    tracking: str | None = None,
    storage: str | None = None,
) -> Search:
    """Read a study and its space, ready to search. Raises BadInput.

    overrides: KEY=VALUE with dotted keys, as for --set. runs: folder for databases, records and weights. reports:
    folder for the report and the chosen architecture. tracking: MLflow tracking URI. storage: Optuna storage URL; both
    are sqlite files by default.
    """
    settings, space = load_study(study, tuple(overrides))
    if storage:
        settings = settings.model_copy(update={"storage": storage})
    return Search(settings, space, Folders(Path(runs), Path(reports)), tracking or default_uri())


def search(
    study: str | Path,
    overrides: Iterable[str] = (),
    *,
    resume: bool = False,
    fresh: bool = False,
    listener: Listener | None = None,
    **options: Any,
) -> StudySummary | AdoptionResult:
    """Search architectures under the L²M condition; with the key `start`, the cache of a trained model. Continue if
    interrupted.

    study: path of the YAML file. resume: fail if there is no study to continue. fresh: start again; an earlier study is
    renamed. listener: receives progress and trials. overrides, options: see open_study. In a script, call it below `if
    __name__ == "__main__":`, since trials run in other processes. Raises BadInput, and Interrupted on Ctrl-C.
    """
    if is_adoption(study):
        start = open_adoption(study, overrides, **options)
        return adoption_finished(start, start.run(fresh, resume, listener))
    work = open_study(study, overrides, **options)
    return finished(work, work.run(fresh, resume, listener))


def finished(work: Search, summary: Summary) -> StudySummary:
    """Write the results of a search and send them to MLflow; what could not be sent is listed in the notes."""
    found = written(summary, work.corpus)
    draw = partial(write_figures, summary)
    if told := publish(work.tracker, of_study(summary), found.files, draw, summary.notes):
        summary = replace(summary, notes=[*summary.notes, *told])
        write_atomically(Path(summary.report).with_name(STUDY), to_json(plain(summary)))
    return StudySummary(summary, found.files, work.tracker.page if work.tracker else None)


def reselect(work: Search, listener: Listener) -> StudySummary:
    """Choose again among the stored results of a study; nothing is trained."""
    url, folder = work.storage_url, work.folder.path
    summary = reselected(work.settings, work.space, url, folder, work.report_folder, listener.trouble)
    return written(summary, work.corpus)


def written(summary: Summary, corpus: Corpus) -> StudySummary:
    """Write the page and, if there is a choice, its card and the tokenizer of the corpus."""
    page = Path(summary.report)
    write_page(summary, page)
    return StudySummary(summary, [str(page), *write_chosen(summary, page.parent, corpus)])
