"""A study from its settings to its summary: demand, trials, choice; it can be stopped and gone on with."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.model.backends import pick_device
from l2m_design.search import demand as demands
from l2m_design.search.folder import StudyFolder
from l2m_design.search.known import known_designs
from l2m_design.search.objective import Objective
from l2m_design.search.record import Record, Records
from l2m_design.search.settings import StudySettings
from l2m_design.search.space import Space, check_space
from l2m_design.search.study import OptunaStudy
from l2m_design.search.summary import study_metrics, summarise
from l2m_design.search.tracking import Tracker, check_uri
from l2m_design.settings import to_json, write_atomically
from l2m_design.training.batches import held_out_windows

STALLED = 200


class Interrupted(Exception):
    """Ctrl-C: finished trials are kept; the message says how many."""


@dataclass(frozen=True)
class Folders:
    """runs: databases, records and weights of studies; reports: what is kept and shown."""

    runs: Path
    reports: Path


@dataclass(frozen=True)
class Listener:
    """Who hears of progress: parts done of a named whole, and each finished trial."""

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    trial: Callable[[Record], None] = lambda record: None


class Search:
    """One study in its folder. Raises BadInput before any work when it cannot run as asked."""

    def __init__(self, settings: StudySettings, space: Space, folders: Folders, tracking_uri: str) -> None:
        self.settings = settings
        self.folder = StudyFolder(folders.runs / settings.name)
        self.report_folder = folders.reports / settings.name
        self._tracking_uri = tracking_uri
        self._space = space
        self.corpus: Corpus = open_corpus(settings.corpus)
        pick_device(settings.device)
        check_uri(tracking_uri)
        for split in ("train", "validation", "test"):
            held_out_windows(self.corpus, split, settings.recipe.length, 1)
        check_space(space.resolved(1.0), {}, self.corpus.vocabulary, settings.space)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two studies the same: all settings except how many trials and on what, the space, the corpus."""
        plain = self.settings.plain()
        plain["search"].pop("trials")
        plain.pop("device")
        plain.pop("threads")
        return {"study": plain, "space": self._space.plain(), "corpus": self.corpus.fingerprint}

    def run(self, fresh: bool = False, resume: bool = False, listener: Listener | None = None) -> dict[str, Any]:
        """Search to the end and write study.json; answers its summary. Raises Interrupted on Ctrl-C.

        A study that is there goes on where it was; fresh moves it aside, resume insists on it.
        """
        listener = listener or Listener()
        self._check_folders()
        with self.folder.alone():
            self.folder.open(self.identity, fresh, resume)
            records = Records(self.folder.path / "trials")
            began = time.perf_counter()
            try:
                measurement, demand = self._demand(listener)
                tracker = self._tracker(demand)
                exhausted = self._search(demand, records, tracker, listener)
            except KeyboardInterrupt:
                raise Interrupted(f"{records.trained} of {self.settings.search.trials} trials are kept") from None
            finally:
                self.folder.spend(time.perf_counter() - began)
            summary = summarise(
                self.settings, self._space, self.corpus, demand, measurement, records, self.folder.seconds
            )
            summary["report"] = str(self.report_folder / "index.html")
            summary["tracking_uri"] = self._tracking_uri
            if exhausted:
                summary["notes"].append(
                    f"{records.trained} of {self.settings.search.trials} planned trials: the last {STALLED} drawings "
                    "were all rejected or drawn before"
                )
            return self._finish(summary, tracker, records)

    def _check_folders(self) -> None:
        """Say before any work that results could not be kept. Raises BadInput."""
        for option, folder in (("--runs", self.folder.path.parent), ("--reports", self.report_folder)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise BadInput(f"{option} {folder}: cannot be written ({error.strerror})") from None

    def _finish(self, summary: dict[str, Any], tracker: Tracker, records: Records) -> dict[str, Any]:
        """Write study.json and close the tracked run; what tracking could not do is noted."""
        path = self.report_folder / "study.json"
        write_atomically(path, to_json(summary))
        tracker.sync(records.all)
        tracker.finish(study_metrics(summary), [path])
        if tracker.trouble:
            summary["notes"].append(f"tracking: {tracker.trouble}; unsent runs go with the next search of this study")
            write_atomically(path, to_json(summary))
        return summary

    def _demand(self, listener: Listener) -> tuple[dict[str, Any] | None, Demand]:
        """Measured once a study and kept, or given. Test documents are never measured."""
        settings = self.settings.demand
        kept = self.folder.path / "demand.json"
        measurement = None
        if settings.measure is None:
            law = demands.given_law(settings)
        elif kept.exists():
            data = json.loads(kept.read_text())
            law, measurement = PowerLaw.of_plain(data["law"]), data["measurement"]
        else:
            split = settings.measure.split or ("validation" if settings.model == "train" else "train")
            measure = settings.measure.model_copy(update={"split": split})
            found = demands.measured(
                self.corpus, measure, settings.model, self.settings.device, on_progress=listener.progress
            )
            law = PowerLaw.of_plain(demands.measured_law(found).plain())
            measurement = found.plain()
            write_atomically(kept, to_json({"law": law.plain(), "measurement": measurement}))
        return measurement, demands.demand_of(law, settings, self.settings.condition)

    def _search(self, demand: Demand, records: Records, tracker: Tracker, listener: Listener) -> bool:
        """Train what is still planned; answers whether the space had nothing new to offer."""
        search = self.settings.search
        space = self._space.resolved(demand.exponent)
        designs = known_designs(space, demand.exponent) if search.known_designs else {}
        check_space(space, designs, self.corpus.vocabulary, self.settings.space)
        study = OptunaStudy(self.folder.path / "optuna.db", self.settings.name, search, self.settings.recipe)
        study.catch_up(records, {name: design.picks for name, design in designs.items() if design.picks})
        objective = Objective(self.settings, space, self.corpus, demand, self.folder.path)
        idle = 0
        tracker.sync(records.all)
        while records.trained < search.trials and idle < STALLED:
            listener.progress("trials", records.trained, search.trials)
            record = objective.run(
                study.ask(), records, lambda r, done, total: listener.progress(r.picture, done, total)
            )
            listener.trial(record)
            idle = idle + 1 if record.state == "infeasible" or record.copy_of is not None else 0
            if not idle:
                tracker.sync(records.all)
        listener.progress("trials", search.trials, search.trials)
        return idle >= STALLED

    def _tracker(self, demand: Demand) -> Tracker:
        flat: dict[str, Any] = {"asked_exponent": demand.exponent, "version": __version__}
        for section, values in self.settings.plain().items():
            if isinstance(values, dict):
                flat |= {f"{section}.{key}": value for key, value in values.items() if value is not None}
            else:
                flat[section] = values
        ledger = self.folder.path / "tracked.json"
        return Tracker(self._tracking_uri, self.settings.name, flat, self.settings.condition.dtype, ledger)
