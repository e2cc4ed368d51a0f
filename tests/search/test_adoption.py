"""Studies with `start`: costs that are the losses of plans, tables that go on, and answers that follow from both."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture.plans import NONE, CachePlan, Kept
from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes
from l2m_design.report.adoption import compared, outcome
from l2m_design.search.adoption.bench import Bench, Stored
from l2m_design.search.adoption.knapsack import Knapsack, Rules, units_of
from l2m_design.search.adoption.results import BudgetRow, PlanRow, of_plain, plain
from l2m_design.search.adoption.rows import Rows, chosen
from l2m_design.search.adoption.run import Adoption
from l2m_design.search.adoption.settings import AdoptionSettings, load_adoption
from l2m_design.search.adoption.table import Lines, cost_key, costs_of, key_of, plan_name
from l2m_design.search.results.paired import Gap
from l2m_design.search.run import Folders
from l2m_design.search.schema import schema
from l2m_design.search.tracking import default_uri
from l2m_design.settings import to_yaml
from l2m_design.training.start import Replacement, StartModel

STUDY: dict[str, Any] = {
    "name": "small",
    "start": "model",
    "corpus": "texts",
    "length": 100,
    "chunk": 8,
    "options": [
        {"cache": "window", "share": 0.2},
        {"cache": "sparse", "share": 0.4, "sinks": 2},
    ],
    "budgets": [0.7, 0.45],
    "windows": {"costs": 2, "test": 10, "recall": 0},
    "correction": {"random_plans": 4, "trials": 7},
    "fit": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def _one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """To make a new store takes longer than a study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('tracked')}/mlflow.db")
        yield


@pytest.fixture
def place(tmp_path: Path, tiny_llama: Path, many_texts: Path) -> Path:
    (tmp_path / "model").symlink_to(tiny_llama)
    (tmp_path / "study.yaml").write_text(to_yaml(STUDY))
    return tmp_path


def study(place: Path, *overrides: str) -> Adoption:
    settings = load_adoption(place / "study.yaml", overrides)
    return Adoption(settings, Folders(place / "runs", place / "reports"), default_uri())


def bench(work: Adoption, folder: Path) -> Bench:
    start = StartModel(work.settings.start, "cpu")
    start.begins_as(work.corpus)
    folder.mkdir(exist_ok=True)
    return Bench(work.settings, work.corpus, start, folder, lambda what, done, total: None)


def test_a_cost_is_the_loss_of_the_plan_with_that_replacement_alone(place: Path) -> None:
    """Passes that begin at the changed layer answer as whole ones, streamed in pieces, do."""
    work = study(place)
    measured = bench(work, place / "bench")
    measured.fit()
    measured.measure_costs(work.units)
    assert len(measured.costs) == 2 * (1 + 2 * 2)
    own = CachePlan.own(work.shape)
    assert measured.own_costs() == pytest.approx(measured.losses(None, "validation"), abs=1e-5)
    for unit in work.units:
        for o in (1, 2):
            whole = measured.losses(own.but(unit.layer, unit.heads, unit.options[o]), "validation")
            alone = [measured.costs[cost_key(w, unit, o)]["late"] for w in range(2)]
            assert alone == pytest.approx(whole, abs=1e-5)
    costs = costs_of(measured.costs, work.units, 2)
    assert (costs[:, 0] == 0).all()
    assert np.isfinite(costs).all()


def test_what_was_measured_is_not_measured_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = study(place)
    first = bench(work, place / "bench")
    first.fit()
    first.measure_costs(work.units)
    path = place / "bench" / "costs.jsonl"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["key"][1] == 0]
    path.write_text("\n".join(kept) + '\n{"of": "cut sh')
    wanted: list[list[Replacement]] = []
    costs = StartModel.costs
    monkeypatch.setattr(
        StartModel, "costs", lambda self, tokens, each: wanted.append(each) or costs(self, tokens, each)
    )
    again = bench(work, place / "bench")
    again.fit()
    again.measure_costs(work.units)
    assert [len(each) for each in wanted] == [4]  # of the second window
    assert costs_of(again.costs, work.units, 2) == pytest.approx(costs_of(first.costs, work.units, 2))
    more = study(place, "options=[{cache: window, share: [0.2, 0.1]}, {cache: sparse, share: 0.4, sinks: 2}]")
    third = bench(more, place / "bench")
    third.fit()
    third.measure_costs(more.units)
    assert [len(each) for each in wanted[1:]] == [2, 2]  # the new option alone


