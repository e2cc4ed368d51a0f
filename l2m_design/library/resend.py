"""`l2m report --resend`: a searched study sent once more, whole, to a tracking store that lacks it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from l2m_design.errors import BadInput, WorkFailed
from l2m_design.library.published import publish
from l2m_design.report.adoption import write_adoption
from l2m_design.report.markdown import of_adoption, of_study
from l2m_design.report.page import write_figures, write_page
from l2m_design.search.adoption.results import AdoptionSummary, load_adoption_summary
from l2m_design.search.adoption.sent import adoption_tracker, finish_adoption
from l2m_design.search.folder import DATABASE
from l2m_design.search.results.finalists import FinalRun, final_recipe
from l2m_design.search.results.reading import STUDY, load_summary, stored
from l2m_design.search.results.values import Summary
from l2m_design.search.study.database import Database
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.search.study.ledger import Ledger
from l2m_design.search.tracking.store import check_experiment, check_uri, default_uri
from l2m_design.search.tracking.study import finish_study, kept_identity, study_tracker
from l2m_design.search.tracking.tracker import Tracker
from l2m_design.settings import fingerprint

SENT = (".yaml", ".json", ".txt")  # what lies beside a page: the chosen architecture, its card, the tokenizer


def resend(
    study: str | Path, *, tracking: str | None = None, runs: str | Path = "runs", storage: str | None = None
) -> tuple[str, str | None, list[str]]:
    """Send a study to the tracking store: all that it lacks, so that a new or emptied one holds everything again.

    study: its report folder, or its study.json. runs, storage: where its folder and its database lie, as for the
    search; without them the training runs of finalists, which study.json does not hold, are left out. Answers the
    store's URI, where a browser finds the runs, and what could not be sent, in a line each. Raises BadInput, and
    WorkFailed where the store does not take it.
    """
    uri = tracking or default_uri()
    check_uri(uri, "`tracking`")
    path, data = stored(study)
    check_experiment(uri, str(data.get("study")))
    with _folder(Path(runs) / str(data.get("study"))) as folder:
        identity = kept_identity(folder, fingerprint(data))
        if adoption := load_adoption_summary(path):
            tracker, notes = _adoption(adoption, path, uri, folder, identity), list[str]()
        else:
            tracker, notes = _study(load_summary(path), path, uri, folder, (storage, identity))
    if tracker.trouble:
        raise WorkFailed(f"`tracking` {uri}: {tracker.trouble}")
    return uri, tracker.page, [*notes, *tracker.notes]


@contextmanager
def _folder(there: Path) -> Iterator[Path]:
    """The study's folder, or an empty one in its place."""
    if there.is_dir():
        yield there
        return
    with TemporaryDirectory() as made:
        yield Path(made)


def _study(
    summary: Summary, path: Path, uri: str, folder: Path, kept: tuple[str | None, str]
) -> tuple[Tracker, list[str]]:
    """kept: the database of trials, if it is named, and what tells the study from others, where no database does."""
    storage, identity = kept
    demand, notes = summary.demand.demand, list[str]()
    known = Descriptor(summary.settings, summary.space, demand, asdict(summary.corpus))
    runs, ledger = list[FinalRun](), _ledger(summary, storage or summary.settings.storage, folder)
    if ledger:
        identity = ledger.uid
        runs = ledger.runs(final_recipe(summary.settings).fingerprint) if summary.settings.finalists else []
    elif summary.finalists:
        notes.append(f"the training runs of {len(summary.finalists)} finalists are left out: `runs` does not hold them")
    tracker = study_tracker(uri, known, folder, identity, summary.seconds.total)
    finish_study(tracker, summary, runs, path)
    page = path.with_name("index.html")
    if not page.exists():
        write_page(summary, page)
    publish(tracker, of_study(summary), _beside(page), partial(write_figures, summary))
    return tracker, notes


def _ledger(summary: Summary, storage: str | None, folder: Path) -> Ledger | None:
    """The study's ledger, where there is one. Raises BadInput where it is that of another study of this name."""
    own = folder / DATABASE
    if storage is None and not own.exists():
        return None
    ledger = Ledger(Database(storage or f"sqlite:///{own}"), summary.study)
    there = {record.number: record.fingerprint for record in ledger.records.all}
    if not {record.number: record.fingerprint for record in summary.records}.items() <= there.items():
        raise BadInput(f"`runs` {folder.parent}: {folder.name} there is another study; name the folder of this one")
    return ledger


def _adoption(summary: AdoptionSummary, path: Path, uri: str, folder: Path, identity: str) -> Tracker:
    tracker = adoption_tracker(uri, summary.settings, summary.corpus, folder, identity, summary.seconds)
    finish_adoption(tracker, summary, path)
    page = path.with_name("index.html")
    if not page.exists():
        write_adoption(summary, page)
    publish(tracker, of_adoption(summary), _beside(page))
    return tracker


def _beside(page: Path) -> list[Path]:
    """The page, and what lies beside it."""
    files = sorted(path for path in page.parent.iterdir() if path.is_file() and path.suffix in SENT)
    return [page, *(path for path in files if path.name != STUDY)]
