"""Asked: one taken candidate, which picks its options and hears its constraints, rungs and end."""

from typing import Any

import numpy as np
import optuna

from l2m_design.search.study.queue import Queue

RUNG = "rung"


class Asked:
    """A ticket of the trials' queue in the hands of a worker."""

    def __init__(self, trial: optuna.Trial, queue: Queue, reduction: int) -> None:
        self._trial, self._queue, self._reduction = trial, queue, reduction
        self.number = trial.number

    def pick(self, name: str, options: list[Any]) -> Any:
        """The answer to one question of a drawing."""
        return self._trial.suggest_categorical(name, options)

    @property
    def params(self) -> dict[str, Any]:
        """The picks made so far."""
        return dict(self._trial.params)

    @property
    def attrs(self) -> dict[str, Any]:
        """What was said when the ticket was planned."""
        return self._trial.user_attrs

    @property
    def design(self) -> str | None:
        """The baseline's name, if this is one."""
        name: str | None = self.attrs.get("design")
        return name

    def note(self, name: str, value: str) -> None:
        """Say something of the trial while it runs, for other workers to see."""
        self._trial.set_user_attr(name, value)

    def constrain(self, constraints: dict[str, float]) -> None:
        """Constraints by name; feasible where all are at most 0. Each name may be said once."""
        for name, value in constraints.items():
            self._trial.set_constraint(name, max(-1e9, min(1e9, value)))

    def report(self, rung: int, resource: int, values: list[float]) -> bool:
        """Hear a rung's values (late loss with the penalty, or each objective); answers whether to go on."""
        if len(values) == 1:
            self._trial.report(values[0], resource)
            return not self._trial.should_prune()
        self._trial.set_user_attr(f"{RUNG}{rung}", values)
        if isinstance(self._queue.study.pruner, optuna.pruners.NopPruner):
            return True
        others = [
            trial.user_attrs.get(f"{RUNG}{rung}") for trial in self._queue.trials() if trial.number != self.number
        ]
        return goes_on(values, [other for other in others if other], self._reduction)

    def finish(self, kept: dict[str, str], values: list[float] | None, pruned: bool) -> bool:
        """The end: what is kept, and values, pruned, or (neither) failed. False when the trial had been given up."""
        return self._queue.finish(self._trial, kept, values, pruned)


def goes_on(values: list[float], others: list[list[float]], reduction: int) -> bool:
    """The rung rule for several objectives: is a candidate in the first 1/reduction by non-dominated sorting?

    values: [objectives], each to be small, at this rung; others: those of all that reached it before. Fronts are
    peeled off until they hold their share; who lies on a peeled front goes on, so at least the first front does. With
    fewer than `reduction` others everybody goes on. After MO-ASHA (Schmucker et al. 2021, arXiv 2106.12639).
    """
    rows = np.array([values, *others])
    if len(rows) <= reduction:
        return True
    left, promoted = np.arange(len(rows)), 0
    while promoted < len(rows) / reduction:
        points = rows[left]
        no_worse = (points[None] <= points[:, None]).all(axis=2)
        better = (points[None] < points[:, None]).any(axis=2)
        front = ~np.logical_and(no_worse, better).any(axis=1)
        if 0 in left[front]:
            return True
        promoted += int(front.sum())
        left = left[~front]
    return False
