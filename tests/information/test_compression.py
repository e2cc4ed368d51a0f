"""Compression: exact sources are found, and nothing where nothing is; families stay apart; controls explain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve
from l2m_design.information import Measurement
from l2m_design.information.compression import Compression
from l2m_design.information.division import divided
from l2m_design.information.doubts import explained_by, order_is_open
from l2m_design.information.shuffling import shuffled

Measured = Callable[..., Measurement]
SMALL: dict[str, Any] = {"estimator": "compression", "shortest": 64, "windows": 48, "replicates": 200}


def written(folder: Path, documents: list[bytes]) -> str:
    for number, document in enumerate(documents):
        (folder / f"{number:03}.txt").write_bytes(document)
    return str(folder)


@pytest.mark.parametrize("spec", ["iid:vocabulary=4,length=2048,documents=60", "iid:length=2048,documents=60"])
def test_where_nothing_is_shared_nothing_is_found(measured: Measured, spec: str) -> None:
    found = measured(spec, **SMALL)
    assert (found.explained_by, found.beta) == ("nothing", None)
    assert np.abs(found.curve.mean()).max() < 0.5
    assert found.required is not None
    assert found.required.beta.value == 0.0


def test_a_chain_shares_what_its_last_token_tells_and_that_is_a_requirement(measured: Measured) -> None:
    found = measured("markov:stay=0.9,length=2048,documents=120", **SMALL)
    exact = open_corpus("markov:stay=0.9,length=2048,documents=120").information(64)  # type: ignore[attr-defined]
    assert found.curve.mean()[0] == pytest.approx(exact, abs=0.25)
    assert found.beta is None
    assert found.required is not None
    assert found.required.at(1 << 16).value < 2.0


def test_facts_are_found_and_their_exponent(measured: Measured) -> None:
    spec = "santa-fe:beta=0.7,pairs=1024,keys=2000,documents=160"
    found, exact = measured(spec, **SMALL), open_corpus(spec)
    truth = [exact.information(int(n)) for n in found.curve.lengths]  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.curve.mean()[1:], truth[1:], rtol=0.25)
    assert found.beta is not None
    assert found.beta.value == pytest.approx(0.7, abs=0.1)


def test_a_planted_repeat_counts_what_it_spares(tmp_path: Path, measured: Measured) -> None:
    """Bases of which every block of 256 repeats in the next one with 64 letters, in bases of 2048."""
    rng = np.random.default_rng(0)

    def document() -> bytes:
        bases = rng.integers(0, 4, 2048)
        for block in range(1, 2048 // 256):
            bases[block * 256 : block * 256 + 64] = bases[(block - 1) * 256 : (block - 1) * 256 + 64]
        return bytes(b"ACGT"[base] for base in bases)

    found = measured(written(tmp_path, [document() for _ in range(40)]), **SMALL)
    at = found.curve.mean()[found.curve.lengths >= 256]
    assert 0.75 * 64 * np.log(4) < at[-1] < 1.25 * 64 * np.log(4)
    assert (0.6 * 64 * np.log(4) < at).all()
    assert found.explained_by is None


def test_a_text_of_shuffled_words_has_a_vocabulary_and_no_beta(tmp_path: Path, measured: Measured) -> None:
    rng = np.random.default_rng(1)
    words = ["".join(chr(97 + letter) for letter in rng.integers(0, 26, 5)) for _ in range(3000)]
    documents = [
        " ".join(rng.choice(words, 2000, p=rng.dirichlet(np.full(len(words), 0.02)))).encode() for _ in range(24)
    ]
    found = measured(written(tmp_path, documents), **SMALL)
    assert (found.curve.mean() > 0).all()
    assert (found.explained_by, found.beta, found.required) == ("vocabulary", None, None)


@pytest.mark.parametrize(
    ("part", "explained"), [(0.06, "vocabulary"), (0.5, None), (-0.05, "vocabulary"), (-0.4, None)]
)
def test_a_small_part_that_grows_is_no_order_and_a_control_above_the_amount_has_failed(
    part: float, explained: str | None
) -> None:
    """Shuffled novels once got a beta of 1: order added 6% of the amount, the distance of two coders, and that grew.

    Halves of a Santa Fe source of beta 0.3 once told 36% more when they were shuffled, which cannot be.
    """
    rng = np.random.default_rng(4)
    lengths = 128 * 2 ** np.arange(7)
    amount = 0.02 * lengths * (1 + 0.1 * rng.normal(size=(60, 1)))

    def curve(nats: np.ndarray) -> Curve:
        return Curve(lengths, nats, "test")

    found = Compression(curve(amount), curve(0 * amount), curve((1 - part) * amount), curve(part * amount), 1.8)
    assert explained_by(found.curve, found) == explained
    assert any("control has failed" in note for note in order_is_open(found.curve, found)) == (part < -0.15)


def test_families_stay_together_and_every_part_has_two_that_hold_a_window() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(50, 400, 60)
    ends = np.cumsum(lengths)
    documents = Documents(
        np.zeros(int(ends[-1]), np.int64), np.stack([ends - lengths, ends], axis=1), np.arange(60) // 4
    )
    for seed in range(20):
        parts = divided(documents, 100, None, "text", np.random.default_rng(seed))
        families = [set(part.families) for part in (parts.prime, parts.tune, parts.measured)]  # type: ignore[arg-type]
        assert not parts.stretches
        assert sum(map(len, families)) == len(set.union(*families)) == 15
        for part in (parts.tune, parts.measured):
            long = part.families[part.lengths >= 200]  # type: ignore[index]
            assert len(set(long)) >= 2


def test_of_one_document_stretches_stand_in() -> None:
    one = Documents(np.zeros(10_000, np.int64), np.array([[0, 10_000]]))
    parts = divided(one, 100, None, "text", np.random.default_rng(0))
    assert parts.stretches
    assert parts.prime.spans[0, 1] == parts.tune.spans[0, 0]
    assert parts.tune.spans[0, 1] == parts.measured.spans[0, 0]
    assert parts.measured.spans[-1, 1] == 10_000
    with pytest.raises(BadInput, match="smaller `prime` or `longest`"):
        divided(one, 100, 9_500, "text", np.random.default_rng(0))


def test_shuffling_keeps_the_words_and_loses_their_order() -> None:
    rng = np.random.default_rng(3)
    text = b"the first  word\nand the last"
    tokens = np.frombuffer(text, np.uint8).astype(np.int64)
    found = [bytes(shuffled(tokens, (10, 32), rng).astype(np.uint8)) for _ in range(5)]
    assert all(sorted(one) == sorted(text) for one in found)
    assert len(set(found)) > 1
    assert all(b"first  " in one and b"word\n" in one for one in found)
    assert sorted(shuffled(tokens, (), rng)) == sorted(tokens)
