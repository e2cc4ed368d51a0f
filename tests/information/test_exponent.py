"""Fits: exact curves give back their law; real noise is covered; the right law is preferred."""

import numpy as np
import pytest

from l2m_design.errors import BadInput
from l2m_design.estimates import Curve
from l2m_design.information import fit_curve
from l2m_design.information.regression import fit_power

LENGTHS = 64 * 2 ** np.arange(8)
N = LENGTHS.astype(float)


def noisy(mean: np.ndarray, noise: float = 0.02, documents: int = 300, seed: int = 0) -> Curve:
    """Documents that share a scale (errors at all lengths depend) and differ at each length."""
    rng = np.random.default_rng(seed)
    shared = 1 + noise * rng.normal(size=(documents, 1))
    own = 1 + noise * rng.normal(size=(documents, len(mean)))
    return Curve(LENGTHS, mean * shared * own, "test")


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_an_exact_law_is_recovered(beta: float, offset: float) -> None:
    nats = (2.0 * N**beta + offset)[None]
    a, b, c = fit_power(N, nats, np.diag((0.01 * nats[0]) ** 2 + 1e-6), offset != 0)[0]
    assert b == pytest.approx(beta, abs=1e-3)
    assert a == pytest.approx(2.0, rel=0.02)
    assert c == pytest.approx(offset, abs=0.1)


@pytest.mark.parametrize(
    ("law", "mean"),
    [
        ("power+constant", 3.0 * N**0.5 - 12.0),
        ("logarithm", 5.0 + 3.0 * np.log(N)),
        ("saturation", 20.0 - 60.0 * N**-0.5),
        ("constant", np.full(len(N), 4.0)),
    ],
)
def test_the_law_behind_the_data_is_preferred(law: str, mean: np.ndarray) -> None:
    fit = fit_curve(noisy(mean), 300, 0.95, np.random.default_rng(0))
    assert fit.preferred == law
    within = [fit.required.at(n) for n in N]
    if law == "saturation":  # its asymptote is required: no less than it has
        assert fit.required.at(N[-1]).value == pytest.approx(20.0, rel=0.1)
    else:
        np.testing.assert_allclose([e.value for e in within], mean, rtol=0.05)
    assert all(e.low <= e.value <= e.high for e in within)


def test_replicates_say_how_sure_the_law_is() -> None:
    sure = fit_curve(noisy(3.0 * N**0.5), 300, 0.95, np.random.default_rng(0))
    assert sure.agreement > 0.99
    hardly = noisy(4.0 * (1 + 0.0021 * np.log2(N / N[0])))
    assert 0.1 < fit_curve(hardly, 300, 0.95, np.random.default_rng(0)).agreement < 0.99
    assert "100% of the bootstrap replicates" in sure.sentence


def test_a_range_of_lengths_that_bends_has_a_wider_interval() -> None:
    """The fits without the shortest length count: a curve that starts off its law is less certain of its exponent."""
    straight = noisy(3.0 * N**0.5 - 5.0, noise=0.005)
    start = np.where(N[0] == N, 1.3, 1.0)
    bent = noisy((3.0 * N**0.5 - 5.0) * start, noise=0.005)
    widths = [
        fit.law.beta.high - fit.law.beta.low
        for fit in (fit_curve(curve, 300, 0.95, np.random.default_rng(0)) for curve in (straight, bent))
    ]
    assert widths[1] > 2 * widths[0]


def test_a_needless_constant_does_no_harm() -> None:
    """Without a constant in the data either power law may be named; the exponent must be right."""
    fit = fit_curve(noisy(3.0 * N**0.6), 300, 0.95, np.random.default_rng(0))
    assert fit.preferred.startswith("power")
    assert fit.law.exponent == pytest.approx(0.6, abs=0.02)
    assert fit.law.beta.low <= 0.6 <= fit.law.beta.high


def test_the_interval_covers_the_exponent_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(40):
        fit = fit_curve(noisy(3.0 * N**0.6, seed=seed), 200, 0.9, np.random.default_rng(seed))
        covered += fit.law.beta.low <= 0.6 <= fit.law.beta.high
    assert covered >= 33


def test_local_slopes_are_those_between_neighbours() -> None:
    fit = fit_curve(noisy(3.0 * N**0.6, noise=1e-6), 100, 0.95, np.random.default_rng(0))
    assert [slope.value for slope in fit.local_slopes] == pytest.approx([0.6] * 7, abs=1e-3)


def test_too_few_lengths_are_bad_input() -> None:
    with pytest.raises(BadInput, match="too few"):
        fit_curve(Curve(LENGTHS[:4], np.ones((5, 4)), "test"), 100, 0.95, np.random.default_rng(0))


def test_the_sentence_names_the_law_and_its_rivals() -> None:
    sentence = fit_curve(noisy(3.0 * N**0.6), 200, 0.95, np.random.default_rng(0)).sentence
    assert "power" in sentence
    assert "logarithm" in sentence
