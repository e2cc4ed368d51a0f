"""Calibration: a known amount, a run never twice, bounds named, a file that others read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2m_design.architecture import Architecture
from l2m_design.calibration import calibrate
from l2m_design.calibration.calibrate import (
    CalibrationSettings,
    Row,
    Rows,
    architecture_of,
    captured_nats,
    ended,
    jobs,
    layers_of,
    measured,
    missing,
)
from l2m_design.calibration.eta import Size, capacities, sizes_of, summary_of, write_eta
from l2m_design.errors import BadInput
from l2m_design.laws import STATE_KINDS
from l2m_design.model.backends import pick_device
from l2m_design.terms import Terms, read_capacity

TINY = CalibrationSettings(
    kinds=("window", "gated_deltanet"), lengths=(64,), steps=2, batch_tokens=256, rates=(3e-3,), seeds=1, keys=32
)
CPU = pick_device("cpu")


def size(
    elements: int,
    *captured: float,
    kind: str = "mamba2",
    exact: float = 10.0,
    rate: float | None = 1e-3,
    length: int = 1,
) -> Size:
    return Size(kind, f"d_state={elements}", elements, exact, rate, captured, 0, length)


@pytest.mark.parametrize("kind", STATE_KINDS)
@pytest.mark.parametrize("n", [32, 256, 1024])
def test_every_kind_can_be_drawn_at_growing_states_that_are_all_its_own(kind: str, n: int) -> None:
    held = []
    for name, layer in layers_of(kind, n):
        drawing = architecture_of({"kind": kind, "size": name, "layer": layer, "width": 64, "mlp_ratio": 2.0}, 272)
        assert drawing.state.kinds == (kind,)
        assert drawing.too_short(2 * n - 1) is None
        held.append(drawing.state.elements(n))
    assert held == sorted(set(held))


def test_the_exact_predictor_captures_exactly_what_there_is() -> None:
    best = (
        TINY.source(64)
        .bayes_nats(TINY.source(64).documents("validation").tokens[: 64 * 40].reshape(40, 64))
        .mean(axis=0)
    )
    nats = captured_nats(best, best, TINY.source(64).information(32))
    assert nats["captured_nats"] == nats["at_least_nats"] == pytest.approx(TINY.source(64).information(32))


def test_a_model_without_memory_captures_nothing_however_good_its_guess() -> None:
    best = (
        TINY.source(64).bayes_nats(TINY.source(64).documents("train").tokens[: 64 * 800].reshape(800, 64)).mean(axis=0)
    )
    nats = captured_nats(np.full(64, 2.7), best, TINY.source(64).information(32))
    assert nats["captured_nats"] == pytest.approx(0.0, abs=0.1 * nats["exact_nats"])
    assert nats["at_least_nats"] < nats["captured_nats"]


def test_early_mistakes_cannot_pass_for_information_in_the_lower_bound() -> None:
    best = np.tile([3.0, 1.0], 32)
    clumsy = best.copy()
    clumsy[1:16:2] += 1.0
    nats = captured_nats(clumsy, best, 5.0)
    assert nats["captured_nats"] == pytest.approx(13.0)
    assert nats["at_least_nats"] == pytest.approx(5.0)


def test_a_stopped_calibration_goes_on_and_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(tmp_path / "rows.jsonl")
    trained: list[str] = []
    train = calibrate.train

    def counted(architecture: Architecture, *rest: Any, **options: Any) -> Any:
        if len(trained) == 3 and "again" not in trained:
            trained.append("again")
            raise KeyboardInterrupt
        trained.append(architecture.picture)
        return train(architecture, *rest, **options)

    monkeypatch.setattr(calibrate, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        measured(TINY, rows, CPU)
    assert len(rows.read()) == 3
    assert len(missing(TINY, rows)) == 5
    with rows.path.open("a") as file:
        file.write('{"job": {"kind": "win')  # the power went
    found = measured(TINY, rows, CPU)
    assert trained == ["W", "W", "W", "again", "W", "D", "D", "D", "D"]
    assert [row.job for row in found] == list(jobs(TINY))
    assert [row.job for row in rows.read()] == list(jobs(TINY))
    assert not missing(TINY, rows)


def test_other_settings_are_other_runs(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl")
    for job in jobs(TINY):
        rows.add(Row(job, {"elements": 1, "captured_nats": 1.0, "exact_nats": 2.0}))
    assert not missing(TINY, rows)
    assert len(missing(TINY.model_copy(update={"seeds": 2}), rows)) == 8
    assert len(missing(TINY.model_copy(update={"steps": 3}), rows)) == 8


def test_a_run_whose_loss_is_not_finite_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise FloatingPointError("the training loss is not finite at step 3")

    monkeypatch.setattr(calibrate, "train", broken)
    found = measured(TINY, Rows(tmp_path / "rows.jsonl"), CPU)
    summary = summary_of(TINY, found, "l2m calibrate")
    assert all("not finite" in row.found["failed"] for row in found)
    assert [size.failed for size in sizes_of(found)] == [1] * 8
    assert summary["nats_by_kind"] == {}
    assert summary["captured_nothing"] == ["window", "gated_deltanet"]


def test_capacity_is_the_amount_by_the_elements_where_loss_departs_from_full() -> None:
    one = capacities([size(100, 4.0, 6.0), size(200, 9.4, 9.4), size(400, 9.9, 9.7), size(800, 10.0, 10.0)])["mamba2"]
    assert one.full
    assert one.value == pytest.approx(10 / np.sqrt(200 * 400))
    assert (one.low, one.high) == (pytest.approx(10 / 400), pytest.approx(6 / 100))
    assert one.low < one.value < one.high


def test_where_every_state_lost_something_the_one_that_lost_least_is_named() -> None:
    one = capacities([size(100, 5.0), size(400, 8.0)])["mamba2"]
    assert not one.full
    assert (one.value, one.low, one.high) == (pytest.approx(8 / 400), pytest.approx(8 / 400), pytest.approx(5 / 100))


def test_over_lengths_the_lowest_the_middle_and_the_highest() -> None:
    short = [size(100, 5.0), size(400, 10.0)]
    long = [size(400, 12.0, exact=20.0, length=2), size(1600, 20.0, exact=20.0, length=2)]
    one = capacities([*short, *long])["mamba2"]
    assert one.value == pytest.approx(np.sqrt(10 / 200 * 20 / 800))
    assert (one.low, one.high) == (pytest.approx(20 / 1600), pytest.approx(5 / 100))
    assert len(one.sizes) == 2


def test_a_kind_that_captured_nothing_or_has_one_size_has_no_capacity() -> None:
    sizes = [size(100, -1.0), size(200, 3.0), size(9, rate=None)]
    windows = [size(100, 3.0, kind="window"), size(200, 5.0, kind="window")]
    assert set(capacities([*sizes, *windows])) == {"window"}
    elsewhere = size(100, 3.0, kind="mla", length=2)
    assert capacities([*windows, elsewhere]) == {}


def test_the_best_rate_is_that_of_the_mean_over_seeds_and_none_captures_more_than_there_is() -> None:
    def row(rate: float, seed: int, nats: float) -> Row:
        found = {"elements": 100, "captured_nats": nats, "exact_nats": 10.0}
        return Row({"kind": "window", "length": 64, "size": "window=2", "rate": rate, "seed": seed}, found)

    (one,) = sizes_of([row(1e-3, 0, 4.0), row(1e-2, 0, 12.0), row(1e-3, 1, 5.0), row(1e-2, 1, -3.0)])
    assert (one.rate, one.captured) == (1e-3, (4.0, 5.0))
    (one,) = sizes_of([row(1e-3, 0, 4.0), row(1e-2, 0, 12.0)])
    assert one.captured == (10.0,)


def test_what_is_written_is_read_by_check_and_pasted_into_a_study(tmp_path: Path) -> None:
    exact = TINY.exact(64)
    rows = [
        Row(job, {"elements": 100 * (i % 4 + 1), "captured_nats": exact * (i % 4 + 1) / 4, "exact_nats": exact})
        for i, job in enumerate(jobs(TINY))
    ]
    summary = summary_of(TINY, rows, "l2m calibrate --seeds 1")
    files = write_eta(summary, tmp_path / "eta.yaml")
    read = read_capacity(tmp_path / "eta.yaml")
    assert read["nats_by_kind"] == summary["nats_by_kind"]
    assert set(read["nats_by_kind"]) == {"window", "gated_deltanet"}
    terms = Terms.parse({"length": 4096, **read}, "condition")
    low, value, high = terms.capacity("window")
    assert low == pytest.approx(exact / 400, rel=0.01)
    assert low < value < high * 1.3
    assert terms.capacity("mamba2") == terms.capacity(None)
    text = (tmp_path / "eta.yaml").read_text()
    assert "# l2m calibrate --seeds 1\n" in text
    assert len(json.loads(Path(files[1]).read_text())["rows"]) == len(rows)


def test_what_ended_so_far_is_answered_without_training(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl")
    todo = list(jobs(TINY))
    rows.add(Row(todo[2], {"elements": 1, "captured_nats": 1.0, "exact_nats": 2.0}))
    rows.add(Row({**todo[0], "steps": 99}, {"elements": 1, "captured_nats": 1.0, "exact_nats": 2.0}))
    assert [row.job for row in ended(TINY, rows)] == [todo[2]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kinds": ["mamba3"]}, "did you mean 'mamba"),
        ({"kinds": []}, "kinds"),
        ({"lengths": [511]}, "multiple of 4"),
        ({"lengths": [32]}, "lengths"),
        ({"lengths": []}, "lengths"),
        ({"steps": 0}, "steps"),
        ({"rates": [0.0]}, "rates"),
        ({"beta": 1.0}, "beta"),
        ({"batch_tokens": 128}, "batch_tokens"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        CalibrationSettings.parse(given, "calibrate")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_rows_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(BadInput, match="not a file of rows that"):
        Rows(tmp_path / "rows.jsonl").read()