def test_a_cut_past_is_read_as_a_text_that_begins_there(place: Path) -> None:
    work = study(place)
    measured = bench(work, place / "bench")
    own = CachePlan.own(work.shape)
    found = measured.cut(None)
    assert list(found) == [25, 50]
    tokens = measured.windows["test"].tokens(slice(0, 1))[0]
    whole: list[float] = []  # by hand: the run of 12 that a token belongs to begins behind 25 tokens
    for first in [*range(50, 88, 12), 88]:
        given = torch.tensor([[0, *tokens[first - 25 : first + 12]]])
        with torch.no_grad():
            logits = measured.start.planned(own).model(given[:, :-1]).logits[0, -12:]
        nats = torch.nn.functional.cross_entropy(logits, given[0, -12:], reduction="none").tolist()
        whole = [*whole[: first - 50], *nats]
    assert found[25][0] == pytest.approx(np.mean(whole), abs=1e-5)
    assert abs(found[25][0] - measured.losses(None, "test")[0]) > 1e-5
    blind = CachePlan.alike([NONE, NONE], work.shape.kv_heads)
    for late in measured.cut(blind).values():
        assert late == pytest.approx(measured.losses(blind, "test")[: len(late)], abs=1e-5)


def test_lines_of_another_model_count_for_nothing(tmp_path: Path) -> None:
    one = Lines(tmp_path / "x.jsonl", "one")
    one.add(key_of("a", 1), {"late": 2.0}, plan=[1])
    other = Lines(tmp_path / "x.jsonl", "other")
    assert len(other) == 0
    assert Lines(tmp_path / "x.jsonl", "one")[key_of("a", 1)] == {"late": 2.0}
    assert Lines(tmp_path / "x.jsonl", "one").told == [{"plan": [1]}]


def test_a_study_from_end_to_end(place: Path) -> None:
    found = study(place).run()
    assert len(found.budgets) == 2
    for budget in found.budgets:
        assert budget.best.state_bytes <= budget.bytes
        assert budget.seconds < 2
        assert budget.best.validation == min(
            row.validation for row in (budget.best, *budget.others) if row.validation is not None
        )
        names = {row.name for row in (budget.best, *budget.others)}
        assert {"uniform window", "uniform sparse by attention (H2O)"} <= names
        assert budget.rival is not None
        assert list(budget.best.context_gain) == [25, 50]
        assert budget.best.effective_context in (0, 25, 50)
    assert found.start.effective_context is not None
    assert found.test_documents == 10
    assert "Test losses are of 10 windows of 10 documents, paired over documents." in outcome(found)
    assert len(found.check.predicted) == len(found.check.measured) == 4
    back = of_plain(json.loads((place / "reports" / "small" / "study.json").read_text()), "study.json")
    assert plain(back) == plain(found)
    check_schema(place / "reports" / "small" / "study.json")
    again = study(place).run(resume=True)
    assert [budget.best for budget in again.budgets] == [budget.best for budget in found.budgets]
    kept = study(place).reselect()
    assert kept.start == found.start
    for budget, before in zip(kept.budgets, found.budgets, strict=True):
        assert budget.best.fingerprint == before.best.fingerprint
        assert budget.best.difference == before.best.difference
        assert {row.fingerprint for row in before.others} <= {row.fingerprint for row in (budget.best, *budget.others)}
    assert any(row.effective_context is not None for row in kept.rows)
    other = study(place, "budgets=[0.6]", "demand={beta: 0.5}", "choice.delta=9").reselect()
    assert other.budgets[0].best.state_bytes <= 0.6 * other.start.bytes
    assert other.budgets[0].best.validation is not None
    assert other.budgets[0].best.meets
    assert all(row.state_bytes <= other.budgets[0].bytes for row in other.budgets[0].others)


