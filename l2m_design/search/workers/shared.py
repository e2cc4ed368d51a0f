"""SharedStudy: what all workers of a study know, in its database: the study, its tickets, what became of them."""

import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from l2m_design.condition import Demand
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.search.record import Record, Records
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.settings import StudySettings, differences
from l2m_design.search.space.space import Space
from l2m_design.search.study.pruners import pruner
from l2m_design.search.study.queue import JOB, RECIPE, TICKET, Queue
from l2m_design.search.study.sampler import FeasibleSampler, inner_sampler, resolved
from l2m_design.search.study.storage import Storage
from l2m_design.search.trials.candidates import DRAWING, TRAINS, Candidates
from l2m_design.settings import to_json
from l2m_design.terms import Terms
from l2m_design.training.result import Result

TRIAL, FINAL = "trial", "final"
RECORD, RUN, STUDY, UID, FINISHED, EXHAUSTED = "record", "run", "study", "uid", "finished", "exhausted"
FINALS = ":finalists"


@dataclass(frozen=True)
class Descriptor:
    """A study as workers read it: everything that decides a trial."""

    settings: StudySettings
    space: Space
    demand: Demand
    corpus: dict[str, Any]  # name, fingerprint, vocabulary, copies

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two studies the same."""
        return {
            "study": self.settings.identity,
            "space": self.space.plain(),
            "corpus": self.corpus["fingerprint"],
            "beta": round(self.demand.exponent, 6),
        }

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "settings": self.settings.public(),
            "space": self.space.plain(),
            "demand": {
                "law": self.demand.law.plain(),
                "terms": self.demand.terms.plain(),
                "has_level": self.demand.has_level,
            },
            "corpus": self.corpus,
        }

    @classmethod
    def of_plain(cls, data: dict[str, Any]) -> "Descriptor":
        """The descriptor that `plain` wrote."""
        demand = data["demand"]
        law = PowerLaw.of_plain(demand["law"])
        return cls(
            StudySettings.parse(data["settings"], "study"),
            Space.parse(data["space"], "space"),
            Demand(law, Terms.parse(demand["terms"], "condition"), demand["has_level"]),
            data["corpus"],
        )

    @property
    def resolved(self) -> Space:
        """The space with the demanded exponent in its options."""
        return self.space.resolved(self.demand.exponent)

    @property
    def candidates(self) -> Candidates:
        """What is drawn and judged."""
        return Candidates(self.settings, self.resolved, self.demand, self.corpus["vocabulary"])


class SharedStudy:
    """The tickets of trials and of finalists in one database, as one worker sees them.

    index: which worker this is; it seeds what is drawn. Raises BadInput where the study is none, or another.
    """

    def __init__(self, storage: Storage, name: str, descriptor: Descriptor | None = None, index: int = 0) -> None:
        self.storage = storage
        probe = _existing(storage, name) if descriptor is None else Queue(storage, name, _directions(descriptor))
        kept = probe.study.user_attrs.get(STUDY)
        if descriptor is None:
            if kept is None:
                raise BadInput(f"study {name} in {storage.shown}: not planned yet; start it with l2m search")
            descriptor = Descriptor.of_plain(json.loads(kept))
        elif kept is not None:
            old = Descriptor.of_plain(json.loads(kept)).identity
            if changed := differences(json.loads(to_json(old)), json.loads(to_json(descriptor.identity))):
                raise BadInput(
                    f"study {name} in {storage.shown}: exists with other settings ({'; '.join(changed[:3])}); "
                    "give another name"
                )
        self.descriptor = descriptor
        settings = descriptor.settings
        drawn = len(probe.study.get_trials(deepcopy=False))  # a later sitting must not draw the same again
        self._records, self._runs = Records(), dict[int, FinalRun]()
        self._at_work: dict[str, dict[int, bool]] = {}  # by candidate and open trial: is it being trained?
        seed, parallel = settings.search.seed + drawn + 7919 * index, settings.workers > 1 or index > 0
        self.sampler = self._sampler(seed, parallel)
        self.trials = Queue(
            storage, name, _directions(descriptor), self.sampler, pruner(settings.search, settings.recipe)
        )
        self.finals = Queue(storage, name + FINALS)

    def _sampler(self, seed: int, parallel: bool) -> FeasibleSampler:
        search, candidates = self.descriptor.settings.search, self.descriptor.candidates
        name = resolved(search.sampler, search.trials)
        inner = inner_sampler(name, seed, 2 * search.warmup_trials, search.trials, parallel)

        def fresh(picks: dict[str, Any]) -> bool:
            found = candidates.drawn(lambda question, options: picks[question])
            twin = self._records.twin(found.architecture.fingerprint, found.rate)
            return twin is None and found.key not in self._at_work

        return FeasibleSampler(
            name, inner, candidates.questions, candidates.feasible, fresh, seed, self.records, candidates.largest
        )

    def publish(self) -> None:
        """Let workers join: the study is planned, and not finished."""
        if UID not in self.trials.study.user_attrs:
            self.trials.study.set_user_attr(UID, secrets.token_hex(8))
        self.trials.study.set_user_attr(STUDY, to_json(self.descriptor.plain()))
        self.trials.study.set_user_attr(FINISHED, False)
        self.trials.study.set_user_attr(EXHAUSTED, False)

    @property
    def uid(self) -> str:
        """What tells a published study from all others, those of the same name and settings too."""
        return str(self.trials.study.user_attrs[UID])

    @property
    def finished(self) -> bool:
        """Is everything planned done, or the search stopped?"""
        return bool(self.trials.study.user_attrs.get(FINISHED))

    @property
    def exhausted(self) -> bool:
        """Had the space nothing new to offer?"""
        return bool(self.trials.study.user_attrs.get(EXHAUSTED))

    def exhaust(self) -> None:
        """Stop asking: the space has nothing new."""
        self.trials.study.set_user_attr(EXHAUSTED, True)
        self.trials.withdraw(self.trials.waiting)

    def finish(self) -> None:
        """Send all workers home."""
        self.trials.study.set_user_attr(FINISHED, True)

    def records(self) -> Records:
        """What became of the trials that ended."""
        return self._learnt()[0]

    def rival(self, key: str, number: int) -> int | None:
        """An open trial with the same candidate that trains it, or was drawn first; looked up after ours was noted.

        Of two that look at once the later one gives way. Where both still believe to be alone, both train.
        """
        self._learnt()
        others = {held: trains for held, trains in self._at_work.get(key, {}).items() if held != number}
        return min((held for held, trains in others.items() if trains or held < number), default=None)

    @property
    def missing(self) -> int:
        """How many trials are neither trained nor open (negative: too many are), from one look at the database."""
        records, open_ = self._learnt()
        return self.descriptor.settings.search.trials - records.trained - open_

    def _learnt(self) -> tuple[Records, int]:
        """All records, and how many tickets have none yet but may get one."""
        open_, at_work = 0, dict[str, dict[int, bool]]()
        for trial in self.trials.study.get_trials(deepcopy=False):
            if trial.number in self._records:
                continue
            if text := trial.user_attrs.get(RECORD):
                self._records.add(Record(**json.loads(text)))
            elif TICKET in trial.user_attrs and not trial.state.is_finished():
                open_ += 1
                key = trial.user_attrs.get(DRAWING, "")
                at_work.setdefault(key, {})[trial.number] = TRAINS in trial.user_attrs
        self._at_work = at_work  # at once: other threads read it
        return self._records, open_

    def runs(self, recipe: str) -> list[FinalRun]:
        """The finalists' finished runs with the shared recipe of this fingerprint, in the order of their tickets."""
        for trial in self.finals.study.get_trials(deepcopy=False):
            if trial.number not in self._runs and (text := trial.user_attrs.get(RUN)):
                data = json.loads(text)
                result = Result.of_plain(data["result"]) if data["result"] else None
                job = FinalJob(**trial.user_attrs[JOB])
                self._runs[trial.number] = FinalRun(job, result, data["reason"], trial.user_attrs[RECIPE])
        return [run for _, run in sorted(self._runs.items()) if run.recipe == recipe]


def move_aside(storage: Storage, name: str) -> None:
    """Rename a study in the database, if it is there, to the first free NAME.1, NAME.2, ...; nothing is deleted."""
    names = {study.study_name for study in storage.get_all_studies()}
    number = 1
    while f"{name}.{number}" in names or f"{name}.{number}{FINALS}" in names:
        number += 1
    for part in ("", FINALS):
        storage.rename(name + part, f"{name}.{number}{part}")


def kept_record(record: Record) -> str:
    """A record as the database keeps it."""
    return to_json(asdict(record))


def _directions(descriptor: Descriptor) -> int:
    search = descriptor.settings.search
    return 1 if search.mode == "penalised" else 2 + search.latency


def _existing(storage: Storage, name: str) -> Queue:
    names = [study.study_name for study in storage.get_all_studies()]
    if name not in names:
        known = ", ".join(sorted(n for n in names if not n.endswith(FINALS))) or "none"
        raise BadInput(f"study {name}: not in {storage.shown}; studies there: {known}")
    return Queue(storage, name)
