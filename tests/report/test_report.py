"""The page stands alone, says what must be said, and is made again from study.json."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from l2m_design.errors import BadInput
from l2m_design.report.page import load_summary, write_page
from l2m_design.report.words import caveats, outcome, size, tokens

DRAWING = {"vocabulary": 10, "width": 16, "layers": [{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}]}


def record(number: int, loss: float, **changes: Any) -> dict[str, Any]:
    fields = {
        "number": number, "state": "complete", "architecture": DRAWING, "picture": "A",
        "state_bytes": 1024 * (number + 1), "feasible": True, "design": None, "copy_of": None, "reason": None,
        "result": {"late_loss": loss, "loss_by_position": [loss + 1 / (t + 1) for t in range(64)]},
    }  # fmt: skip
    return {**fields, **changes}


def row(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    interval = {"value": 2.0, "low": 1.9, "high": 2.1, "level": 0.95}
    fields = {
        "trial": source["number"], "design": source["design"], "picture": "A", "architecture": DRAWING,
        "fingerprint": str(source["number"]), "parameters": 1000, "state": source["state"],
        "feasible": source["feasible"], "objective": 2.0, "loss": source["result"]["late_loss"],
        "test_loss": interval, "difference": interval,
        "mi_captured_nats": 1.0, "state_bytes": source["state_bytes"],
        "growth_exponent": 1.0, "meets_growth": True, "meets_level": True,
        "reach_tokens": {"hard": None, "effective": 4096}, "reason": None, "effective_context": 16,
        "context_gain": {"4": interval, "16": interval},
    }  # fmt: skip
    return {**fields, **changes}


@pytest.fixture
def summary() -> dict[str, Any]:
    attention = record(0, 2.0, design="all attention")
    mamba = record(1, 2.1, design="all Mamba-2 <b>", feasible=False)
    best = record(2, 1.9)
    rejected = record(3, 0.0, state="infeasible", result=None, feasible=False)
    measurement = {
        "beta": {"value": 0.6, "low": 0.55, "high": 0.65, "level": 0.95}, "lengths": [64, 128, 256],
        "mi_nats": [10.0, 15.0, 22.0], "mi_low": [9.0, 14.0, 21.0], "mi_high": [11.0, 16.0, 23.0], "documents": 40,
        "estimator": "compression", "preference": "a sentence", "losses_nats": None,
        "resampled": "documents", "local_slopes": [{"value": 0.6, "low": 0.5, "high": 0.7, "level": 0.95}],
    }  # fmt: skip
    return {
        "study": "test", "version": "0", "duplicates": 0, "notes": ["a note"], "report": "index.html",
        "trials": {"complete": 3, "pruned": 0, "infeasible": 1, "failed": 0},
        "chosen": row(best), "front": [row(best)], "baselines": [row(attention), row(mamba)],
        "tracking_uri": "sqlite:///x.db",
        "seconds": {"total": 9.0, "training": 8.0, "evaluating": 0.5, "overhead": 0.5},
        "demand": {
            "law": {"prefactor": 1.0, "exponent": 0.6, "offset": 0.0, "level": 0.95,
                    "draws": [[1.0, 0.55, 0.0], [1.0, 0.65, 0.0]]},
            "has_level": True, "exponent": 0.65, "measurement": measurement,
            "terms": {"length": 4096, "shortest": 256, "end": "upper", "nats_per_element": 0.06, "dtype": "bfloat16"},
        },
        "settings": {
            "recipe": {"tokens": 1000, "length": 64}, "search": {"rates": [0.5, 1.0]},
            "finalists": {"tokens": None, "seeds": 3, "rates": [1.0]}, "choice": {"reference": "best"},
        },
        "space": {"depth": 1},
        "choice": {"among": "trials", "length": 64, "delta": 0.02, "confidence": 0.95,
                   "said": ["The least state."],
                   "confirmed": ["trial 2"], "worse": [], "context": 16,
                   "recipe": {"tokens": 1000},
                   "comparisons": {},
                   "standings": {"trial 2": {
                       "rival": "trial 0 (all attention)", "p": 0.01,
                       "difference": {"value": 0.01, "low": 0.0, "high": 0.02},
                       "lost_gain": {"value": 0.0, "low": -0.01, "high": 0.01}}}},
        "reference": "trial 0 (all attention)", "trial_reference": "trial 0 (all attention)",
        "verdict": "confirmed", "uses_context": True,
        "tradeoff": [
            {"from": "a", "to": "b", "state_bytes": 2048, "halvings": 1.0, "knee": knee, "cost": gap,
             "cost_per_halving": gap}
            for knee, gap in ((True, {"value": 0.01, "low": 0.0, "high": 0.02}),
                              (False, {"value": 0.3, "low": 0.2, "high": 0.4}))
        ],
        "finalists": [],
        "ladder": [{"rung": "drawing only", "candidates": 9, "seconds_each": 0.0, "shared_with_next": 9,
                    "spearman_to_next": {"value": 0.5, "low": 0.1, "high": 0.8, "level": 0.95}},
                   {"rung": "the corpus", "candidates": 9, "seconds_each": 9.0, "shared_with_next": 0,
                    "spearman_to_next": None}],
        "corpus": {"name": "corpus", "fingerprint": "f", "vocabulary": 10},
        "records": [attention, mamba, best, rejected],
    }  # fmt: skip


def test_the_page_needs_nothing_from_outside(summary: dict[str, Any], tmp_path: Path) -> None:
    write_page(summary, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert text.count("<svg") == 5
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "<script" not in text


def test_what_the_user_wrote_is_escaped(summary: dict[str, Any], tmp_path: Path) -> None:
    write_page(summary, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "all Mamba-2 <b>" not in text
    assert "all Mamba-2 &lt;b&gt;" in text


def test_three_things_are_said_aloud(summary: dict[str, Any]) -> None:
    said = " ".join(caveats(summary))
    assert "is an assumption" in said
    assert "two questions" in said
    assert "upper end" in said
    assert "no bound in either direction" in said  # compression's amount


def test_measured_nats_are_said_to_be_measured_and_drawn(summary: dict[str, Any], tmp_path: Path) -> None:
    write_page(summary, tmp_path / "assumed.html")
    summary["demand"]["terms"]["nats_by_kind"] = {"attention": 0.005}
    said = " ".join([*caveats(summary), *outcome(summary)])
    assert "was measured by kind of layer (nats per state element: attention 0.005)" in said
    assert "if an element holds 0.005 nats in attention (measured by kind on a known source" in said
    assert "is an assumption" in said
    summary["demand"]["terms"]["nats_range"] = {"attention": [0.001, 0.02], "other": [0.001, 0.1]}
    said = " ".join([*caveats(summary), *outcome(summary)])
    assert "attention 0.005 [0.001, 0.02]" in said
    assert "is an assumption (" not in said
    write_page(summary, tmp_path / "measured.html")
    bands = [(tmp_path / name).read_text().count("FillBetween") for name in ("assumed.html", "measured.html")]
    assert bands[1] > bands[0]


def test_the_outcome_names_choice_state_and_difference(summary: dict[str, Any]) -> None:
    said = " ".join(outcome(summary))
    assert "Chosen: A (trial 2)" in said
    assert "3 KiB of state at 4,096 tokens" in said
    assert "effective context 16 tokens" in said
    assert "Confirmed: it keeps up with every model that was trained again" in said
    assert "Nearest to failing: trial 0 (all attention), late loss +0.010" in said
    assert "late loss and gain from beyond 16 tokens at most 0.02 nats" in said
    assert "gain lost +0.000 [-0.010, +0.010]" in said
    assert "Halving the state costs, nats a token: a to b (2 KiB) +0.010 [+0.000, +0.020] (knee); a to b" in said


def test_losses_that_cannot_judge_long_context_are_said_first(summary: dict[str, Any]) -> None:
    assert not outcome(summary)[0].startswith("These losses cannot judge long context")
    summary["gains_at_context"] = False
    assert outcome(summary)[0].startswith("These losses judge short context alone: no model gains from beyond")
    summary["uses_context"] = False
    assert outcome(summary)[0].startswith("These losses cannot judge long context: no model gains from beyond 4 tokens")


def test_no_choice_is_said(summary: dict[str, Any], tmp_path: Path) -> None:
    choice = summary["choice"] | {"said": ["Nothing qualifies: no trained candidate meets the condition."]}
    nothing = summary | {"chosen": None, "front": [], "choice": choice}
    write_page(nothing, tmp_path / "index.html")
    assert "no trained candidate meets the condition" in (tmp_path / "index.html").read_text()


def test_finalists_are_tabled_by_length_with_their_excess_drawn(summary: dict[str, Any], tmp_path: Path) -> None:
    at = {
        "seeds": 3, "learning_rate": 0.5, "loss": 1.2345, "difference": {"value": 0.01, "low": 0.0, "high": 0.02,
        "level": 0.95, "standard_error": 0.005}, "late_excess_bits": 0.031, "late_excess_bits_by_seed": [0.03, 0.032],
        "excess_difference_bits": {"value": 0.025, "low": 0.02, "high": 0.03, "level": 0.95, "standard_error": 0.003},
        "mi_captured_nats": 5.0, "corpus_nats": {"value": 10.0, "low": 9.0, "high": 11.0, "level": 0.95},
        "nats_per_element": 0.0123, "test_loss": 1.2345, "effective_context": 32,
        "context_gain": {"8": {"value": 0.3, "low": 0.2, "high": 0.4, "level": 0.95}},
    }  # fmt: skip
    finalist = {
        "name": "all attention", "known": True, "picture": "A", "fingerprint": "x", "state_bytes": 1024,
        "growth_exponent": 1.0,
        "meets_growth": True, "meets_level": True, "lengths": {"64": at, "128": at}, "feasible": True,
        "recall_bits": 0.0222,
    }  # fmt: skip
    summary["choice"] |= {
        "among": "finalists",
        "length": 128,
        "confirmed": ["all attention"],
        "comparisons": {"all attention": {"lost_gain": None}},
        "standings": {"all attention": {"p": 0.02, "rival": "b"}},
    }
    write_page(summary | {"finalists": [finalist]}, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert text.count("<svg") == 7
    for said in (
        "1.2345",
        "50%",
        "0.012",
        "x 0.5",
        "0.0310",
        "+0.025 [+0.020, +0.030]",
        "0.0222",
        "3 further seeds",
        ">keeps up (0.02, b)<",
    ):
        assert said in text


def test_the_page_is_made_again_from_its_summary(summary: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps(summary))
    write_page(load_summary(tmp_path), tmp_path / "one.html")
    write_page(load_summary(tmp_path / "study.json"), tmp_path / "two.html")
    assert (tmp_path / "one.html").read_text() == (tmp_path / "two.html").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"study": 1}'])
def test_what_is_no_summary_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(BadInput, match="not a study's summary"):
        load_summary(tmp_path)


def test_a_summary_of_another_version_is_bad_input(summary: dict[str, Any], tmp_path: Path) -> None:
    from l2m_design.cli.report import command

    del summary["demand"]["measurement"]["resampled"]
    (tmp_path / "study.json").write_text(json.dumps(summary))
    with pytest.raises(BadInput, match="written by version 0, this one misses 'resampled'"):
        command(tmp_path)


def test_sizes_and_reaches_in_words() -> None:
    assert [size(n) for n in (512, 2048, 3 * 2**20, 5 * 2**30)] == ["512 B", "2 KiB", "3 MiB", "5 GiB"]
    assert tokens(4096) == "4,096 tokens"
    assert tokens(None) == "no end up to 16,777,216 tokens"