def test_a_loss_is_said_to_be_measured_below_the_target(place: Path) -> None:
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[1.0]", "choice.delta=9"]
    beyond = study(place, *sets, "condition.length=128").run()
    rows = [row for row in beyond.rows if row.name.startswith("uniform window")]
    assert rows
    assert all(row.difference and row.difference.value != 0 for row in rows)  # even the largest evicts
    assert "Its late loss, measured at 100 tokens and not at 128 tokens, is " in " ".join(outcome(beyond))
    alike = study(place, *sets, "condition.length=100", "name=alike").run()
    assert "measured at" not in " ".join(outcome(alike))


def stored(work: Adoption, fingerprint: str) -> Bench:
    read = Stored(work.shape, fingerprint)
    return Bench(work.settings, work.corpus, read, work.folder.path, lambda what, done, total: None)


def test_the_best_of_all_measured_plans_is_taken(place: Path) -> None:
    """Whoever drew it; a solution that was never measured is said to be so and is not the best."""
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[0.7]", "choice.delta=9"]
    work = study(place, *sets)
    first = work.run()
    table = stored(work, first.start.fingerprint)
    drawn = CachePlan.alike([Kept("window", 7), Kept("window", 9)], work.shape.kv_heads)
    for window, late in enumerate(table.losses(None, "validation")):
        key = key_of("validation", window, plan_name(drawn), "start")
        table.plans.add(key, {"late": late - 1}, plan=drawn.plain())
    found = study(place, *sets).run(resume=True).budgets[0].best
    assert found.fingerprint == plan_name(drawn) != first.budgets[0].best.fingerprint
    assert found.validation == pytest.approx(-1)
    assert found.difference is not None
    other = study(place, *sets, "budgets=[0.45]").reselect()
    assert other.budgets[0].best == replace(found, name=other.budgets[0].best.name)
    assert other.chosen is not None
    solution = next(row for row in other.budgets[0].others if row.name == "solved")
    assert solution.difference is None
    assert f"the solution is {solution.picture}, its predicted loss" in " ".join(outcome(other))
    sentence = next(line for line in outcome(other) if "the solution is" in line)
    assert sentence.endswith("it was not measured.")


def beside(place: Path, ours: list[float], theirs: list[float]) -> BudgetRow:
    """A budget whose best plan and uniform rival lose so much more than the model on documents."""
    work = study(place)
    plans = [CachePlan.alike([NONE, Kept("window", size)], work.shape.kv_heads) for size in (5, 6)]
    losses = {plans[0]: np.array(ours), plans[1]: np.array(theirs), None: np.zeros(len(ours))}
    bench = SimpleNamespace(losses=lambda plan, split: losses[plan], by_document=lambda each, split: each.tolist())
    rows = [
        replace(row(0.5, 9), name=name, layers=plan.plain(), fingerprint=name, difference=Gap(
            float(np.mean(losses[plan])), -1.0, 1.0, standard_error=1.0, seeds=1))
        for name, plan in zip(("solved", "uniform window"), plans, strict=True)
    ]  # fmt: skip
    knapsack = Knapsack(work.shape, work.units, Rules(100, Dtypes()))
    return Rows(bench, knapsack, np.zeros((2, 3))).budget(9.0, rows[0], rows[1:], 0.1)  # type: ignore[arg-type]


def test_the_best_plan_is_always_held_against_its_rival(place: Path) -> None:
    noise = np.linspace(-0.01, 0.01, 12)
    helped = beside(place, [*(0.02 + noise)], [*(-0.01 + noise[::-1] / 2)])
    assert helped.over is not None
    assert helped.over.value == pytest.approx(0.03)
    assert helped.lost is None
    clear = beside(place, [*(0.2 + noise)], [*(0.4 + noise)])
    assert clear.lost is not None
    assert clear.lost.value == pytest.approx(0.5)
    near = beside(place, [*(0.2 + noise)], [*(0.001 + noise)])
    assert near.lost is None  # of nearly nothing there is no part
    for budget, verdict in ((helped, "the uniform plan is better"), (clear, "the searched plan is better")):
        told = " ".join(compared(budget))
        assert verdict in told
        assert "paired over documents" in told
        assert ("of what that plan loses" in told) == (budget.lost is not None)
    level = beside(place, [*(0.2 + noise)], [*(0.2 - noise)])
    assert "the two cannot be told apart" in " ".join(compared(level))


