"""A study from its settings to its summary: demand, trials, finalists, choice; it can be stopped and gone on with."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.errors import BadInput
from l2m_design.estimates import FEWEST_DOCUMENTS
from l2m_design.laws import PowerLaw
from l2m_design.model.backends import pick_device
from l2m_design.search import demand as demands
from l2m_design.search import stages
from l2m_design.search.folder import DATABASE, StudyFolder, read_kept
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import final_recipe, recipes
from l2m_design.search.results.summary import study_metrics, summarise
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space, check_space
from l2m_design.search.study.storage import Storage, shown
from l2m_design.search.tracking import Tracker, check_experiment, check_uri
from l2m_design.search.trials.recall import check_recall
from l2m_design.search.workers.crew import LocalCrew, places
from l2m_design.search.workers.join import check_kernels
from l2m_design.search.workers.shared import Descriptor, SharedStudy, move_aside
from l2m_design.search.workers.worker import STALLED, Hooks, Worker
from l2m_design.settings import to_json, write_atomically
from l2m_design.training.batches import held_out_windows
from l2m_design.training.run import check_compile, check_shares


class Interrupted(Exception):
    """Ctrl-C: finished trials are kept; the message says how many."""


@dataclass(frozen=True)
class Folders:
    """runs: databases, checkpoints and weights of studies; reports: what is kept and shown."""

    runs: Path
    reports: Path


@dataclass(frozen=True)
class Listener:
    """Who hears of progress: parts done of a named whole, each ended trial, and troubles in a line."""

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    trial: Callable[[Record], None] = lambda record: None
    trouble: Callable[[str], None] = lambda sentence: None


class Search:
    """One study in its folder. Raises BadInput before any work when it cannot run as asked."""

    def __init__(self, settings: StudySettings, space: Space, folders: Folders, tracking_uri: str) -> None:
        self.settings = settings
        self.folder = StudyFolder(folders.runs / settings.name)
        self.report_folder = folders.reports / settings.name
        self._tracking_uri = tracking_uri
        self.space = space
        self.corpus: Corpus = open_corpus(settings.corpus)
        check_uri(tracking_uri)
        if settings.storage:
            shown(settings.storage)
        for recipe in recipes(settings):
            check_shares(recipe, settings.gpus_per_trial)
        for split in ("train", "validation", "test"):
            held_out_windows(self.corpus, split, settings.longest, 1)
        self._check_documents()
        if settings.recall and settings.recall.corpus:
            check_recall(settings.recall, self.corpus.vocabulary)
        check_space(space.resolved(1.0), {}, self.corpus.vocabulary, settings.space)

    def _check_documents(self) -> None:
        """Raises BadInput where too few documents are held out for anything to be confirmed on them."""
        if self.settings.finalists is None:
            return
        windows = held_out_windows(self.corpus, "test", self.settings.compared_at, self.settings.recipe.windows)
        documents = len(set(windows.cluster.tolist()))
        if documents < FEWEST_DOCUMENTS:
            raise BadInput(
                f"{self.corpus.name}: {documents} test documents hold windows of {self.settings.compared_at} tokens, "
                f"at least {FEWEST_DOCUMENTS} are needed to confirm a choice: give more or shorter documents, shorter "
                "finalists.lengths, a larger recipe.windows, or no finalists"
            )

    @property
    def storage_url(self) -> str:
        """The asked database, else sqlite in the study's folder."""
        return self.settings.storage or f"sqlite:///{self.folder.path / DATABASE}"

    @property
    def _identity(self) -> dict[str, Any]:
        """What makes two studies the same."""
        return {"study": self.settings.identity, "space": self.space.plain(), "corpus": self.corpus.fingerprint}

    def run(self, fresh: bool = False, resume: bool = False, listener: Listener | None = None) -> dict[str, Any]:
        """Search to the end and write study.json; answers its summary. Raises Interrupted on Ctrl-C.

        A study that is there goes on where it was; fresh moves it aside, resume insists on it.
        """
        listener = listener or Listener()
        self._check_machine()
        self._check_folders()
        check_experiment(self._tracking_uri)
        with self.folder.alone():
            elsewhere = self._storage(listener) if self.settings.storage else None  # before anything is moved aside
            new = self.folder.open(self._identity, fresh, resume)
            own = self.folder.path / DATABASE
            if resume and not elsewhere and not own.exists():
                raise BadInput(f"--resume: {own}, which holds the trials, is gone; give --fresh")
            try:
                with self.folder.sitting():
                    storage = elsewhere or self._storage(listener)
                    if fresh:
                        move_aside(storage, self.settings.name)
                    measurement, demand = self._demand(listener)
                    shared = self._planned(storage, demand, listener)
            except BadInput:
                if new:
                    self.folder.forget()
                raise
            try:
                shared.publish()
                tracker = self._tracker(shared)
                with tracker.ending():
                    with self.folder.sitting():
                        self._work(storage, shared, listener, tracker)
                    return self._finish(shared, measurement, tracker)
            except KeyboardInterrupt:
                trained = shared.records().trained
                raise Interrupted(f"{trained} of {self.settings.search.trials} trials are kept") from None

    def rehearse(self) -> list[str]:
        """What `run` would refuse, as far as known without measuring, training or MLflow; and what it would warn of."""
        self._check_machine()
        given = self.settings.demand.measure is None
        law = demands.given_law(self.settings.demand) if given else PowerLaw(1.0, 0.7)
        descriptor = self._descriptor(demands.demand_of(law, self.settings.demand, self.settings.condition))
        if given:
            stages.check_feasible(descriptor, self.settings.space)
        stages.own_designs(descriptor)
        stages.check_reference(descriptor)
        return stages.warnings(descriptor)

    def _check_machine(self) -> None:
        """Say before any work that this machine cannot compute as asked. Raises BadInput."""
        if self.settings.executor != "local":
            return  # a cluster's nodes are looked at by its workers
        device = pick_device(self.settings.device)
        check_kernels(self.settings.search.kernels, self.settings.device)
        check_compile(self.settings.recipe, device)

    def _storage(self, listener: Listener) -> Storage:
        return Storage(self.storage_url, self.settings.grace_seconds, listener.trouble)

    def _planned(self, storage: Storage, demand: Demand, listener: Listener) -> SharedStudy:
        """The study in its database, found able to be searched."""
        shared = SharedStudy(storage, self.settings.name, self._descriptor(demand))
        stages.check_feasible(shared.descriptor, self.settings.space)
        stages.own_designs(shared.descriptor)
        stages.check_reference(shared.descriptor)
        for trouble in stages.warnings(shared.descriptor):
            listener.trouble(trouble)
        return shared

    def _work(self, storage: Storage, shared: SharedStudy, listener: Listener, tracker: Tracker) -> None:
        """Everything that is planned, by a crew of workers."""
        shared.finals.withdraw(shared.finals.waiting)  # what is still wanted of them is planned when its turn comes
        stages.plan_trials(shared)
        crew = self._crew(storage, shared, listener)
        crew.start()
        try:
            stages.watch_trials(shared, crew, listener, tracker)
            if self.settings.finalists:
                stages.run_finalists(shared, crew, listener, tracker)
        finally:
            crew.stop()
        shared.finish()

    def _crew(self, storage: Storage, shared: SharedStudy, listener: Listener) -> Any:
        settings, several = self.settings, self.settings.workers > 1
        if settings.executor == "ray":
            from l2m_design.search.workers.cluster import RayCrew

            return RayCrew(settings, self.storage_url, self.folder.path.absolute(), listener.trouble)
        hooks = Hooks(
            step=lambda record, done, total: None if several else listener.progress(record.picture, done, total),
            final_step=lambda job, done, total: None if several else listener.progress(job.name, done, total),
        )

        def hire(index: int, place: Any) -> Worker:
            own = SharedStudy(storage, settings.name, shared.descriptor, index) if index else shared
            return Worker(own, place, hooks)

        return LocalCrew(hire, places(settings, self.folder.path))

    def _descriptor(self, demand: Demand) -> Descriptor:
        corpus = {
            "name": self.corpus.name,
            "fingerprint": self.corpus.fingerprint,
            "vocabulary": self.corpus.vocabulary,
            "copies": self.corpus.copied,
        }
        return Descriptor(self.settings, self.space, demand, corpus)

    def _check_folders(self) -> None:
        """Say before any work that results could not be kept. Raises BadInput."""
        for option, folder in (("--runs", self.folder.path.parent), ("--reports", self.report_folder)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise BadInput(f"{option} {folder}: cannot be written ({error.strerror})") from None

    def _finish(self, shared: SharedStudy, measurement: dict[str, Any] | None, tracker: Tracker) -> dict[str, Any]:
        """Write study.json and close the tracked run; what tracking could not do is noted."""
        summary = summarise(shared, self.corpus, measurement, self.folder.seconds)
        summary["report"] = str(self.report_folder / "index.html")
        summary["tracking_uri"] = self._tracking_uri
        if shared.exhausted:
            trained, planned = shared.records().trained, self.settings.search.trials
            summary["notes"].append(
                f"{trained} of {planned} planned trials: the last {STALLED} drawings were all rejected or drawn before"
            )
        path = self.report_folder / "study.json"
        write_atomically(path, to_json(summary))
        recipe = final_recipe(self.settings).fingerprint if self.settings.finalists else ""
        tracker.sync(shared.records().all, shared.runs(recipe), last=True)
        tracker.finish(study_metrics(summary), [path])
        if tracker.notes:
            summary["notes"] += tracker.notes
            write_atomically(path, to_json(summary))
        return summary

    def _demand(self, listener: Listener) -> tuple[dict[str, Any] | None, Demand]:
        """Measured once a study and kept, or given. Test documents are never measured."""
        settings = self.settings.demand
        kept = self.folder.path / "demand.json"
        known = read_kept(kept)
        measurement = None
        if settings.measure is None:
            law = demands.law_of(settings, self.corpus)
        elif known:
            law, measurement = PowerLaw.of_plain(known["law"]), known["measurement"]
        else:
            split = settings.measure.split or ("validation" if settings.model == "train" else "train")
            measure = settings.measure.model_copy(update={"split": split})
            law, measurement = demands.measured_demand(
                self.corpus, measure, settings.model, self.settings.device, listener.progress
            )
            law = PowerLaw.of_plain(law.plain())
            write_atomically(kept, to_json({"law": law.plain(), "measurement": measurement}))
        return measurement, demands.demand_of(law, settings, self.settings.condition)

    def _tracker(self, shared: SharedStudy) -> Tracker:
        flat: dict[str, Any] = {"asked_exponent": shared.descriptor.demand.exponent, "version": __version__}
        for section, values in self.settings.public().items():
            if isinstance(values, dict):
                flat |= {f"{section}.{key}": value for key, value in values.items() if value is not None}
            else:
                flat[section] = values
        ledger = self.folder.path / "tracked.json"
        return Tracker(self._tracking_uri, self.settings.name, flat, self.settings.condition.dtypes, ledger, shared.uid)
