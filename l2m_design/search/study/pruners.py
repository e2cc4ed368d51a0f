"""Pruners: who goes on at a rung, by the penalised loss; resources are counted in units of the first rung."""

import optuna

from l2m_design.search.settings import SearchSettings
from l2m_design.training.recipe import Recipe


def resource(recipe: Recipe, step: int) -> int:
    """What a run of so many steps has spent, in units of its first rung."""
    return max(1, round(step / recipe.rung_steps[0])) if recipe.rung_steps else 1


def pruner(settings: SearchSettings, recipe: Recipe) -> optuna.pruners.BasePruner:
    """median: worse than the median of finished trials at the same rung. asha: not in the best 1/reduction of a rung.

    hyperband: several such rules side by side, from harsh to none. With mode: pareto, asha is `asked.goes_on`.
    """
    if settings.pruner == "none" or not recipe.rung_steps:
        return optuna.pruners.NopPruner()
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=settings.warmup_trials)
    if settings.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=settings.reduction)
    return optuna.pruners.HyperbandPruner(
        min_resource=1, max_resource=resource(recipe, recipe.steps), reduction_factor=settings.reduction
    )