def test_settings_that_change_losses_are_another_study(place: Path) -> None:
    study(place, "correction={random_plans: 0, trials: 1}", "budgets=[0.7]").run()
    with pytest.raises(BadInput, match=r"windows\.costs: 2 -> 3"):
        study(place, "windows.costs=3").run()


@pytest.mark.parametrize("finetune", ["{tokens: 200}", "{tokens: 200, method: lora, rank: 2, hidden: 0.5}"])
def test_a_healed_plan_is_read_again_from_its_weights(place: Path, finetune: str) -> None:
    if "lora" in finetune:
        pytest.importorskip("peft")
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[0.45]", f"finetune={finetune}", "grain=head"]
    healed = study(place, *sets).run().budgets[0].healed
    assert healed is not None
    assert healed.healed
    plans = place / "runs" / "small" / "plans.jsonl"
    lines = [line for line in plans.read_text().splitlines() if "healed" not in line]
    plans.write_text("\n".join(lines) + "\n")
    again = study(place, *sets).run().budgets[0]
    assert again.healed is not None
    assert again.gain is not None
    kept = study(place, *sets, "choice.delta=9").reselect()
    assert kept.chosen is not None
    assert kept.chosen == kept.budgets[0].healed == replace(again.healed, p=kept.chosen.p)
    assert kept.budgets[0].gain == again.gain
    assert again.healed.difference.value == pytest.approx(healed.difference.value, abs=1e-6)  # type: ignore[union-attr]


def test_lora_without_peft_is_refused_before_anything_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.training.lora.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"finetune.method: lora needs the package peft: pip install 'l2m-design\[lora"):
        study(place, "finetune={tokens: 200, method: lora}")


def check_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = json.loads(path.read_text())
    jsonschema.validate(data, schema())
    jsonschema.validate(data | {"later": 1}, schema())
    with pytest.raises(jsonschema.ValidationError, match="1 is not of type 'string'"):
        jsonschema.validate(data | {"study": 1}, schema())
    for key in ("budgets", "start"):
        with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
            jsonschema.validate({name: value for name, value in data.items() if name != key}, schema())


def row(p: float, size: int, meets: bool = True) -> PlanRow:
    from l2m_design.condition import Judgement, Reach

    judgement = Judgement(None, 1.0, 0.5, "t", "t^0.5", meets, None, None, Reach(None, None))
    fields: dict[str, Any] = {"layers": [], "picture": "", "fingerprint": "", "kept": [], "share": 0.5}
    return PlanRow(
        name="x", budget=0, state_bytes=size, judgement=judgement, predicted=None, validation=None, p=p, **fields
    )


def budget(best: PlanRow, healed: PlanRow | None = None) -> BudgetRow:
    return BudgetRow(
        bytes=best.state_bytes,
        share=0.5,
        best=best,
        healed=healed,
        others=[],
        lost=None,
        gain=None,
        rival=None,
        seconds=0.0,
    )


