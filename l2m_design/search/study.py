"""Optuna's one door: asks for drawings, hears what became of them."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from l2m_design.search.settings import SearchSettings
from l2m_design.search.space import Pick

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaStudy:
    """A single-objective Optuna study in a sqlite file: TPE over flat categorical choices, with constraints."""

    def __init__(self, path: Path, name: str, settings: SearchSettings) -> None:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=settings.seed, multivariate=True, n_startup_trials=2 * settings.warmup_trials
            )
        self._study = optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, pruner=_pruner(settings), load_if_exists=True
        )

    @property
    def is_new(self) -> bool:
        """No trial was asked for or planned yet."""
        return not self._study.get_trials(deepcopy=False)

    def plan(self, params: dict[str, Any], **notes: Any) -> None:
        """Let these picks be the next asked for."""
        self._study.enqueue_trial(params, user_attrs=notes)

    def ask(self) -> "Asked":
        """The next candidate."""
        return Asked(self._study.ask(), self._study)

    def unfinished(self) -> list["Unfinished"]:
        """Trials that were running when an earlier search stopped."""
        states = (TrialState.RUNNING,)
        return [
            Unfinished(t.number, t.params, t.user_attrs, self._study)
            for t in self._study.get_trials(deepcopy=False, states=states)
        ]


class Asked:
    """One asked candidate: picks its options, hears its constraints, rungs and end."""

    def __init__(self, trial: optuna.Trial, study: optuna.Study) -> None:
        self._trial = trial
        self._study = study
        self.number = trial.number

    @property
    def pick(self) -> Pick:
        """The answers for `Space.draw`."""
        return lambda name, options: self._trial.suggest_categorical(name, options)

    @property
    def params(self) -> dict[str, Any]:
        """The picks made so far."""
        return dict(self._trial.params)

    @property
    def design(self) -> str | None:
        """The known design's name, if this is one."""
        name: str | None = self._trial.user_attrs.get("design")
        return name

    def constrain(self, constraints: dict[str, float]) -> None:
        """Constraints by name; feasible where all are at most 0."""
        for name, value in constraints.items():
            self._trial.set_constraint(name, max(-1e9, min(1e9, value)))

    def report(self, step: int, value: float) -> bool:
        """Hear a rung's penalised loss; answers whether to go on."""
        self._trial.report(value, step)
        return not self._trial.should_prune()

    def tell(self, value: float | None, pruned: bool = False) -> None:
        """The end: a value, pruned, or (neither) failed."""
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED if pruned else TrialState.FAIL
        self._study.tell(self._trial, value, state=state)


class Unfinished:
    """A trial that an earlier search left running."""

    def __init__(self, number: int, params: dict[str, Any], notes: dict[str, Any], study: optuna.Study) -> None:
        self.number = number
        self._params, self._notes, self._study = params, notes, study

    def tell(self, value: float | None, pruned: bool) -> None:
        """Its record was written: say how it ended."""
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED if pruned else TrialState.FAIL
        self._study.tell(self.number, value, state=state)

    def again(self) -> None:
        """It left no record: close it and ask for the same picks next."""
        self._study.tell(self.number, state=TrialState.FAIL)
        self._study.enqueue_trial(self._params, user_attrs=self._notes)


def _pruner(settings: SearchSettings) -> optuna.pruners.BasePruner:
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=settings.warmup_trials)
    if settings.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.NopPruner()
