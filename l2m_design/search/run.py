"""A study from its settings to its summary: demand, trials, choice; it can be stopped and gone on with."""

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.model.backends import pick_device
from l2m_design.search import demand as demands
from l2m_design.search import finalists
from l2m_design.search.known import known_designs
from l2m_design.search.objective import Objective
from l2m_design.search.record import Record, Records
from l2m_design.search.settings import StudySettings, differences
from l2m_design.search.space import Space, check_space
from l2m_design.search.study import OptunaStudy
from l2m_design.search.tracking import Tracker
from l2m_design.settings import to_json, write_atomically
from l2m_design.training.batches import held_out_windows

Progress = Callable[[str, int, int], None]
STALLED = 200


class Interrupted(Exception):
    """Ctrl-C: finished trials are kept; the message says how to go on."""


@dataclass(frozen=True)
class Folders:
    """runs: databases, records and weights of studies; reports: what is kept and shown."""

    runs: Path
    reports: Path


class Search:
    """One study in its folder. Raises BadInput before any work when it cannot run as asked."""

    def __init__(self, settings: StudySettings, space: Space, folders: Folders, tracking_uri: str) -> None:
        self.settings = settings
        self.folder = folders.runs / settings.name
        self.report_folder = folders.reports / settings.name
        self._tracking_uri = tracking_uri
        self._space = space
        self.corpus: Corpus = open_corpus(settings.corpus)
        pick_device(settings.device)
        self._check_corpus()

    def _check_corpus(self) -> None:
        recipe = self.settings.recipe
        for split in ("train", "validation", "test"):
            held_out_windows(self.corpus, split, recipe.length, 1)
        check_space(self._space.resolved(1.0), {}, self.corpus.vocabulary, self.settings.space)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two studies the same: all settings except how many trials, the space, the corpus."""
        plain = self.settings.plain()
        plain["search"].pop("trials")
        plain.pop("device")
        plain.pop("threads")
        return {"study": plain, "space": self._space.plain(), "corpus": self.corpus.fingerprint}

    def prepare(self, fresh: bool, resume: bool) -> int:
        """Make or find the study's folder; answers how many trials it already holds. Raises BadInput."""
        known = self.folder / "identity.json"
        if fresh and self.folder.exists():
            number = 1
            while (aside := self.folder.with_name(f"{self.folder.name}.{number}")).exists():
                number += 1
            self.folder.rename(aside)
        if not known.exists():
            if resume:
                raise BadInput(f"--resume: there is no study in {self.folder}")
            shutil.rmtree(self.folder, ignore_errors=True)
            write_atomically(known, to_json(self.identity))
            return 0
        if changed := differences(json.loads(known.read_text()), json.loads(to_json(self.identity))):
            raise BadInput(
                f"{self.folder}: holds a study named '{self.settings.name}' with other settings "
                f"({'; '.join(changed[:3])}); give --fresh, or another name"
            )
        return len(Records(self.folder / "trials").all)

    def run(
        self,
        on_progress: Progress = lambda what, done, total: None,
        on_trial: Callable[[Record], None] = lambda record: None,
    ) -> dict[str, Any]:
        """Search to the end and write study.json; answers its summary. Raises Interrupted on Ctrl-C."""
        with self._alone():
            began = time.perf_counter()
            measurement, demand = self._demand(on_progress)
            records = Records(self.folder / "trials")
            space = self._space.resolved(demand.exponent)
            designs = known_designs(space, demand.exponent) if self.settings.search.known_designs else {}
            check_space(space, designs, self.corpus.vocabulary, self.settings.space)
            tracker = Tracker(
                self._tracking_uri,
                self.settings.name,
                self._flat_settings(demand),
                self.settings.condition.dtype,
                self.folder / "tracked.json",
            )
            study = OptunaStudy(self.folder / "optuna.db", self.settings.name, self.settings.search)
            self._catch_up(study, records, designs)
            objective = Objective(self.settings, space, self.corpus, demand, self.folder)
            try:
                self._trials(study, records, objective, tracker, on_progress, on_trial)
            except KeyboardInterrupt:
                raise Interrupted(f"{records.trained} of {self.settings.search.trials} trials are kept") from None
            seconds = self._seconds(time.perf_counter() - began, records)
            summary = self._summary(records, demand, measurement, seconds)
            write_atomically(self.report_folder / "study.json", to_json(summary))
            tracker.sync(records.all)
            tracker.finish(_study_metrics(summary), [self.report_folder / "study.json"])
            if tracker.trouble:
                summary["notes"].append(
                    f"tracking: {tracker.trouble}; unsent runs go with the next search of this study"
                )
            return summary

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(f"{self.folder}: another process is searching this study") from None
            yield

    def _demand(self, on_progress: Progress) -> tuple[dict[str, Any] | None, Demand]:
        """Measured once a study and kept, or given."""
        settings = self.settings.demand
        kept = self.folder / "demand.json"
        if settings.measure is None:
            law, measurement = demands.given_law(settings), None
        elif kept.exists():
            data = json.loads(kept.read_text())
            law, measurement = PowerLaw.of_plain(data["law"]), data["measurement"]
        else:
            found = demands.measured(
                self.corpus, settings.measure, settings.model, self.settings.device, on_progress=on_progress
            )
            law = PowerLaw.of_plain(demands.measured_law(found).plain())
            measurement = found.plain()
            write_atomically(kept, to_json({"law": law.plain(), "measurement": measurement}))
        return measurement, demands.demand_of(law, settings, self.settings.condition)

    def _catch_up(self, study: OptunaStudy, records: Records, designs: dict[str, dict[str, Any]]) -> None:
        """Close what an earlier search left open; plan the known designs of a new study."""
        if study.is_new:
            for name, picks in designs.items():
                study.plan(picks, design=name)
        for unfinished in study.unfinished():
            if unfinished.number in records:
                record = records[unfinished.number]
                unfinished.tell(record.value, pruned=record.state in ("pruned", "infeasible"))
            else:
                unfinished.again()

    def _trials(
        self,
        study: OptunaStudy,
        records: Records,
        objective: Objective,
        tracker: Tracker,
        on_progress: Progress,
        on_trial: Callable[[Record], None],
    ) -> None:
        planned, idle = self.settings.search.trials, 0
        tracker.sync(records.all)
        while records.trained < planned and idle < STALLED:
            on_progress("trials", records.trained, planned)
            record = objective.run(study.ask(), records, lambda r, done, total: on_progress(r.picture, done, total))
            on_trial(record)
            idle = idle + 1 if record.state == "infeasible" or record.copy_of is not None else 0
            if not idle:
                tracker.sync(records.all)
        on_progress("trials", records.trained, planned)

    def _flat_settings(self, demand: Demand) -> dict[str, Any]:
        flat = {"asked_exponent": demand.exponent, "version": __version__}
        for section, values in self.settings.plain().items():
            if isinstance(values, dict):
                flat |= {f"{section}.{key}": value for key, value in values.items() if value is not None}
            else:
                flat[section] = values
        return flat

    def _seconds(self, wall: float, records: Records) -> dict[str, float]:
        """Of the whole study, earlier sittings included: total, training, evaluating, the rest."""
        kept = self.folder / "seconds.json"
        earlier = json.loads(kept.read_text())["total"] if kept.exists() else 0.0
        outcomes = [r.outcome for r in records.all if r.outcome and r.copy_of is None]
        training = sum(o.train_seconds for o in outcomes)
        training += sum(r.seconds for r in records.all if r.state in ("pruned", "failed") and r.copy_of is None)
        evaluating = sum(o.evaluate_seconds for o in outcomes)
        total = earlier + wall
        write_atomically(kept, to_json({"total": total}))
        return {
            "total": round(total, 1),
            "training": round(training, 1),
            "evaluating": round(evaluating, 1),
            "overhead": round(max(0.0, total - training - evaluating), 1),
        }

    def _summary(
        self, records: Records, demand: Demand, measurement: dict[str, Any] | None, seconds: dict[str, float]
    ) -> dict[str, Any]:
        every = records.all
        reference = finalists.reference_of(every)
        chosen = finalists.choose(every)
        states = ("complete", "pruned", "infeasible", "failed")
        return {
            "study": self.settings.name,
            "version": __version__,
            "trials": {s: len(records.of_state(s)) for s in states},  # type: ignore[arg-type]
            "duplicates": sum(r.copy_of is not None for r in every),
            "chosen": finalists.row(chosen, reference) if chosen else None,
            "front": [finalists.row(r, reference) for r in finalists.front(every)],
            "baselines": [finalists.row(r, reference) for r in finalists.baselines(every)],
            "report": str(self.report_folder / "index.html"),
            "tracking_uri": self._tracking_uri,
            "seconds": seconds,
            "demand": {
                "law": demand.law.plain(),
                "has_level": demand.has_level,
                "terms": demand.terms.plain(),
                "exponent": demand.exponent,
                "measurement": measurement,
            },
            "settings": self.settings.plain(),
            "space": self._space.plain(),
            "corpus": {
                "name": self.corpus.name,
                "fingerprint": self.corpus.fingerprint,
                "vocabulary": self.corpus.vocabulary,
            },
            "records": [asdict(r) for r in every],
            "notes": self.corpus.notes,
        }


def _study_metrics(summary: dict[str, Any]) -> dict[str, float]:
    metrics = {f"trials_{state}": float(count) for state, count in summary["trials"].items()}
    metrics |= {f"seconds_{part}": value for part, value in summary["seconds"].items()}
    if chosen := summary["chosen"]:
        metrics |= {"chosen_late_loss": chosen["loss"], "chosen_state_bytes": float(chosen["state_bytes"])}
    return metrics
