"""`l2m.search`: a study from its file to a page, a chosen drawing and a summary."""

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
    """What a study found: all of it as values, the files that were written (the page and what was chosen), and
    where a browser finds its runs in MLflow.
    """

    found: Summary
    files: list[str]
    runs_page: str | None = None

    @property
    def data(self) -> Json:
        """All of it, JSON-ready, as study.json holds it."""
        return plain(self.found)

    @property
    def chosen(self) -> Architecture | None:
        """The chosen drawing; none where nothing met the condition."""
        return self.found.chosen.architecture if self.found.chosen else None

    @property
    def verdict(self) -> str:
        """confirmed, not confirmed, or undecided."""
        return str(self.found.verdict)

    @property
    def sentences(self) -> list[str]:
        """The answer in words, as the page begins."""
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
    """A study that can be searched. Raises BadInput.

    overrides: KEY=VALUE, dotted, as --set. runs: where databases, records and weights go; reports: page and chosen
    drawing. tracking: an MLflow URI; storage: a database of trials; a sqlite file for either unless it is given.
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
    **places: Any,
) -> StudySummary | AdoptionResult:
    """Search architectures under the L²M condition, or, in a study with `start`, the cache of a model that exists; one
    that was stopped goes on where it was.

    resume: the study must exist. fresh: an earlier one is moved aside. listener: hears of progress and trials.
    overrides, places: see open_study. In a script, call it below `if __name__ == "__main__":`, since trials are
    processes of their own. Raises BadInput, and Interrupted on Ctrl-C.
    """
    if is_adoption(study):
        start = open_adoption(study, overrides, **places)
        return adoption_finished(start, start.run(fresh, resume, listener))
    work = open_study(study, overrides, **places)
    return finished(work, work.run(fresh, resume, listener))


def finished(work: Search, summary: Summary) -> StudySummary:
    """Write what a search found, and show it in MLflow; what that could not do is one of its notes."""
    found = written(summary, work.corpus)
    draw = partial(write_figures, summary)
    if told := publish(work.tracker, of_study(summary), found.files, draw, summary.notes):
        summary = replace(summary, notes=[*summary.notes, *told])
        write_atomically(Path(summary.report).with_name(STUDY), to_json(plain(summary)))
    return StudySummary(summary, found.files, work.tracker.page if work.tracker else None)


def reselect(work: Search, listener: Listener) -> StudySummary:
    """Another choice from what a study stored; nothing is trained."""
    url, folder = work.storage_url, work.folder.path
    summary = reselected(work.settings, work.space, url, folder, work.report_folder, listener.trouble)
    return written(summary, work.corpus)


def written(summary: Summary, corpus: Corpus) -> StudySummary:
    """Write the page and, when there is a choice, its card and the tokenizer of the corpus."""
    page = Path(summary.report)
    write_page(summary, page)
    return StudySummary(summary, [str(page), *write_chosen(summary, page.parent, corpus)])
