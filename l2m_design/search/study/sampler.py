"""FeasibleSampler: an Optuna sampler that rejects architectures that fail the condition before they become trials."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from l2m_design.search.space.layout import Picks

Name = Literal["auto", "tpe", "gp", "nsga2", "random"]
GP_AT_MOST = 300
TRIES = {"tpe": 8, "gp": 1, "nsga2": 8, "random": 0}
UNIFORM_TRIES, FRESH_TRIES = 2000, 100


def resolved(name: Name, trials: int) -> str:
    """The sampler that `auto` stands for: Gaussian processes up to 300 trials, TPE beyond."""
    return name if name != "auto" else "gp" if trials <= GP_AT_MOST else "tpe"


def inner_sampler(name: str, seed: int, startup: int, trials: int, parallel: bool) -> BaseSampler:
    """Optuna's sampler of that name; the first `startup` candidates are drawn evenly."""
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=startup)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=max(8, min(50, trials // 4)))
    if name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=startup, constant_liar=parallel)


class FeasibleSampler(BaseSampler):
    """Asks an inner sampler for joint picks; those that are infeasible are drawn again, or mended pick by pick.

    questions: every pick's name and options, the same for all candidates. feasible: of all picks, without building
    anything; fresh: not sampled before, preferred while there is something new. largest: picks of the most state,
    from where to look on when feasible ones are too rare to be met by chance. rejected: number of
    architectures that were rejected.
    """

    def __init__(
        self,
        name: str,
        inner: BaseSampler,
        questions: dict[str, list[Any]],
        feasible: Callable[[Picks], bool],
        fresh: Callable[[Picks], bool],
        seed: int,
        largest: Callable[[], Iterable[Picks]] = tuple,
    ) -> None:
        self._tries, self._inner, self._feasible, self._fresh = TRIES[name], inner, feasible, fresh
        self._space: dict[str, BaseDistribution] = {
            question: CategoricalDistribution(options) for question, options in questions.items()
        }
        self._questions = questions
        self._rng = np.random.default_rng([seed, 2])
        self._largest = largest
        self.rejected = 0

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole flat space, always."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Picks:
        """Joint picks that are feasible, unless none was found in UNIFORM_TRIES."""
        picks: Picks = {}
        for _ in range(self._tries):
            picks = self._inner.sample_relative(study, trial, search_space)
            if not picks:
                break
            picks = self._any() | picks  # a mutation leaves its pick out
            if self._holds(picks) and self._fresh(picks):
                return picks
        return self._mended(picks) if picks else self._even()

    def _any(self) -> Picks:
        return {name: options[self._rng.integers(len(options))] for name, options in self._questions.items()}

    def _even(self) -> Picks:
        """Picks drawn evenly from the feasible ones, new ones while there are any."""
        found: Picks = {}
        for tried in range(UNIFORM_TRIES):
            if found and tried >= FRESH_TRIES:
                break
            picks = self._any()
            if self._holds(picks):
                found = picks
                if self._fresh(picks):
                    break
        return found or self._rare() or picks

    def _rare(self) -> Picks:
        """Feasible picks near the largest state, new ones if there are any; none where not even that is feasible."""
        names = list(self._questions)
        for start in self._largest():
            if not self._holds(start):
                continue
            found = start
            for _ in range(8 * len(names)):
                if self._fresh(found):
                    return found
                name = names[self._rng.integers(len(names))]
                near = found | {name: self._questions[name][self._rng.integers(len(self._questions[name]))]}
                found = near if self._holds(near) else found
            return found
        return {}

    def _mended(self, picks: Picks) -> Picks:
        """A feasible new neighbour: one pick after another is drawn again until all fit together."""
        names = list(self._questions)
        for _ in range(8 * len(names)):
            name = names[self._rng.integers(len(names))]
            options = self._questions[name]
            picks = picks | {name: options[self._rng.integers(len(options))]}
            if self._holds(picks) and self._fresh(picks):
                return picks
        return self._even()

    def _holds(self, picks: Picks) -> bool:
        good = self._feasible(picks)
        self.rejected += not good
        return good

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """For a pick that the joint ones left out."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """A fresh random state."""
        self._inner.reseed_rng()
        self._rng = np.random.default_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the inner sampler does."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """As the inner sampler does."""
        self._inner.after_trial(study, trial, state, values)
