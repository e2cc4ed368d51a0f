"""The choice: the least state of those that are confirmed not to be worse than the reference by more than delta."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from l2m_design.search.results.choice import (
    Choice,
    Contender,
    Rule,
    choose,
    compare,
    holm,
    more_needed,
)
from l2m_design.search.results.ladder import spearman
from l2m_design.search.results.paired import Difference, difference
from l2m_design.search.results.tradeoff import front_of, knee, tradeoff

DOCUMENTS, SEEDS = 24, 3
_RNG = np.random.default_rng(7)
_HARD = _RNG.normal(1.0, 0.3, DOCUMENTS)
RULE = Rule(0.02, 0.95, budget="more tokens")


def by_seed(losses: list[list[float]]) -> dict[int, list[float]]:
    return dict(enumerate(losses))


def contender(
    name: str,
    by: float,
    size: int,
    feasible: bool = True,
    noise: float = 0.002,
    gain: float | None = 0.1,
    recall: float | None = None,
) -> Contender:
    """Late losses `by` above those that all share, with noise of documents and seeds; a gain from far context."""
    rng = np.random.default_rng(sum(map(ord, name)))
    losses = {
        seed: (_HARD + by + rng.normal(0, noise, DOCUMENTS) + rng.normal(0, noise / 2)).tolist() for seed in (1, 2, 3)
    }
    cut = {} if gain is None else {seed: [x + gain for x in own] for seed, own in losses.items()}
    return Contender(name, 1.0 + by, losses, size, feasible, cut, recall)


FULL = contender("all attention", 0.0, 1000)


def made(contenders: list[Contender], reference: Contender | None = FULL, rule: Rule = RULE) -> Choice:
    return choose(contenders, reference, rule)


def test_the_least_state_within_delta_is_chosen_not_the_lowest_loss() -> None:
    rivals = [FULL, contender("large", -0.001, 900), contender("good, small", 0.005, 100),
              contender("bad, smallest", 0.2, 10), contender("good, infeasible", 0.0, 5, feasible=False)]  # fmt: skip
    found = made(rivals)
    assert (found.chosen, found.verdict, found.reference) == ("good, small", "confirmed", "all attention")
    assert set(found.confirmed) == {"all attention", "large", "good, small"}
    assert set(found.worse) == {"bad, smallest"}


def test_it_is_said_who_keeps_up_with_less_state_without_meeting_the_condition() -> None:
    rivals = [FULL, contender("good", 0.005, 100)]
    outside = [contender("window", 0.001, 5, feasible=False), contender("worse", 0.2, 4, feasible=False)]
    said = made([*rivals, *outside]).reasons[-1]
    assert said.startswith("With less state, window also keeps up at the trained length, without meeting")
    assert not any(reason.startswith("With less state") for reason in made([*rivals, outside[1]]).reasons)


def test_of_equal_states_the_lower_loss_is_chosen() -> None:
    assert made([FULL, contender("a", 0.01, 100), contender("b", 0.0, 100)]).chosen == "b"


def test_a_better_reference_is_a_higher_bar() -> None:
    best = contender("Mamba-2 + attention", -0.3, 700, feasible=False)
    rivals = [FULL, best, contender("small", 0.0, 10)]
    assert made(rivals, best).verdict == "not confirmed"  # within delta of full attention, 0.3 behind the best
    named = replace(RULE, named=True)
    assert (made(rivals, FULL, named).chosen, made(rivals, FULL, named).verdict) == ("small", "confirmed")


def test_the_picked_reference_itself_must_keep_up_with_all_others() -> None:
    """Who led by the picking seed was lucky: fresh seeds show another to be better by more than delta."""
    lucky, better = contender("lucky", 0.1, 10), contender("better", 0.0, 1000)
    found = made([lucky, better], replace(lucky, picked_by=0.5))
    assert (found.chosen, found.confirmed, found.worse) == ("better", ["better"], ["lucky"])
    near = made([contender("lucky", 0.005, 10), better], contender("lucky", 0.005, 10))
    assert (near.chosen, near.verdict) == ("lucky", "confirmed")
    assert near.standings["lucky"].rival == "better"


def test_one_fresh_seed_confirms_nothing() -> None:
    rivals = [
        replace(one, losses={1: one.losses[1]}, cut={1: one.cut[1]}) for one in (FULL, contender("good", 0.0, 10))
    ]
    found = choose(rivals, rivals[0], RULE)
    assert found.verdict == "undecided"
    assert any("1 seed in common" in sentence for sentence in found.reasons)


def test_who_is_shown_to_be_worse_is_not_taken_where_others_are_open() -> None:
    reference = contender("best", -0.0, 1000, feasible=False)
    worse = replace(contender("worse", 0.2, 10), picked_by=1.0)
    open_ = contender("open", 0.0, 100, noise=0.05)
    found = made([reference, worse, open_], reference)
    assert (found.chosen, found.verdict) == ("open", "undecided")


def test_a_model_that_does_not_use_far_context_is_not_confirmed_by_its_loss_alone() -> None:
    local = contender("local", 0.0, 10, gain=0.01)
    assert made([FULL, local]).chosen == "all attention"
    assert made([FULL, contender("local", 0.0, 10, gain=0.095)]).chosen == "local"
    unmeasured = contender("local", 0.0, 10, gain=None)
    assert compare(unmeasured, FULL).incomplete
    assert made([FULL, unmeasured]).chosen == "all attention"


def test_recall_is_a_bound_and_not_a_rank() -> None:
    rule = Rule(0.02, 0.95, recall=0.1)
    good, bad, unknown = (
        contender(n, 0.0, s, recall=r) for n, s, r in (("good", 50, 0.05), ("bad", 10, 0.2), ("unknown", 5, None))
    )
    assert made([FULL, good, bad, unknown], FULL, rule).chosen == "good"
    none = made([FULL, bad], FULL, rule)
    assert none.chosen is None
    assert "within 0.1 bits of the Bayes loss" in none.reasons[0]


def test_nobody_to_be_compared_with_is_no_confirmation() -> None:
    alone = made([FULL])
    assert (alone.chosen, alone.verdict) == ("all attention", "undecided")


def test_an_uncertain_difference_is_undecided_and_it_is_said_what_varies_and_what_would_decide() -> None:
    noisy = contender("noisy", 0.005, 100, noise=0.03)
    found = made([FULL, noisy])
    assert (found.chosen, found.verdict) == ("noisy", "undecided")
    assert any(
        "noisy" in sentence
        and "undecided (one of 2 undecided models), since" in sentence
        and "would decide" in sentence
        for sentence in found.reasons
    )
    alone = made([contender("all attention", 0.0, 1000, feasible=False), noisy])
    assert (alone.chosen, alone.verdict) == ("noisy", "undecided")


def test_seeds_that_vary_are_blamed_and_not_documents() -> None:
    rng = np.random.default_rng(0)
    shifts = ((1, -0.1), (2, 0.05), (3, 0.02))
    losses = {seed: (_HARD + shift + rng.normal(0, 0.001, DOCUMENTS)).tolist() for seed, shift in shifts}
    cut = {seed: [x + 0.1 for x in own] for seed, own in losses.items()}
    said = made([FULL, Contender("wild", 1.0, losses, 100, True, cut)]).reasons
    assert any("since the 3 seeds vary too much" in sentence for sentence in said), said


def test_a_clear_loser_is_said_to_be_worse_and_to_need_more_budget() -> None:
    infeasible = contender("all attention", 0.0, 1000, feasible=False)
    found = made([infeasible, contender("far", 0.5, 100)], infeasible)
    assert (found.chosen, found.verdict) == ("far", "not confirmed")
    assert any("more tokens may change that" in sentence for sentence in found.reasons)


def test_without_reference_or_feasible_candidate_nothing_is_chosen_and_it_is_said() -> None:
    assert made([FULL], None).chosen is None
    none = made([contender("a", 0.0, 10, feasible=False)])
    assert none.chosen is None
    assert "meets the condition" in none.reasons[0]


def test_without_fresh_seeds_nothing_is_confirmed() -> None:
    found = made([FULL, contender("good", 0.0, 10)], FULL, Rule(0.02, 0.95, confirming=False))
    assert (found.chosen, found.verdict) == ("good", "undecided")
    assert "finalists" in found.reasons[0]


def test_holm_rejects_step_by_step_and_stops_at_the_first_that_stays() -> None:
    p = {"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.2}
    assert holm(p, 0.95) == ["a"]  # 0.01 <= 0.05 / 4, but 0.02 > 0.05 / 3
    assert holm({"a": 0.012, "b": 0.016, "c": 0.024, "d": 0.04}, 0.95) == ["a", "b", "c", "d"]
    assert holm({}, 0.95) == []


def test_ten_models_that_are_just_too_bad_are_rarely_confirmed() -> None:
    """Each is worse by exactly delta: any confirmation is an error, and all ten tests together make few."""
    rng = np.random.default_rng(5)
    errors = 0
    for _ in range(400):
        reference = Contender("best", 1.0, {s: _HARD.tolist() for s in (1, 2, 3)}, 1000, False)
        rivals = [
            Contender(
                str(i),
                1.0,
                {s: (_HARD + 0.02 + rng.normal(0, 0.02, DOCUMENTS) + rng.normal(0, 0.005)).tolist() for s in (1, 2, 3)},
                i,
                True,
            )
            for i in range(10)
        ]
        errors += bool(choose([reference, *rivals], reference, RULE).confirmed)
    assert errors <= 0.08 * 400


def test_as_many_seeds_as_are_said_to_decide_do() -> None:
    found = Difference(0.0, 0.0, 0.02**2 / 3, 3, 24)
    count = more_needed(found, 0.02, 0.95)
    assert count is not None
    assert Difference(0.0, 0.0, 0.02**2 / count, count, 24).bound(0.95) <= 0.02
    assert Difference(0.0, 0.0, 0.02**2 / (count - 1), count - 1, 24).bound(0.95) > 0.02
    assert more_needed(Difference(0.02, 0.0, 1.0, 3, 24), 0.02, 0.95) is None
    assert more_needed(found, 0.02, 0.99) > count  # several tests together need more


def test_the_front_falls_in_state_and_its_steps_say_what_a_halving_costs() -> None:
    rivals = [FULL, contender("half", 0.01, 500), contender("dominated", 0.5, 600), contender("eighth", 0.04, 125)]
    assert [one.name for one in front_of(rivals)] == ["all attention", "half", "eighth"]
    first, second = tradeoff(rivals)
    assert (first.larger, first.smaller, first.halvings) == ("all attention", "half", 1.0)
    assert second.halvings == 2.0
    assert second.cost_per_halving.value == pytest.approx(second.cost.value / 2)
    assert first.cost.low <= 0.01 <= first.cost.high


def test_a_lucky_pick_that_a_smaller_model_beats_is_not_on_the_front() -> None:
    """Picked by 1.005, it loses 0.05 to a model of half its state where fresh seeds measure both."""
    lucky = replace(contender("lucky", 0.07, 500), picked_by=1.005)
    rivals = [FULL, lucky, contender("small", 0.02, 250)]
    assert [one.name for one in front_of(rivals)] == ["all attention", "lucky", "small"]
    (step,) = tradeoff(rivals)
    assert (step.larger, step.smaller) == ("all attention", "small")


def test_the_knee_is_where_the_loss_begins_to_rise() -> None:
    rivals = [
        contender(str(size), loss, size, noise=0.0) for size, loss in ((16, 0.5), (32, 0.1), (64, 0.05), (1024, 0.0))
    ]
    assert knee(front_of(rivals)) == "32"
    assert [step.smaller for step in tradeoff(rivals) if step.knee] == ["32"]
    assert knee(front_of(rivals[:2])) is None


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
    assert found.bound(0.95) == math.inf
    assert found.gap() is None
    one = Contender("one", 1.0, {0: [1.0]}, 10, True)
    reference = Contender("all attention", 1.0, {0: [1.0]}, 20, True)
    assert choose([one, reference], reference, RULE).verdict == "undecided"


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
