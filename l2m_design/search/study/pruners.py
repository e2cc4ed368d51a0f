"""Pruners: who continues at a rung, by the penalised loss; resources are counted as powers of the reduction."""

import numpy as np
import optuna

from l2m_design.search.settings import SearchSettings
from l2m_design.training.recipe import Recipe


def resource(settings: SearchSettings, rung: int) -> int:
    """What counts as spent at rung 1, 2, ...: `reduction` times as much at each, so that each is one of the rule's.

    Optuna's rules look at such powers alone; the recipe may put its rungs wherever it likes.
    """
    return settings.reduction ** (rung - 1)


def pruner(settings: SearchSettings, recipe: Recipe) -> optuna.pruners.BasePruner:
    """median: worse than the median of finished trials at the same rung. asha: not in the best 1/reduction of a rung.

    hyperband: several such rules side by side, from harsh to none. With mode: pareto, asha is `goes_on`.
    """
    rule = settings.pruner
    if rule == "auto":
        rule = "median" if settings.mode == "penalised" else "asha"
    if rule == "none" or not recipe.rung_steps:
        return optuna.pruners.NopPruner()
    if rule == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=settings.warmup_trials)
    if rule == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=settings.reduction)
    return optuna.pruners.HyperbandPruner(
        min_resource=1,
        max_resource=resource(settings, len(recipe.rung_steps) + 1),
        reduction_factor=settings.reduction,
    )


def goes_on(values: list[float], others: list[list[float]], reduction: int) -> bool:
    """The rung rule for several objectives: is a candidate in the first 1/reduction by non-dominated sorting?

    values: [objectives], each to be small, at this rung; others: those of all that reached it before. Fronts are
    peeled off until they hold their share; who lies on a peeled front continues, so at least the first front does. With
    fewer than `reduction` others everybody continues. After MO-ASHA (Schmucker et al. 2021, arXiv 2106.12639).
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
