"""What the page's figures are made of: one colour a design, text that stays text, importances beside chance."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.mixers import MixerSpec
from l2m_design.report.colours import GREY, LINES, MIXERS
from l2m_design.report.designs import designs
from l2m_design.report.drawn import interactive, svgs
from l2m_design.report.importance import importances
from l2m_design.report.interactive.parts import plain_text
from l2m_design.report.page import write_figures
from l2m_design.report.picture import as_script
from l2m_design.search.record import Record
from l2m_design.search.results.reading import load_summary
from l2m_design.search.results.values import Summary

REPORTS = Path(__file__).parents[2] / "reports"
HOSTILE = '</script><b onclick="x">%{x} &amp; $\\foo$'


def contrast(first: str, second: str) -> float:
    """As WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [*LINES, GREY, *(colour for _, colour in MIXERS.values())])
def test_every_colour_is_seen_on_light_and_on_dark_paper(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3
    assert contrast(colour, "#12181f") >= 3


def test_every_mixer_type_has_a_letter_with_a_word() -> None:
    kinds = MixerSpec.__args__[0].__args__
    text = " ".join(str(kind.letter.fget.__doc__) for kind in kinds)
    assert len(kinds) >= 8
    assert set(re.findall(r"\b([A-Z1])\b", text)) <= set(MIXERS)


def test_a_design_has_one_colour_in_all_figures() -> None:
    summary = load_summary(REPORTS / "text-hybrids")
    named = designs(summary)
    assert named[0].chosen
    assert len({(design.colour, design.dash) for design in named}) == len(named)
    for figure in interactive(summary, named).values():
        for trace in figure["traces"]:
            design = next((each for each in named if each.key == trace["meta"].get("design")), None)
            look = trace.get("line") or trace.get("marker") or {}
            if design and "fill" not in trace:
                assert (trace["meta"]["name"], look["color"]) == (design.label, design.colour)


def test_both_kinds_of_figures_show_the_same(summary: Summary) -> None:
    named = designs(summary)
    assert set(svgs(summary, named)) == set(interactive(summary, named))


def test_hostile_names_cannot_leave_their_text(summary: Summary) -> None:
    record = replace(summary.records[1], design=HOSTILE)
    row = replace(summary.baselines[1], design=HOSTILE)
    records = [summary.records[0], record, *summary.records[2:]]
    hostile = replace(summary, records=records, baselines=[row])
    figures = interactive(hostile, designs(hostile))
    traces = [trace for figure in figures.values() for trace in figure["traces"]]
    texts = [text for trace in traces for text in (*trace.get("text", ()), trace.get("name", ""))]
    seen = [text for text in texts if "onclick" in text]
    assert seen
    for text in seen:
        assert set(re.findall(r"<.*?>", text)) <= {"<b>", "</b>", "<br>"}
        assert "%{" not in text
    script = as_script(figures)
    assert "<" not in script
    assert json.loads(script) == json.loads(json.dumps(figures))
    assert HOSTILE not in "".join(svgs(hostile, designs(hostile)).values())


def test_text_of_a_figure_is_shown_letter_by_letter() -> None:
    assert plain_text("a\n <i>%{y}</i> &lt;") == "a &lt;i&gt;&#37;{y}&lt;/i&gt; &amp;lt;"


def asked(number: int, loss: float | None, **picks: Any) -> Record:
    fields: dict[str, Any] = {"architecture": {}, "verdict": {}}
    result = {"late_loss": loss} if loss is not None else None
    return Record(number=number, state="complete", picture="A", fingerprint=str(number), parameters=1, state_bytes=1,
                  feasible=True, params=picks, result=result, **fields)  # fmt: skip


def test_a_choice_that_decides_the_loss_explains_its_variance_and_a_coin_does_not() -> None:
    records = [asked(n, 1.0 + (n % 2) + 0.01 * (n % 5), kind=n % 2, coin=n // 2 % 2) for n in range(24)]
    found = {each.choice: each for each in importances(records)}
    assert found["kind"].share > 0.95 > found["kind"].chance
    assert found["coin"].share <= found["coin"].chance
    assert importances(records[:7]) == []
    assert importances([replace(record, design="a baseline") for record in records]) == []


def test_pruned_trials_count_by_the_rung_that_all_reached() -> None:
    records = [replace(asked(n, None if n % 3 else 0.5, kind=n % 2), state="pruned" if n % 3 else "complete",
                       rungs=[(64, 2.0 + n % 2)]) for n in range(18)]  # fmt: skip
    (found,) = importances(records)
    assert found.trials == 18
    assert found.share > 0.95


def test_figures_are_written_as_files_for_papers(summary: Summary, tmp_path: Path) -> None:
    files = write_figures(summary, tmp_path / "figures")
    assert {file.name for file in files} >= {"front.svg", "gains.svg", "state.svg", "information.svg", "profile.svg"}
    assert all(file.read_text().lstrip().startswith("<svg") for file in files)
