"""Draws: what Optuna proposes as trial k, from what had ended when its turn came.

The k-th architecture depends on trials up to k - LAG · workers alone (k - 1 with one worker), each told in the order of
its number, and on a seed of its own. So it does not matter which of two jobs ends first, nor how often the search was
stopped: the same study draws the same. Trials in between count as running, with the picks they have.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from l2m_design.search.record import Record, Records
from l2m_design.search.space.layout import Picks
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.search.study.pruners import goes_on, pruner, resource
from l2m_design.search.study.sampler import FeasibleSampler, inner_sampler, resolved
from l2m_design.search.trials.candidates import TRAINING_BYTES, Candidate, objectives

LAG = 2  # drawings a worker
NAME = "drawing"  # hyperband deals out its brackets by it
ENDS = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}
LARGE = 1e9


@dataclass(frozen=True)
class Past:
    """What is known when a trial is drawn. ended: all that counts; running: the others before it, by number."""

    ended: Records
    running: Mapping[int, Record]

    def running_duplicate(self, found: Candidate) -> int | None:
        """The number of one of the others that trains the same."""
        return next((n for n, record in self.running.items() if (record.fingerprint, record.rate) == found.key), None)


@dataclass
class Asked:
    """One architecture in a study of its own, which hears its rungs.

    rejected: architectures refused unasked before it. generation: what a genetic sampler must know of it later.
    """

    picks: Picks
    rejected: int
    generation: dict[str, int]
    _trial: Trial
    _others: list[Record]
    _descriptor: Descriptor
    _rungs: list[list[float]] = field(default_factory=list)

    def report(self, values: list[float]) -> bool:
        """Hear the values at the next rung (the penalised loss, or each objective); answers whether to go on."""
        search = self._descriptor.settings.search
        self._rungs.append(values)
        rung = len(self._rungs)
        if len(values) == 1:
            self._trial.report(values[0], resource(search, rung))
            return not self._trial.should_prune()
        if isinstance(self._trial.study.pruner, optuna.pruners.NopPruner):
            return True
        there = [other for other in self._others if len(other.rungs) >= rung and other.copy_of is None]
        return goes_on(
            values, [objectives(search, other, other.rungs[rung - 1][1]) for other in there], search.reduction
        )


class Draws:
    """Asks Optuna, by its public ways alone, in a study in memory that is made for each architecture."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor, self._candidates = descriptor, descriptor.candidates
        self._told: dict[int, FrozenTrial] = {}

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: CategoricalDistribution(options) for name, options in self._candidates.questions.items()}

    def asked(self, number: int, past: Past) -> Asked:
        """The architecture of this number."""
        settings = self._descriptor.settings
        storage = InMemoryStorage()
        study = optuna.create_study(
            study_name=NAME,
            storage=storage,
            directions=["minimize"] * self._descriptor.directions,
            sampler=RandomSampler(seed=0),
            pruner=pruner(settings.search, settings.recipe),
        )
        ended = {record.number: record for record in past.ended.all}
        replayed = isinstance(study.pruner, optuna.pruners.SuccessiveHalvingPruner | optuna.pruners.HyperbandPruner)
        for other in range(number):
            record = ended.get(other)
            if record and record.copy_of in ended and record.state == "pruned":  # drawn while its twin was at work
                record = record.copied_from(ended[record.copy_of])
            if record is None:
                study.add_trial(self._running(past.running[other].params if other in past.running else {}))
            elif replayed and record.rungs and self._whole(record.params):
                self._replayed(study, storage, record)
            else:
                study.add_trial(self.told(record))
        sampler = self._sampler(number, past)
        study.sampler = sampler
        trial = study.ask()
        picks = {name: trial.suggest_categorical(name, options) for name, options in self._candidates.questions.items()}
        generation = {key: value for key, value in study.trials[-1].system_attrs.items() if "generation" in key}
        return Asked(picks, sampler.rejected, generation, trial, past.ended.all, self._descriptor)

    def told(self, record: Record) -> FrozenTrial:
        """A trial that ended, as Optuna hears of it; of memory it hears whether there was enough."""
        if record.number not in self._told:
            self._told[record.number] = self._frozen(record, self._candidates.again(record), exact=False)
        return self._told[record.number]

    def entry(self, record: Record, found: Candidate) -> FrozenTrial:
        """A trial that ended, as the database stores it; without picks if no picks give its architecture."""
        return self._frozen(record, found, exact=True)

    def _frozen(self, record: Record, found: Candidate, exact: bool) -> FrozenTrial:
        search = self._descriptor.settings.search
        whole = self._whole(record.params)
        rungs = {resource(search, i + 1): self._values(record, loss)[0] for i, (_, loss) in enumerate(record.rungs)}
        values = self._values(record, record.late_loss) if record.state == "complete" and record.late_loss else None
        state = ENDS.get(record.state, TrialState.PRUNED)
        if values is None or not whole:
            values, state = None, TrialState.FAIL if record.state == "complete" else state
        taken = max(TRAINING_BYTES * record.parameters, (record.result or {}).get("peak_memory_bytes", 0))
        memory = (
            1.0 if record.ran_out else self._candidates.memory(taken)
        )  # varies from run to run, and must not change what is drawn
        constraints = self._candidates.constraints(found) | {"memory": memory if exact else math.copysign(1.0, memory)}
        return create_trial(
            state=state,
            values=values,
            params=record.params if whole else {},
            distributions=self._distributions if whole else {},
            constraints={name: max(-LARGE, min(LARGE, value)) for name, value in constraints.items()},
            intermediate_values=rungs if self._descriptor.directions == 1 else {},
            system_attrs=dict(record.generation),
        )

    def _values(self, record: Record, loss: float) -> list[float]:
        return objectives(self._descriptor.settings.search, record, loss)

    def _whole(self, picks: Picks) -> bool:
        return picks.keys() == self._distributions.keys()

    def _running(self, picks: Picks) -> FrozenTrial:
        known = self._distributions if self._whole(picks) else {}
        return create_trial(state=TrialState.RUNNING, params=picks if known else {}, distributions=known)

    def _replayed(self, study: optuna.Study, storage: InMemoryStorage, record: Record) -> None:
        """Tell rung by rung, since these rules remember what each trial was at each."""
        study.add_trial(self._running(record.params))
        home = storage.get_study_id_from_name(NAME)
        trial = Trial(study, storage.get_trial_id_from_study_id_trial_number(home, record.number))
        told = self.told(record)
        for at, value in told.intermediate_values.items():
            trial.report(value, at)
            trial.should_prune()
        for name, value in told.constraints.items():
            trial.set_constraint(name, value)
        study.tell(trial, told.values, state=told.state)

    def _sampler(self, number: int, past: Past) -> FeasibleSampler:
        settings = self._descriptor.settings
        search, candidates = settings.search, self._candidates
        name = resolved(search.sampler, search.trials)
        seed = search.seed + 7919 * number
        inner = inner_sampler(name, seed, 2 * search.warmup_trials, search.trials, bool(past.running))

        def fresh(picks: Picks) -> bool:
            found = candidates.drawn(lambda question, options: picks[question])
            return past.ended.duplicate(*found.key) is None and past.running_duplicate(found) is None

        return FeasibleSampler(name, inner, candidates.questions, candidates.feasible, fresh, seed, candidates.largest)


def lag_of(workers: int) -> int:
    """How many trials back the last one lies whose end must be known, with so many workers."""
    return LAG * workers if workers > 1 else 1


def before(records: Iterable[Record], number: int) -> Records:
    """The records of trials up to a number, that one not among them."""
    return Records(record for record in records if record.number < number)
