"""What is asked: feasible, new where possible, by every sampler; and the rung rule for several objectives."""

import numpy as np
import optuna
import pytest

from l2m_design.search.study.pruners import goes_on
from l2m_design.search.study.sampler import FeasibleSampler, inner_sampler, resolved

QUESTIONS = {f"x{i}": [0, 1, 2, 3] for i in range(4)}


def rare(picks: dict[str, int]) -> bool:
    """One in eight or so."""
    return sum(picks.values()) >= 9


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", ["tpe", "gp", "nsga2", "random"])
def test_every_sampler_asks_for_feasible_new_drawings_only(name: str, directions: int) -> None:
    seen: set[tuple[int, ...]] = set()

    def fresh(picks: dict[str, int]) -> bool:
        return tuple(picks.values()) not in seen

    sampler = FeasibleSampler(name, inner_sampler(name, 0, 6, 20, False), QUESTIONS, rare, fresh, 0)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * directions)
    for _ in range(20):
        trial = study.ask()
        picks = {question: trial.suggest_categorical(question, options) for question, options in QUESTIONS.items()}
        assert rare(picks)
        assert fresh(picks)
        seen.add(tuple(picks.values()))
        trial.set_constraint("c", -1.0)
        study.tell(trial, [-float(sum(picks.values())), float(picks["x0"])][:directions])
    assert len(seen) == 20
    assert sampler.rejected > 20


def test_a_sampler_learns_where_the_good_ones_are() -> None:
    def mean_of_last(name: str) -> float:
        sampler = FeasibleSampler(
            name, inner_sampler(name, 1, 8, 40, False), QUESTIONS, lambda picks: True, lambda picks: True, 1
        )
        study = optuna.create_study(sampler=sampler)
        values = []
        for _ in range(40):
            trial = study.ask()
            value = float(sum((trial.suggest_categorical(q, o) - 1) ** 2 for q, o in QUESTIONS.items()))
            study.tell(trial, value)
            values.append(value)
        return float(np.mean(values[-12:]))

    assert mean_of_last("tpe") < mean_of_last("random")


def test_an_exhausted_space_repeats_itself_and_ends_quickly() -> None:
    sampler = FeasibleSampler(
        "random", inner_sampler("random", 0, 1, 1, False), QUESTIONS, lambda picks: True, lambda picks: False, 0
    )
    study = optuna.create_study(sampler=sampler)
    trial = study.ask()
    assert trial.suggest_categorical("x0", QUESTIONS["x0"]) in QUESTIONS["x0"]


def test_auto_is_gaussian_processes_up_to_300_trials() -> None:
    assert resolved("auto", 300) == "gp"
    assert resolved("auto", 301) == "tpe"
    assert resolved("nsga2", 5) == "nsga2"


def test_at_a_rung_of_several_objectives_the_best_fronts_go_on() -> None:
    others = [[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [4.0, 6.0], [5.0, 7.0], [6.0, 8.0], [7.0, 9.0], [8.0, 9.5]]
    assert goes_on([0.5, 9.0], others, 3)  # nobody has a lower loss: the first front
    assert goes_on([9.0, 1.0], others, 3)  # nobody has less state
    assert not goes_on([8.5, 9.9], others, 3)
    assert goes_on([8.5, 9.9], others[:2], 3)  # too few to compare with


def test_an_equal_candidate_shares_the_front() -> None:
    others = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert goes_on([1.0, 1.0], others, 3)