def test_the_choice_goes_down_until_a_budget_fails() -> None:
    large, middle, small = row(0.01, 900), row(0.2, 500), row(0.001, 200)
    assert chosen([budget(small), budget(large), budget(middle)], 0.95) == large
    assert chosen([budget(large), budget(row(0.04, 500)), budget(small)], 0.95) == small
    assert chosen([budget(middle)], 0.95) is None
    assert chosen([budget(large), budget(row(0.01, 500, meets=False))], 0.95) == large
    better = replace(middle, p=0.03, healed=True)
    assert chosen([budget(large), budget(middle, better)], 0.95) == better


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": "nowhere/at/all"}, "start: nowhere/at/all: no such file or folder"),
        ({"length": 200}, "length: 200: .* has 128 positions; give at most as many"),
        ({"condition": {"length": 4096}}, "condition.length: 4096: .* has 128 positions"),
        ({"condition": {"length": 64}}, "condition.length: 64 is below the measured length, 100"),
        ({"budgets": [0.01]}, "budgets.0: 0.01: .* bytes are below the least plan, W W: .* of the model's"),
        ({"budgets": [900]}, "budgets.0: 900: 900 bytes are below the least plan"),
        ({"budgets": []}, "budgets: "),
        ({"budgets": [0.7, 0.5, 0.7]}, "budgets.2: 0.7: budgets.0 is as large; give one"),
        ({"budgets": [1e30]}, r"budgets.0: 1e\+30: 1e\+30 bytes are more than the .* of the model itself"),
        ({"options": []}, "options: "),
        ({"options": [{"cache": "windw", "share": 0.5}]}, "options.0.cache: input should be 'window'"),
        ({"options": [{"cache": "window"}]}, "options.0: cache: window needs a share or a window"),
        ({"options": [{"cache": "none", "share": 0.5}]}, "options.0: share and window: cache: none holds nothing"),
        (
            {"options": [{"cache": "window", "share": 0.5, "exponent": 0.5}]},
            "exponent and choose: are for cache: sparse",
        ),
        ({"options": [{"cache": "window", "window": 20, "sinks": 4}]}, "options.0: sinks: is for .*, found window"),
        (
            {"options": [{"cache": "window", "share": 0.3}, {"cache": "window", "window": 31}]},
            "options.1: window 31: options.0 gives this cache already",
        ),
        ({"options": [{"cache": "window", "share": [0.3, 0.3]}]}, "options.0: window 31: options.0 gives this cache"),
        (
            {"options": [{"cache": "window", "window": 100}]},
            "options.0: window 100: evicts nothing in windows of 100 tokens",
        ),
        ({"options": [{"cache": "sinks+window", "window": 97}]}, "options.0: window 97 . 4 sinks: evicts nothing"),
        ({"options": [{"cache": "sparse", "window": 50}]}, "window: is for cache: window and sinks"),
        ({"options": [{"cache": "sparse", "share": 0.1}]}, "options.0: 10 tokens are too few .* a smaller chunk"),
        ({"options": [{"cache": "window", "share": 0.5, "sink": 3}]}, "unknown key 'sink'; did you mean 'sinks'"),
        ({"finetune": {"tokens": 9, "rank": 4}}, "finetune: rank: is for method: lora, found all"),
        ({"chunk": 12}, "chunk: 12 must be a power of two"),
        ({"windows": {"recall": 11, "test": 10}}, "windows.recall: 11 of 10 test windows"),
        (
            {"windows": {"recall": 2, "test": 10, "costs": 2}},
            "windows.recall: 2: 100 tokens: the facts .* need .* or more; give a larger `length`, or windows.recall: 0",
        ),
        (
            {"windows": {"test": 9, "recall": 0}},
            "windows.test: 9 windows of 100 tokens are of 9 test documents .* at least 10",
        ),
        (
            {"windows": {"test": 4000, "recall": 0}},
            "windows.test: 4000: the test documents of .* side by side; .* at most",
        ),
        (
            {"corpus": "one.txt", "windows": {"test": 40, "recall": 0}},
            "windows.test: 40: the test .* hold [0-9] windows",
        ),
        ({"corpus": "texts:tokenizer=bytes"}, "has .* tokens, .* has 256|not the model's own"),
        ({"demand": {"measure": {"split": "test"}}}, "demand.measure.split: test documents are for the report"),
        ({"demand": {"beta": 0.7, "prefactor": 1e9}}, "no plan meets it, not even the model's own cache"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_a_line(place: Path, fields: dict[str, Any], message: str) -> None:
    (place / "one.txt").write_text("word more " * 400)
    (place / "study.yaml").write_text(to_yaml(STUDY | fields))
    with pytest.raises(BadInput, match=message) as refused:
        study(place)  # before any weights are loaded, so that --dry-run refuses it too
    assert "\n" not in str(refused.value)
    assert not (place / "runs").exists()


def models() -> dict[str, tuple[Any, str]]:
    """Tiny ones whose caches cannot be replaced, and why."""
    import transformers as hf

    words = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0}
    wide = words | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = wide | {"intermediate_size": 64, "num_key_value_heads": 1, "max_position_embeddings": 128}
    mpt = hf.MptConfig(**words, d_model=32, n_heads=2, n_layers=2, max_seq_len=128)
    layers = ["conv", "full_attention"]
    return {
        "bloom": (hf.BloomForCausalLM(hf.BloomConfig(**wide)), "its keys cannot be moved"),
        "mpt": (hf.MptForCausalLM(mpt), "its keys cannot be moved"),
        "gpt_neox": (hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**sizes)), "its layers are not those of a plain decoder"),
        "mamba": (
            hf.MambaForCausalLM(hf.MambaConfig(**words, hidden_size=32, num_hidden_layers=2, state_size=4)),
            "has no attention whose cache",
        ),
        "gemma2": (hf.Gemma2ForCausalLM(hf.Gemma2Config(**sizes, head_dim=16)), "soft caps or learned sinks"),
        "lfm2": (hf.Lfm2ForCausalLM(hf.Lfm2Config(**sizes, layer_types=layers)), "layers of conv cannot be adopted"),
    }


