"""From trials to finalists to the choice, and the choice again, with training replaced by a formula."""

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from l2m_design.errors import BadInput
from l2m_design.search.driver import Listener
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import front
from l2m_design.search.results.reselect import reselected
from l2m_design.search.results.summary import notes
from l2m_design.search.results.values import Summary
from l2m_design.search.settings import load_study

FINALISTS = "finalists={top: 2, seeds: 3, tokens: 4096, lengths: [32, 64], rates: [0.5, 1.0]}"


def test_every_finalist_runs_every_seed_and_length_once_at_its_best_rate(opened, jobs) -> None:
    summary = opened(FINALISTS, "search.trials=3").run()
    rows = summary["finalists"]
    assert {row["name"] for row in rows} >= {"all attention", "all Mamba-2", "all sparse at the demand"}
    assert sum(row["name"].startswith("trial") for row in rows) <= 2
    for row in rows:
        assert set(row["lengths"]) == {"32", "64"}
        assert all(at["seeds"] == 3 and at["learning_rate"] == 0.5 for at in row["lengths"].values())
    finals = [job for job in jobs if job.recipe["tokens"] == 4096]
    keys = [
        (json.dumps(j.architecture), j.recipe["length"], j.recipe["learning_rate"], j.recipe["seed"]) for j in finals
    ]
    assert len(keys) == len(set(keys)) == len(rows) * (2 + 2 * 3 + 1)  # tuned, confirmed, picked at 64
    assert summary["choice"]["among"] == "finalists"
    assert summary["choice"]["length"] == 64


def test_the_choice_among_finalists_is_the_least_state_that_keeps_up(opened, jobs) -> None:
    summary = opened(FINALISTS, "search.trials=3", "choice.delta=0.02").run()
    rows = {row["fingerprint"]: row for row in summary["finalists"]}
    chosen = summary["chosen"]
    good = [r for r in rows.values() if r["feasible"] and r["name"] in summary["choice"]["confirmed"]]
    assert chosen["state_bytes"] == min(row["state_bytes"] for row in good)
    assert chosen["seeds"] == 3
    assert chosen["loss"] == pytest.approx(rows[chosen["fingerprint"]]["lengths"]["64"]["loss"])
    spared = [r for r in rows.values() if r["feasible"] and r["state_bytes"] < chosen["state_bytes"]]
    assert all(summary["choice"]["standings"][row["name"]]["p"] > 0.01 for row in spared)
    assert summary["verdict"] == "confirmed"
    assert summary["reference"] == min(rows.values(), key=lambda row: row["picked_by"])["name"]
    assert {"difference", "lost_gain", "p", "rival"} <= set(summary["choice"]["standings"][chosen["design"]])


def test_what_confirms_picked_nothing(opened, jobs) -> None:
    """Trials and tuning share one seed; the quoted difference comes from others, and from test documents."""
    summary = opened(FINALISTS, "search.trials=3").run()
    picking = {j.recipe["seed"] for j in jobs if j.recipe["tokens"] == 2048 or j.recipe["learning_rate"] > 0.009}
    confirming = {j.recipe["seed"] for j in jobs} - picking
    assert picking == {0}
    assert confirming == {1, 2, 3}
    assert {j.recipe["seed"] for j in jobs if j.recipe["contexts"] is None or j.recipe["contexts"]} == confirming
    assert summary["chosen"]["seeds"] == 3


def test_the_best_of_all_trials_is_a_finalist_even_where_it_fails_the_condition(opened, jobs) -> None:
    few = FINALISTS.replace("top: 2", "top: 1, baselines: [all windows]")
    summary = opened(few, "search.trials=3", "demand={beta: 1.0, prefactor: 0.05}").run()
    best = min((r for r in summary["records"] if r["result"]), key=lambda r: r["result"]["late_loss"])
    assert summary["reference"] in {best["design"], f"trial {best['number']}"}
    assert len(summary["finalists"]) <= 3


