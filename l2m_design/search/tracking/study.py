"""A search of architectures in the tracking store: its tracker, and the end of its runs."""

import secrets
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from l2m_design import __version__
from l2m_design.search.folder import read_kept
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.summary import metrics
from l2m_design.search.results.values import Summary
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.search.tracking import views
from l2m_design.search.tracking.content import DESIGN, Shown, of_entrant
from l2m_design.search.tracking.source import source_tags
from l2m_design.search.tracking.tracker import StudyRun, Tracker
from l2m_design.settings import Json, to_json, write_atomically

LEDGER, SOURCE, UID = "tracked.json", "source.json", "uid.json"  # in the study's folder


def kept_source(folder: Path, anew: bool) -> dict[str, str]:
    """Where a study came from, as its folder keeps it; anew: from here and now."""
    if anew:
        write_atomically(folder / SOURCE, to_json(source_tags("l2m search")))
    return read_kept(folder / SOURCE)


def kept_identity(folder: Path, otherwise: str | None = None) -> str:
    """An identity of the study of this folder; made once, at random unless `otherwise` is given."""
    if not (known := read_kept(folder / UID)):
        known = {"uid": otherwise or secrets.token_hex(8)}
        write_atomically(folder / UID, to_json(known))
    return str(known["uid"])


def flat(plain: Json) -> Json:
    """Settings, one param each."""
    found: Json = {}
    for section, values in plain.items():
        if isinstance(values, dict):
            found |= {f"{section}.{key}": value for key, value in values.items() if value is not None}
        else:
            found[section] = values
    return found


def study_tracker(uri: str, study: Descriptor, folder: Path, identity: str, took: float | None = None) -> Tracker:
    """The tracker of a study in its folder. took: seconds of one that is sent again; else it is searched now."""
    searching = took is None
    params = {"asked_exponent": study.demand.exponent, "version": __version__} | flat(study.settings.public())
    corpus = {"name": study.corpus["name"], "fingerprint": study.corpus["fingerprint"], "source": study.settings.corpus}
    run = StudyRun(study.settings.name, params, corpus, kept_source(folder, searching), views.of_search(), took or 0.0)
    shown, system = Shown(study.demand.terms, study.resolved), searching and study.settings.executor == "local"
    return Tracker(uri, run, shown, folder / LEDGER, identity, system=system)


def finish_study(tracker: Tracker, summary: Summary, runs: Iterable[FinalRun], path: Path) -> None:
    """Send what was not sent, mark what was chosen, and end the study's run. path: of study.json. Never raises."""
    tracker.sync(summary.records, runs, last=True)
    shown, length = Shown(summary.demand.terms), summary.choice.length
    tracker.send([(f"{DESIGN}{row.name}", partial(of_entrant, row, length, shown)) for row in summary.finalists])
    tracker.finish(metrics(summary), [path], _chosen(summary))


def _chosen(summary: Summary) -> Iterator[str]:
    """The keys of the runs of the chosen architecture."""
    if chosen := summary.chosen:
        if chosen.trial is not None:
            yield str(chosen.trial)
        yield from (f"{DESIGN}{row.name}" for row in summary.finalists if row.fingerprint == chosen.fingerprint)
