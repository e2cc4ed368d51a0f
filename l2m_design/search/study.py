"""Optuna's one door: asks for drawings, hears what became of them."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import DatabaseError

from l2m_design.errors import BadInput
from l2m_design.search.record import Records
from l2m_design.search.settings import SearchSettings
from l2m_design.search.space import Pick
from l2m_design.training.recipe import Recipe

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaStudy:
    """A single-objective Optuna study in a sqlite file: TPE over flat categorical choices, with constraints."""

    def __init__(self, path: Path, name: str, settings: SearchSettings, recipe: Recipe) -> None:
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
        except DatabaseError:
            raise BadInput(f"{path}: not an Optuna database; give --fresh to start anew") from None
        pruner = _pruner(settings, recipe)
        self._study = optuna.create_study(study_name=name, storage=storage, pruner=pruner, load_if_exists=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=settings.seed + len(self._trials()),  # a later sitting must not draw the same again
                multivariate=True,
                n_startup_trials=2 * settings.warmup_trials,
            )

    def _trials(self, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def ask(self) -> "Asked":
        """The next candidate."""
        return Asked(self._study.ask(), self._study)

    def catch_up(self, records: Records, designs: dict[str, dict[str, Any]]) -> None:
        """Close what an earlier sitting left open, and plan the known designs that are not there yet."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.number in records:
                record = records[trial.number]
                tell(self._study, trial.number, record.value, record.state in ("pruned", "infeasible"))
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
                if "design" not in trial.user_attrs:
                    self._study.enqueue_trial(trial.params)
        open_states = (TrialState.WAITING, TrialState.COMPLETE, TrialState.PRUNED)
        there = {trial.user_attrs.get("design") for trial in self._trials(*open_states)}
        there |= {record.design for record in records.all}
        for name, picks in designs.items():
            if name not in there:
                self._study.enqueue_trial(picks, user_attrs={"design": name})


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
        tell(self._study, self._trial, value, pruned)


def tell(study: optuna.Study, trial: optuna.Trial | int, value: float | None, pruned: bool) -> None:
    """Say how a trial ended: with a value, pruned, or (neither) failed."""
    state = TrialState.COMPLETE if value is not None else TrialState.PRUNED if pruned else TrialState.FAIL
    study.tell(trial, value, state=state)


def _pruner(settings: SearchSettings, recipe: Recipe) -> optuna.pruners.BasePruner:
    """median: worse than the median of finished trials at the same rung. asha: not in the better half of a rung."""
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=settings.warmup_trials)
    if settings.pruner == "asha" and recipe.rung_steps:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=recipe.rung_steps[0], reduction_factor=2)
    return optuna.pruners.NopPruner()
