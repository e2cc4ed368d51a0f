"""The choice: not worse than full attention by more than delta, then the least state, then the lower loss."""

import numpy as np
import pytest
from scipy import stats

from l2m_design.search.results.choice import Contender, choose, difference
from l2m_design.search.results.ladder import spearman

FULL = Contender("all attention", {seed: [1.0, 1.2, 0.8, 1.0] for seed in range(3)}, 1000, True)


def by_seed(losses: list[list[float]]) -> dict[int, list[float]]:
    return dict(enumerate(losses))


def shifted(name: str, by: float, size: int, feasible: bool = True, noise: float = 0.0) -> Contender:
    rng = np.random.default_rng(0)
    losses = {seed: [x + by + noise * rng.standard_normal() for x in own] for seed, own in FULL.losses.items()}
    return Contender(name, losses, size, feasible)


def test_the_least_state_within_delta_is_chosen_not_the_lowest_loss() -> None:
    rivals = [FULL, shifted("better, large", -0.5, 900), shifted("good, small", 0.01, 100),
              shifted("bad, smallest", 0.2, 10), shifted("good, infeasible", 0.0, 5, feasible=False)]  # fmt: skip
    made = choose(rivals, FULL, 0.02, 0.95, "more")
    assert made.chosen == "good, small"


def test_of_equal_states_the_lower_loss_is_chosen() -> None:
    made = choose([FULL, shifted("a", 0.01, 100), shifted("b", 0.0, 100)], FULL, 0.02, 0.95, "more")
    assert made.chosen == "b"


def test_an_uncertain_difference_does_not_qualify_and_it_is_said_what_would() -> None:
    noisy = shifted("noisy", 0.0, 100, noise=0.5)
    made = choose([FULL, noisy], FULL, 0.02, 0.95, "more tokens")
    assert made.chosen == "all attention"
    assert made.bounds["noisy"] > 0.02
    assert any("would let noisy in" in sentence for sentence in made.said)
    delta = float(next(s for s in made.said if "A delta of" in s).split()[3])
    assert choose([FULL, noisy], FULL, delta, 0.95, "more tokens").chosen == "noisy"
    assert any("Undecided" in sentence and "noisy" in sentence for sentence in made.said)


def test_a_clear_loser_is_said_to_need_more_budget() -> None:
    made = choose([FULL, shifted("far", 0.5, 100)], FULL, 0.02, 0.95, "a larger finalists.tokens")
    assert any("a larger finalists.tokens may change that" in sentence for sentence in made.said)


def test_without_reference_or_feasible_candidate_nothing_is_chosen_and_it_is_said() -> None:
    assert choose([FULL], None, 0.02, 0.95, "").chosen is None
    none = choose([shifted("a", 0.0, 10, feasible=False)], FULL, 0.02, 0.95, "")
    assert none.chosen is None
    assert "meets the condition" in none.said[0]


def test_the_error_counts_documents_and_seeds() -> None:
    rng = np.random.default_rng(1)
    seeds, documents = rng.normal(0, 0.3, 4), rng.normal(0, 0.2, 50)
    ours = [[float(s + d) for d in documents] for s in seeds]
    found = difference(by_seed(ours), by_seed([[0.0] * 50] * 4))
    expected = np.sqrt(seeds.var(ddof=1) / 4 + documents.var(ddof=1) / 50)
    assert found.error == pytest.approx(expected)
    assert 3 <= found.freedom < 10


def test_the_interval_covers_where_seeds_and_documents_both_vary() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        seeds, documents = rng.normal(0, 0.1, 3), rng.normal(0, 0.3, 40)
        ours = (seeds[:, None] + documents + rng.normal(0, 0.1, (3, 40))).tolist()
        interval = difference(by_seed(ours), by_seed(np.zeros((3, 40)).tolist())).estimate()
        covered += interval.low <= 0 <= interval.high
    assert covered >= 0.92 * 300


def test_one_document_and_one_seed_prove_nothing() -> None:
    found = difference({0: [1.0]}, {0: [1.0]})
    assert found.bound(0.95) == np.inf
    assert found.plain() is None
    one = Contender("one", {0: [1.0]}, 10, True)
    made = choose([one, reference := Contender("all attention", {0: [1.0]}, 20, True)], reference, 0.02, 0.95, "more")
    assert made.chosen == "all attention"
    assert not any("A delta of" in sentence for sentence in made.said)


def test_seeds_are_paired_with_themselves_whatever_failed() -> None:
    rng = np.random.default_rng(3)
    theirs = {seed: (rng.normal(2.0, 1.0) + rng.normal(0, 1.0, 20)).tolist() for seed in range(3)}
    ours = {seed: [x + 0.1 for x in theirs[seed]] for seed in (1, 2)}  # seed 0 failed
    found = difference(ours, theirs)
    assert found.seeds == 2
    assert found.value == pytest.approx(0.1)
    assert found.error < 1e-9
    assert difference({0: [1.0, 2.0]}, {1: [1.0, 2.0]}) is None


def test_pairing_takes_out_what_documents_share() -> None:
    hard = [[float(x) for x in range(20)]] * 3
    found = difference(by_seed([[x + 0.5 for x in seed] for seed in hard]), by_seed(hard))
    assert found.value == pytest.approx(0.5)
    assert found.error < 1e-9


def test_rank_correlation_is_that_of_ranks_with_an_interval() -> None:
    same = spearman([1, 2, 3, 4, 5, 6], [1, 4, 9, 16, 25, 36])
    assert same is not None
    assert same.value == pytest.approx(1.0)
    turned = spearman([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    assert turned is not None
    assert turned.value == pytest.approx(-1.0)
    assert spearman([1, 2, 3], [1, 2, 3]) is None


def test_rank_correlation_agrees_with_scipy_and_its_interval_covers_none() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        ours, theirs = rng.integers(0, 30, 40).tolist(), rng.random(40).tolist()
        found = spearman(ours, theirs)
        assert found is not None
        assert found.value == pytest.approx(stats.spearmanr(ours, theirs).statistic)
        covered += found.low <= 0 <= found.high
    assert covered >= 52
