"""Pruners: who goes on at a rung, by the penalised loss; resources are counted as powers of the reduction."""

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

    hyperband: several such rules side by side, from harsh to none. With mode: pareto, asha is `asked.goes_on`.
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
