"""Reselect: another choice from what is stored, under another demand, length, dtype, delta; nothing is trained."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

from l2m_design.condition import Demand
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput
from l2m_design.information.measured import Measured
from l2m_design.search import demand as demands
from l2m_design.search.folder import read_kept
from l2m_design.search.record import Record
from l2m_design.search.results import finalists
from l2m_design.search.results.choice import BEST, FULL
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.reading import STUDY, plain
from l2m_design.search.results.summary import Study, summary_of
from l2m_design.search.results.values import CorpusFacts, Summary
from l2m_design.search.settings import StudySettings, differences
from l2m_design.search.space.known import REFERENCE
from l2m_design.search.space.space import Space
from l2m_design.search.study.database import Database, Say
from l2m_design.search.study.ledger import Ledger
from l2m_design.settings import Json, to_json, write_atomically

OPEN_TO_CHANGE = ("demand", "condition")
FOLDER = "reselected"


def reselected(settings: StudySettings, space: Space, url: str, folder: Path, reports: Path, say: Say) -> Summary:
    """The study's summary as if it had been searched under these settings, written below its report.

    Only the demand, the condition, what is enforced and the choice may differ. Raises BadInput.
    """
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise BadInput(f"--reselect: {folder} contains no study; search it first")
    ledger = Ledger(Database(url, say), settings.name)
    known = ledger.descriptor
    stored = Study(known.settings, known.space, known.demand, CorpusFacts(**known.corpus))
    study = _study(stored, settings, space, folder)
    every = [record.judged(study.demand, settings.search.enforce) for record in ledger.records.all]
    runs = ledger.runs(finalists.final_recipe(settings).fingerprint) if settings.finalists else []
    if not runs and ledger.tuned_before:
        raise BadInput("--reselect: finalists were trained with other settings; leave the key finalists unchanged")
    _check_choice(settings, every, runs)
    summary = summary_of(study, every, runs, 0.0)
    place = _place(reports, summary)
    summary = replace(summary, report=str(place / "index.html"))
    write_atomically(place / STUDY, to_json(plain(summary)))
    return summary


def _study(stored: Study, settings: StudySettings, space: Space, folder: Path) -> Study:
    """The stored study under other settings. Raises BadInput where more differs than may, or the corpus is another."""
    if changed := differences(
        _fixed(stored.settings) | {"space": stored.space.plain()}, _fixed(settings) | {"space": space.plain()}
    ):
        raise BadInput(f"--reselect: {settings.name} was searched with other settings ({'; '.join(changed[:3])})")
    corpus = open_corpus(settings.corpus)
    if corpus.fingerprint != stored.corpus.fingerprint:
        raise BadInput(f"--reselect: {settings.name} was searched on another corpus ({stored.corpus.name})")
    law, has_level, measured = stored.demand.law, stored.demand.has_level, None
    if settings.demand != stored.settings.demand:
        law = demands.law_of(settings.demand, corpus)
        has_level = settings.demand.prefactor is not None
    elif kept := read_kept(folder / "demand.json").get("measurement"):
        measured = Measured.of_plain(kept)
    told = ["Chosen again from stored trials, whose sampling and objective used the requirement of their search."]
    demand = Demand(law, settings.condition, has_level)
    return Study(settings, stored.space, demand, stored.corpus, measured, [*told, *corpus.notes])


def _place(reports: Path, summary: Summary) -> Path:
    """A folder for this answer: the one that holds an answer to the same settings, else a new one."""
    made = plain(summary)
    asked = {"settings": made["settings"], "demand": made["demand"]}
    for number in count(1):
        place = reports / (FOLDER if number == 1 else f"{FOLDER}-{number}")
        there = read_kept(place / STUDY)
        if not there or {key: there.get(key) for key in asked} == asked:
            return place
    raise AssertionError


def _check_choice(settings: StudySettings, every: list[Record], runs: list[FinalRun]) -> None:
    """Raises BadInput where the choice asks for a reference or a context that was not trained or measured."""
    names = {run.job.name for run in runs} if settings.finalists else {r.design for r in every if r.design}
    asked = settings.choice
    named = REFERENCE if asked.reference == FULL else asked.reference
    if named not in (BEST, *names):
        raise BadInput(
            f"choice.reference: '{asked.reference}' was not trained; allowed are {BEST}, {', '.join(sorted(names))}"
        )
    results = (
        [run.result for run in runs if run.result] if settings.finalists else [r.outcome for r in every if r.outcome]
    )
    measured = {int(c) for result in results for c in result.test_late_by_context}
    if asked.context is not None and measured and asked.context not in measured:
        raise BadInput(
            f"choice.context: {asked.context} was not measured; measured were {', '.join(map(str, sorted(measured)))}"
        )


def _fixed(settings: StudySettings) -> Json:
    """What must be as it was."""
    plain = json.loads(to_json(settings.identity))
    for part in OPEN_TO_CHANGE:
        plain.pop(part)
    plain["search"].pop("enforce")
    return plain