def test_models_whose_attention_cannot_be_replaced(place: Path, tiny_llama: Path) -> None:
    for name, (model, message) in models().items():
        folder = Path(shutil.copytree(tiny_llama, place / name))
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder)
        refused(place, folder, f"{message}.*; give .* with full or sliding attention in every layer and rotary")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "t5"}, "t5: cross attention has no cache to bound; give a decoder with full"),
        ({"model_type": "bart"}, "bart: cross attention has no cache to bound; give a decoder with full"),
        ({"model_type": "mllama_text_model"}, "cross attention has no cache to bound; give a decoder with full"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}},
            "needs code of its own .*, which is not run; give a model of a class of transformers",
        ),
    ],
)
def test_configs_that_tell_it_are_refused_before_weights(place: Path, config: dict[str, Any], message: str) -> None:
    folder = place / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 320}))
    (folder / "code.py").write_text("raise SystemExit('it was run')")
    refused(place, folder, message)


def refused(place: Path, folder: Path, message: str) -> None:
    (place / "study.yaml").write_text(to_yaml(STUDY | {"start": str(folder)}))
    with pytest.raises(BadInput, match=f"start: {folder}: .*{message}") as found:
        study(place).run()
    assert "\n" not in str(found.value)
    assert not (place / "reports").exists()


def test_a_model_without_a_tokenizer_is_not_silently_read_as_bytes(place: Path, tiny_llama: Path) -> None:
    bare = place / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to(tiny_llama / name)
    (place / "study.yaml").write_text(to_yaml(STUDY | {"start": "bare"}))
    with pytest.raises(
        BadInput, match=r"start: .*bare: has no tokenizer that can be read; .*:tokenizer=NAME"
    ) as refused:
        study(place)
    assert "\n" not in str(refused.value)
    meant = study(place, "corpus=texts:tokenizer=bytes")  # 256 tokens fit into the model's, which are more
    assert meant.corpus.vocabulary == 256


def test_nothing_is_reselected_that_was_not_searched(place: Path) -> None:
    with pytest.raises(BadInput, match="there is no study in"):
        study(place).reselect()
    study(place, "correction={random_plans: 0, trials: 1}", "budgets=[0.7]").run()
    with pytest.raises(BadInput, match="options: window 31 in layer 0 was not measured; search it first"):
        study(place, "options=[{cache: window, share: 0.3}]").reselect()


def test_the_work_is_as_promised(place: Path) -> None:
    """A table of costs takes at most (1 + options/2) passes a layer."""
    work = study(place)
    options = len(work.settings.kept)
    per_layer = work.work().passes["costs"] / work.settings.windows.costs / len(work.shape.layers)
    assert per_layer <= 1 + options / 2 + 0.5  # of a model of two layers, of which the output head is much
    assert work.hours() > 0
    fast = study(place, "teraflops=1")
    assert fast.hours() == pytest.approx(work.work().total / 1e12 / 3600)


def test_shapes_without_smaller_options_are_refused(place: Path) -> None:
    settings = AdoptionSettings.parse(STUDY, "study")
    shape = study(place).shape
    assert len(units_of(shape, settings.kept, "head")) == 2 * shape.kv_heads
