"""The page stands alone, says what must be said, and is made again from study.json."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l2m_design.condition import Reach
from l2m_design.errors import BadInput
from l2m_design.estimates import Estimate
from l2m_design.information.measured import STRETCHES
from l2m_design.report.page import write_page
from l2m_design.report.words import caveats, outcome, size, tokens
from l2m_design.search.results.paired import Gap
from l2m_design.search.results.reading import load_summary, plain
from l2m_design.search.results.values import AtLength, ComparisonRow, Finalist, StandingRow, Summary
from l2m_design.settings import to_json


def under(summary: Summary, **terms: Any) -> Summary:
    """The same study under other terms."""
    return replace(summary, demand=replace(summary.demand, terms=summary.demand.terms.model_copy(update=terms)))


def without_scripts(text: str) -> str:
    """What stands on the page itself."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_the_page_needs_nothing_from_outside(summary: Summary, tmp_path: Path) -> None:
    write_page(summary, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    shown = without_scripts(text)
    assert shown.count("<svg") == 5
    assert not re.search(r'(src|href)="(?!#)', shown)
    assert [tag for tag in re.findall(r"<script[^>]*>", text) if "src" in tag] == []
    assert "default-src 'none'" in shown  # a browser would refuse what is not in the page
    assert len(text.encode()) < 3e6


def test_what_the_user_wrote_is_escaped(summary: Summary, tmp_path: Path) -> None:
    write_page(summary, tmp_path / "index.html")
    text = without_scripts((tmp_path / "index.html").read_text())
    assert "all Mamba-2 <b>" not in text
    assert "all Mamba-2 &lt;b&gt;" in text


def test_three_things_are_said_aloud(summary: Summary) -> None:
    said = " ".join(caveats(summary))
    assert "is an assumption" in said
    assert "The growth condition concerns contexts without an upper limit" in said
    assert "upper end" in said
    assert "neither a lower nor an upper bound" in said  # compression's amount


def test_measured_nats_are_said_to_be_measured_and_drawn(summary: Summary, tmp_path: Path) -> None:
    write_page(summary, tmp_path / "assumed.html")
    summary = under(summary, nats_by_kind={"attention": 0.005})
    said = " ".join([*caveats(summary), *outcome(summary)])
    assert "capacity per state element. This was measured for each mixer type (in nats: attention 0.005)" in said
    assert "capacity per state element: 0.005 nats in attention (measured on a source of known information" in said
    assert "is an assumption" in said
    summary = under(summary, nats_range={"attention": (0.001, 0.02), "other": (0.001, 0.1)})
    said = " ".join([*caveats(summary), *outcome(summary)])
    assert "attention 0.005 [0.001, 0.02]" in said
    assert "is an assumption (" not in said
    write_page(summary, tmp_path / "measured.html")
    bands = [(tmp_path / name).read_text().count("FillBetween") for name in ("assumed.html", "measured.html")]
    assert bands[1] > bands[0]


def test_the_outcome_names_choice_state_and_difference(summary: Summary) -> None:
    said = " ".join(outcome(summary))
    assert "Chosen: A (trial 2)" in said
    assert "3 KiB of state at 4,096 tokens" in said
    assert "effective context 16 tokens" in said
    assert "Confirmed: it keeps up with every other finalist" in said
    assert "The closest comparison is with trial 0 (all attention) (difference of late loss +0.010" in said
    assert "late loss and gain from context beyond 16 tokens at most 0.02 nats" in said
    assert "gain lost +0.000 [-0.010, +0.010]" in said
    assert "Cost of halving the state, in nats per token: from a to b (2 KiB) +0.010 [+0.000, +0.020] (knee)" in said
    assert "(knee); from a to b" in said


def test_losses_that_cannot_judge_long_context_are_said_first(summary: Summary) -> None:
    assert not outcome(summary)[0].startswith("These losses")
    summary = replace(summary, gains_at_context=False)
    assert outcome(summary)[0].startswith(
        "These losses concern short contexts only: no model gains from context beyond"
    )
    summary = replace(summary, uses_context=False)
    assert outcome(summary)[0].startswith("These losses say nothing about long contexts: after")
    assert "no model gains from context beyond 4 tokens" in outcome(summary)[0]


def test_no_choice_is_said(summary: Summary, tmp_path: Path) -> None:
    choice = replace(summary.choice, said=["No model qualifies: no trained candidate meets the condition."])
    nothing = replace(summary, chosen=None, front=[], choice=choice)
    write_page(nothing, tmp_path / "index.html")
    assert "no trained candidate meets the condition" in (tmp_path / "index.html").read_text()


def test_finalists_are_tabled_by_length_with_their_excess_drawn(summary: Summary, tmp_path: Path) -> None:
    at = AtLength(
        seeds=3, learning_rate=0.5, loss=1.2345, loss_by_seed=[1.2345], test_loss=1.2345,
        test_interval=Estimate(1.2345, 1.2, 1.3), difference=Gap(0.01, 0.0, 0.02, standard_error=0.005, seeds=3),
        late_excess_bits=0.031, late_excess_bits_by_seed=[0.03, 0.032],
        excess_difference_bits=Gap(0.025, 0.02, 0.03, standard_error=0.003, seeds=3), mi_captured_nats=5.0,
        corpus_nats=Estimate(10.0, 9.0, 11.0), nats_per_element=0.0123, seconds=1.0, effective_context=32,
        context_gain={8: Gap(0.3, 0.2, 0.4, standard_error=0.05, seeds=3)},
    )  # fmt: skip
    finalist = Finalist(
        name="all attention", known=True, picture="A", architecture=summary.front[0].architecture, fingerprint="x",
        parameters=1000, state_bytes=1024, feasible=True, growth_exponent=1.0, meets_growth=True, meets_level=True,
        reach_tokens=Reach(None, None), failed=[], recall_bits=0.0222, lengths={64: at, 128: at},
    )  # fmt: skip
    choice = replace(
        summary.choice,
        among="finalists",
        length=128,
        confirmed=["all attention"],
        comparisons={"all attention": ComparisonRow(difference=at.difference, lost_gain=None)},
        standings={"all attention": StandingRow(rival="b", p=0.02, difference=at.difference, lost_gain=None)},
    )
    write_page(replace(summary, finalists=[finalist], choice=choice), tmp_path / "index.html")
    text = without_scripts((tmp_path / "index.html").read_text())
    assert text.count("<svg") == 7
    drawn = text.split("<svg", 1)[1].split("</svg>")[0]
    assert ">all attention</text>" in drawn
    assert f">within {choice.delta:g} nats of the lowest</text>" in drawn
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


def test_the_page_is_made_again_from_its_summary(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(to_json(plain(summary)))
    write_page(load_summary(tmp_path), tmp_path / "one.html")
    write_page(load_summary(tmp_path / "study.json"), tmp_path / "two.html")
    assert (tmp_path / "one.html").read_text() == (tmp_path / "two.html").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"study": 1}'])
def test_what_is_no_summary_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(BadInput, match="not the summary of a study"):
        load_summary(tmp_path)


def test_a_summary_that_lacks_what_is_read_is_bad_input(summary: Summary, tmp_path: Path) -> None:
    data = json.loads(to_json(plain(summary)))
    del data["demand"]["measurement"]["resampled"]
    (tmp_path / "study.json").write_text(json.dumps(data))
    with pytest.raises(
        BadInput, match=r"written by version 0, which this version cannot read: demand\.measurement\.resampled"
    ):
        load_summary(tmp_path)


def test_a_summary_of_a_later_schema_is_bad_input(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(to_json(plain(summary) | {"schema": 2}))
    with pytest.raises(BadInput, match=r"cannot read: schema: input should be 1, found 2"):
        load_summary(tmp_path)


def test_too_few_documents_to_resample_are_said(summary: Summary) -> None:
    measurement = summary.demand.measurement
    assert measurement is not None
    few = replace(summary.demand, measurement=replace(measurement, resampled=STRETCHES))
    assert "There were too few documents to resample" in " ".join(caveats(replace(summary, demand=few)))
    assert "too few documents" not in " ".join(caveats(summary))


def test_sizes_and_reaches_in_words() -> None:
    assert [size(n) for n in (512, 2048, 3 * 2**20, 5 * 2**30)] == ["512 B", "2 KiB", "3 MiB", "5 GiB"]
    assert tokens(4096) == "4,096 tokens"
    assert tokens(None) == "at least 16,777,216 tokens"