def test_recall_on_a_named_source_bounds_the_choice(opened, jobs) -> None:
    source = "corpus: 'santa-fe:beta=0.5,keys=8,pairs=99,documents=64'"
    recall = f"recall={{{source}, stage: finalists, length: 64, tokens: 2048, batch_tokens: 256}}"
    summary = opened(FINALISTS, "search.trials=3", recall, "choice.recall=0.1", "choice.delta=0.5").run()
    ran = [j for j in jobs if j.corpus.startswith("santa-fe:beta=0.5,keys=8,pairs=99")]
    assert len(ran) == len(summary["finalists"])
    assert "M" not in summary["chosen"]["picture"]  # whose excess is above the bound
    rows = {row["picture"]: row["recall_bits"] for row in summary["finalists"]}
    assert rows["A A"] == 0
    assert rows["M M"] > 0.1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "choice.reference=nobody",
            "choice.reference: 'nobody' is not among the trained models; allowed are best, full attention, all",
        ),
        (
            "finalists={baselines: [all atention]}",
            "finalists.baselines: unknown baseline 'all atention'; the study trains: all",
        ),
        ("choice.context=48", "choice.context: 48 is longer than half of the windows of 64 tokens"),
        ("choice.recall=0.1", "choice.recall: requires a recall source"),
        ("recall={stage: finalists, keep: 0.5}", "keep: only for stage: trials"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_before_any_work(opened, jobs, override: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        opened("search.trials=1", override).run()
    assert not jobs


def test_too_few_seeds_are_warned_of_before_training(opened, jobs) -> None:
    assert any(
        "finalists.seeds: 2: fewer than 3" in line
        for line in opened(FINALISTS.replace("seeds: 3", "seeds: 2")).rehearse()
    )
    assert not any("seeds" in line for line in opened(FINALISTS).rehearse())


def test_finalists_asked_for_later_need_no_trial_again(opened, jobs) -> None:
    opened("search.trials=1").run()
    before = len(jobs)
    summary = opened("search.trials=1", FINALISTS).run()
    assert all(job.recipe["tokens"] == 4096 for job in jobs[before:])
    more = len(jobs)
    opened("search.trials=1", FINALISTS.replace("seeds: 3", "seeds: 4")).run()
    assert len(jobs) - more == 2 * len(summary["finalists"])  # the fourth seed at two lengths


def test_a_design_of_the_study_is_a_finalist_of_the_spaces_size(opened, jobs) -> None:
    layer = "{kind: attention, heads: 2, kv_heads: 1, head_dim: 8, window: 24}"
    designs = f"finalists={{top: 0, seeds: 1, designs: {{wide window: [{layer}, {layer}]}}}}"
    summary = opened("search.trials=0", designs).run()
    row = next(row for row in summary["finalists"] if row["name"] == "wide window")
    assert row["picture"] == "W W"
    assert abs(row["parameters"] / 12_000 - 1) <= 0.1


def test_a_design_that_does_not_fit_is_refused_before_any_work(opened, jobs) -> None:
    designs = "finalists={designs: {huge: [{kind: attention, heads: 512, kv_heads: 1, head_dim: 64}]}}"
    with pytest.raises(BadInput, match=r"finalists\.designs\.huge: "):
        opened("search.trials=0", designs).run()
    assert not jobs


def test_known_designs_try_every_learning_rate_and_the_reference_is_its_best(opened, jobs) -> None:
    summary = opened("search.trials=9", "search.rates=[0.5, 1.0]", "search.pruner=none").run()
    tried = {(r["design"], r["rate"]) for r in summary["records"] if r["design"]}
    assert tried == {(design, rate) for design, _ in tried for rate in (0.5, 1.0)}
    assert len(summary["baselines"]) == 7
    assert all(row["rate"] == 0.5 for row in summary["baselines"])


def test_recall_stops_the_worst_share_before_the_corpus(opened, jobs) -> None:
    summary = opened(
        "search.trials=9", "search.warmup_trials=2", "recall={length: 64, tokens: 2048, batch_tokens: 256, keep: 0.5}",
        "search.pruner=none",
    ).run()  # fmt: skip
    own = [r for r in summary["records"] if r["state"] in ("complete", "pruned") and not r["copy_of"]]
    assert all(r["recall"] is not None for r in own)
    stopped = [r for r in own if r["state"] == "pruned"]
    assert stopped
    assert all("its recall" in r["reason"] and r["design"] is None for r in stopped)
    trained = [job for job in jobs if job.corpus == opened().settings.corpus]
    assert len(trained) == sum(r["state"] == "complete" for r in own)
    names = [rung["rung"] for rung in summary["ladder"]]
    assert names[0].startswith("architecture only")
    assert names[1].startswith("recall")


def test_the_ladder_reports_cost_and_correlation(opened, jobs) -> None:
    summary = opened(FINALISTS, "search.trials=5", "search.pruner=none").run()
    first, end, last = summary["ladder"][0], summary["ladder"][-2], summary["ladder"][-1]
    assert first["seconds_each"] < end["seconds_each"] < last["seconds_each"]
    assert end["spearman_to_next"]["low"] <= end["spearman_to_next"]["value"] <= end["spearman_to_next"]["high"]
    assert last["spearman_to_next"] is None


@pytest.mark.parametrize("latency", [False, True])
def test_pareto_tells_loss_state_and_latency_apart(opened, jobs, latency: bool) -> None:
    overrides = ["search.mode=pareto", "search.pruner=asha", f"search.latency={str(latency).lower()}"]
    search = opened("search.trials=5", *overrides)
    summary = search.run()
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == 12

    (study, _) = optuna.get_all_study_summaries(search.storage_url)
    assert len(study.directions) == 2 + latency
    loaded = optuna.load_study(study_name=study.study_name, storage=search.storage_url)
    done = next(trial for trial in loaded.trials if trial.values)
    record = next(r for r in summary["records"] if r["number"] == done.user_attrs["number"])
    assert done.values[0] == record["result"]["late_loss"]
    assert 2 ** done.values[1] == pytest.approx(record["state_bytes"])
    assert all(job.latency == latency for job in jobs)


def test_constraints_are_recorded_by_name_for_every_trial(opened, jobs) -> None:
    search = opened("search.trials=1", "search.memory_gib=2")
    summary = search.run()

    loaded = optuna.load_study(study_name="tiny", storage=search.storage_url)
    for trial in loaded.trials:
        names = {key.rpartition("constraints:")[2] for key in trial.system_attrs if "constraints:" in key}
        assert {"l2m_growth", "l2m_level@1024", "parameters", "memory"} <= names
        value = next(v for k, v in trial.system_attrs.items() if k.endswith(":memory"))
        assert value == pytest.approx(10**9 / (2 * 2**30) - 1)  # what training took
    assert summary["trials"]["complete"] == 8


def test_a_study_without_full_attention_says_so_before_any_work_and_takes_the_best_it_has(opened, jobs) -> None:
    said: list[str] = []
    summary = opened("search.trials=2", "search.known_designs=false").run(listener=Listener(trouble=said.append))
    assert any("full attention is not trained" in sentence for sentence in said)
    assert summary["chosen"] is not None
    assert summary["reference"].startswith("trial ")


def test_the_best_learning_rate_at_the_edge_is_said(opened, jobs) -> None:
    rates = FINALISTS.replace("[0.5, 1.0]", "[0.25, 0.5, 1.0]")
    summary = opened("search.trials=0", rates).run()
    assert any("the lowest or highest of those tried" in note and "all attention" in note for note in summary["notes"])


def test_with_latency_the_front_is_one_of_three_objectives(opened, jobs) -> None:
    summary = opened("search.trials=5", "search.mode=pareto", "search.pruner=none", "search.latency=true").run()
    assert all(row["decode_ms"] == 2.0 for row in summary["front"] + summary["baselines"])


@pytest.mark.parametrize(("graphs", "said"), [((True, False), True), ((False, False), False), ((None, None), False)])
def test_decoding_by_graphs_and_by_steps_is_not_compared_in_silence(opened, jobs, graphs, said: bool) -> None:
    search = opened("search.trials=0")
    summary = search.run()
    records = [Record(**row) for row in summary["records"]]
    results = [r.result | {"decode_graph": graphs[n % 2]} for n, r in enumerate(records)]
    found = notes([replace(r, result=x) for r, x in zip(records, results, strict=True)], [], search.settings)
    count = f"{(len(records) + 1) // 2} of {len(records)} architectures, those whose state is of fixed size"
    assert any(count in note for note in found) is said


def test_nothing_in_a_front_is_beaten_in_all_that_was_measured(opened, jobs) -> None:
    one = Record(**opened("search.trials=0").run()["records"][0])
    assert one.result is not None

    def point(number: int, size: int, loss: float, ms: float | None) -> Record:
        result = one.result | {"late_loss": loss, "decode_ms": ms}
        return replace(one, number=number, state_bytes=size, result=result, feasible=True)

    points = [point(0, 10, 2.0, 5.0), point(1, 20, 2.0, 4.0), point(2, 20, 2.1, 6.0), point(3, 30, 1.0, 9.0)]
    assert [record.number for record in front(points)] == [0, 1, 3]
    assert [record.number for record in front([replace(p, result=p.result | {"decode_ms": None}) for p in points])] == [
        0, 3
    ]  # fmt: skip


def test_the_choice_is_made_again_without_training(opened, jobs, study: Path) -> None:
    search = opened("search.trials=3")
    first = search.run()
    ran = len(jobs)

    def again(*overrides: str) -> Summary:
        settings, space = load_study(study, ("search.trials=3", *overrides))
        return reselected(settings, space, search.storage_url, search.folder.path, search.report_folder, print)

    same = again()
    assert same.chosen.fingerprint == first["chosen"]["fingerprint"]
    lax = again("choice.delta=0.5")
    assert lax.chosen.state_bytes <= first["chosen"]["state_bytes"]
    longer = again("condition.length=65536", "condition.dtype=float32")
    assert longer.chosen.state_bytes > first["chosen"]["state_bytes"]
    steeper = again("demand={beta: 0.9, prefactor: 0.05}")
    assert steeper.chosen.growth_exponent >= 0.9
    assert steeper.demand.exponent == 0.9
    assert len(jobs) == ran
    kept = sorted(path.parent.name for path in search.report_folder.glob("reselected*/study.json"))
    assert kept == ["reselected", "reselected-2", "reselected-3", "reselected-4"]
    assert again().report == same.report
    with pytest.raises(BadInput, match=r"searched with other settings \(recipe.tokens: 2048 -> 4096\)"):
        again("recipe.tokens=4096")


def test_a_choice_needs_a_study(opened, study: Path) -> None:
    search = opened()
    with pytest.raises(BadInput, match="contains no study"):
        reselected(search.settings, search.space, search.storage_url, search.folder.path, search.report_folder, print)
