"""`l2m report --resend`: send all results of a study again to a tracking store that does not have them."""

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
    """Send all results of a study that are missing in the tracking store, so that a new or emptied store is complete.

    study: its report folder, or its study.json. runs, storage: its folder of runs and its database, as in the search;
    without them, the training runs of finalists are left out, since study.json does not contain them. Returns the URI
    of the store, where a browser finds the runs, and a line for everything that could not be sent. Raises BadInput, and
    WorkFailed if the store does not accept the study.
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
    """Return the folder of the study, or an empty one in its place."""
    if there.is_dir():
        yield there
        return
    with TemporaryDirectory() as made:
        yield Path(made)


def _study(
    summary: Summary, path: Path, uri: str, folder: Path, kept: tuple[str | None, str]
) -> tuple[Tracker, list[str]]:
    """Send the runs. kept: URL of the database of trials, if given; identity of the study if it has no database."""
    storage, identity = kept
    demand, notes = summary.demand.demand, list[str]()
    known = Descriptor(summary.settings, summary.space, demand, asdict(summary.corpus))
    runs, ledger = list[FinalRun](), _ledger(summary, storage or summary.settings.storage, folder)
    if ledger:
        identity = ledger.uid
        runs = ledger.runs(final_recipe(summary.settings).fingerprint) if summary.settings.finalists else []
    elif summary.finalists:
        notes.append(
            f"the training runs of {len(summary.finalists)} finalists are left out, since `runs` does not contain them"
        )
    tracker = study_tracker(uri, known, folder, identity, summary.seconds.total)
    finish_study(tracker, summary, runs, path)
    page = path.with_name("index.html")
    if not page.exists():
        write_page(summary, page)
    publish(tracker, of_study(summary), _beside(page), partial(write_figures, summary))
    return tracker, notes


def _ledger(summary: Summary, storage: str | None, folder: Path) -> Ledger | None:
    """Return the ledger of the study, if there is one. Raises BadInput if it belongs to another study of this name."""
    own = folder / DATABASE
    if storage is None and not own.exists():
        return None
    ledger = Ledger(Database(storage or f"sqlite:///{own}"), summary.study)
    there = {record.number: record.fingerprint for record in ledger.records.all}
    if not {record.number: record.fingerprint for record in summary.records}.items() <= there.items():
        raise BadInput(
            f"`runs` {folder.parent}: contains another study of the name {folder.name}; give the folder of this study"
        )
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
    """Send the page and the files beside it."""
    files = sorted(path for path in page.parent.iterdir() if path.is_file() and path.suffix in SENT)
    return [page, *(path for path in files if path.name != STUDY)]
