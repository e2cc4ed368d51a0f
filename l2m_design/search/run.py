"""A study from its settings to its summary: demand, trials, finalists, choice; it can be stopped and gone on with."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from l2m_design.condition import Demand
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.errors import BadInput
from l2m_design.estimates import FEWEST_DOCUMENTS
from l2m_design.laws import PowerLaw
from l2m_design.model.backends import pick_device, usable_cores
from l2m_design.search import demand as demands
from l2m_design.search import plan
from l2m_design.search.cost import Cost, Planned, cost_of
from l2m_design.search.driver import STALLED, Bench, Listener, Trials, run_finalists
from l2m_design.search.executors.base import Executor
from l2m_design.search.executors.kernels import FixedKernels, check_kernels
from l2m_design.search.executors.local import local_executor
from l2m_design.search.folder import DATABASE, StudyFolder, leaving_no_trace, read_kept
from l2m_design.search.results.finalists import final_recipe, recipes
from l2m_design.search.results.reading import plain
from l2m_design.search.results.summary import summarise
from l2m_design.search.results.values import Summary
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space, check_space
from l2m_design.search.study.database import Database, shown
from l2m_design.search.study.descriptor import Descriptor, identity_of
from l2m_design.search.study.draws import lag_of
from l2m_design.search.study.ledger import Ledger, check_free, move_aside
from l2m_design.search.tracking.store import check_experiment, check_uri
from l2m_design.search.tracking.study import finish_study, study_tracker
from l2m_design.search.tracking.tracker import Tracker
from l2m_design.search.trials.recall import check_recall
from l2m_design.search.watch import STATUS, Watch
from l2m_design.settings import Json, to_json, write_atomically
from l2m_design.training.batches import held_out_windows
from l2m_design.training.run import check_compile, check_shares

DRAWN = 8  # candidates whose mean cost stands for all


class Interrupted(Exception):
    """Ctrl-C: finished trials are kept; the message says how many."""


@dataclass(frozen=True)
class Folders:
    """runs: databases, checkpoints and weights of studies; reports: what is kept and shown."""

    runs: Path
    reports: Path


class Search:
    """One study in its folder. Raises BadInput before any work when it cannot run."""

    def __init__(self, settings: StudySettings, space: Space, folders: Folders, tracking_uri: str) -> None:
        self.settings = settings
        self.folder = StudyFolder(folders.runs / settings.name)
        self.report_folder = folders.reports / settings.name
        self._tracking_uri = tracking_uri
        self.tracker: Tracker | None = None  # once it runs
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
                f"{self.corpus.name}: windows of {self.settings.compared_at} tokens come from {documents} test "
                f"documents, but at least {FEWEST_DOCUMENTS} are needed to confirm a choice; give more documents, "
                "smaller finalists.lengths, a larger recipe.windows, or no finalists"
            )

    @property
    def storage_url(self) -> str:
        """The asked database, else sqlite in the study's folder."""
        return self.settings.storage or f"sqlite:///{self.folder.path / DATABASE}"

    def run(self, fresh: bool = False, resume: bool = False, listener: Listener | None = None) -> Summary:
        """Search to the end and write study.json; answers its summary. Raises Interrupted on Ctrl-C.

        A study that is there continues where it was; fresh moves it aside, resume insists on it.
        """
        listener = listener or Listener()
        self._check_machine()
        with leaving_no_trace(self.folder, self.report_folder):
            self._check_folders()
            check_experiment(self._tracking_uri, self.settings.name)
            return self._searched(fresh, resume, listener)

    def _searched(self, fresh: bool, resume: bool, listener: Listener) -> Summary:
        """The search, alone in its folder."""
        with self.folder.alone():
            database = Database(self.storage_url, listener.trouble) if self.settings.storage else None
            if database:
                check_free(database, self.settings.name)
            self.folder.check_storage(self.settings.storage and shown(self.settings.storage), fresh)
            identity = identity_of(self.settings, self.space, self.corpus.fingerprint)
            new = self.folder.open(identity, fresh, resume)
            own = self.folder.path / DATABASE
            watch = Watch(self.folder.path / STATUS, self.settings.name, listener.status)
            listener = listener.watched(watch)
            if resume and not database and not own.exists():
                raise BadInput(f"--resume: {own}, the database of trials, is missing; give --fresh")
            try:
                with self.folder.session():
                    database = database or Database(self.storage_url, listener.trouble)
                    if fresh:
                        move_aside(database, self.settings.name)
                    self.folder.keep_storage(self.settings.storage and shown(self.settings.storage))
                    measurement, demand = self._demand(listener)
                    ledger = self._planned(database, demand, listener)
                    ledger.begin(lag_of(self.settings.workers))
                    watch.know(ledger.records.all)
            except BadInput:
                if new:
                    self.folder.forget()
                raise
            try:
                self.tracker = tracker = study_tracker(
                    self._tracking_uri, ledger.descriptor, self.folder.path, ledger.uid
                )
                with tracker.ending():
                    with self.folder.session():
                        exhausted = self._work(ledger, listener, tracker)
                    summary = self._finish(ledger, measurement, tracker, exhausted)
                    watch.end("finished")
                    return summary
            except KeyboardInterrupt:
                watch.end("interrupted")
                trained = ledger.records.trained
                planned = self.settings.search.trials + len(plan.baselines(ledger.descriptor))
                raise Interrupted(f"{trained} of {planned} trials are saved") from None
            finally:
                watch.end("failed")
                ledger.end()

    def rehearse(self) -> list[str]:
        """What `run` would warn of, and that this machine cannot run it, if so; no measuring, training or MLflow.

        Raises BadInput for what no machine could run, as far as that is known.
        """
        said = []
        try:
            self._check_machine()
        except BadInput as error:
            said.append(f"this study cannot run on this machine: {error}")
        descriptor = self._expected()
        if self.settings.demand.measure is None:
            plan.check_feasible(descriptor, self.settings.space)
        plan.own_designs(descriptor)
        plan.check_reference(descriptor)
        return [*said, *plan.warnings(descriptor)]

    def cost(self) -> Cost:
        """What the study will cost, with the demand that is given or, where it is to be measured, beta 0.7."""
        descriptor, settings = self._expected(), self.settings
        rng = np.random.default_rng(0)
        drawn = [
            descriptor.candidates.drawn(lambda name, options: options[rng.integers(len(options))]).architecture
            for _ in range(DRAWN)
        ]
        known = {name: drawing for name, (drawing, _) in plan.designs(descriptor).items()}
        own = plan.own_designs(descriptor)
        again = len(known) if settings.finalists else 0
        if settings.finalists and settings.finalists.baselines is not None:
            again = min(again, len(settings.finalists.baselines) + 1)  # the best of all trials may be another
        return cost_of(
            Planned(
                settings=settings,
                designs=[*known.values(), *own.values(), *drawn],
                baselines=len(plan.baselines(descriptor)),
                again=again,
                training_tokens=self.corpus.documents("train").size,
                threads=settings.workers * settings.threads if settings.threads else usable_cores(),
            )
        )

    def _expected(self) -> Descriptor:
        """The study with its demand, or with one of beta 0.7 where it is yet to be measured."""
        settings = self.settings.demand
        law = demands.given_law(settings) if settings.measure is None else PowerLaw(1.0, 0.7)
        return self._descriptor(demands.demand_of(law, settings, self.settings.condition))

    def _check_machine(self) -> None:
        """Say before any work that this machine cannot run it. Raises BadInput."""
        if self.settings.executor != "local":
            return  # a cluster's nodes are looked at by its actors
        device = pick_device(self.settings.device)
        check_kernels(self.settings.search.kernels, self.settings.device)
        check_compile(self.settings.recipe, device)

    def _planned(self, database: Database, demand: Demand, listener: Listener) -> Ledger:
        """The study's ledger, found able to be searched."""
        descriptor = self._descriptor(demand)
        plan.check_feasible(descriptor, self.settings.space)
        plan.own_designs(descriptor)
        plan.check_reference(descriptor)
        for trouble in plan.warnings(descriptor):
            listener.trouble(trouble)
        return Ledger(database, self.settings.name, descriptor)

    def _work(self, ledger: Ledger, listener: Listener, tracker: Tracker) -> bool:
        """Everything that is planned; answers whether the space had nothing new to offer."""
        executor = self._executor(listener)
        kernels = FixedKernels(ledger.results)
        bench = Bench(ledger, executor, listener, tracker, self.folder.path.absolute(), kernels)
        try:
            trials = Trials(bench)
            trials.run()
            if self.settings.finalists:
                run_finalists(bench)
        finally:
            executor.stop()
        return trials.exhausted

    def _executor(self, listener: Listener) -> Executor:
        if self.settings.executor == "ray":
            from l2m_design.search.executors.ray import ray_executor

            return ray_executor(self.settings, listener.trouble)
        return local_executor(self.settings)

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
                raise BadInput(f"{option} {folder}: is not writable ({error.strerror})") from None

    def _finish(self, ledger: Ledger, measurement: Json | None, tracker: Tracker, exhausted: bool) -> Summary:
        """Write study.json and close the tracked run; what tracking could not do is noted."""
        summary = summarise(ledger, self.corpus, measurement, self.folder.seconds)
        page, path = self.report_folder / "index.html", self.report_folder / "study.json"
        said = [self._exhausted(ledger)] if exhausted else []
        summary = replace(summary, report=str(page), tracking_uri=self._tracking_uri, notes=[*summary.notes, *said])
        write_atomically(path, to_json(plain(summary)))
        recipe = final_recipe(self.settings).fingerprint if self.settings.finalists else ""
        finish_study(tracker, summary, ledger.runs(recipe), path)
        if tracker.notes:
            summary = replace(summary, notes=[*summary.notes, *tracker.notes])
            write_atomically(path, to_json(plain(summary)))
        return summary

    def _exhausted(self, ledger: Ledger) -> str:
        drawn, planned = ledger.records.drawn, self.settings.search.trials
        return (
            f"only {drawn} of {planned} planned trials were made, since the last {STALLED} sampled architectures were "
            "all rejected or duplicates"
        )

    def _demand(self, listener: Listener) -> tuple[Json | None, Demand]:
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
