"""The study of sparse caches: its file, and two rivals against slow twins."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import BadInput
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.rules import BIRTH
from l2m_design.settings import override, read_mapping, to_yaml

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from sparse_kv_rivals import WRITE, Exceptions, Means, Merged, joined
from sparse_kv_settings import CONFIG, Arm, SparseStudy

CHUNK, SINKS, LENGTH = 8, 2, 76


def build() -> Any:
    """A tiny model with random weights."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 3, "max_position_embeddings": 512}
    config = transformers.LlamaConfig(vocab_size=97, num_attention_heads=6, num_key_value_heads=2, **sizes)
    return transformers.LlamaForCausalLM(config).eval()


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, LENGTH), generator=torch.Generator().manual_seed(2))


def budget(slots: int) -> GlobalBudget:
    return GlobalBudget(CHUNK, "fixed", window=slots, sinks=SINKS)


def test_the_shipped_study_holds_every_arm_of_its_results() -> None:
    study = SparseStudy.load_study(CONFIG)
    plans = {part: study.plan(part) for part in ("first", "final")}  # type: ignore[arg-type]
    for line in Path(study.results).read_text().splitlines():
        row = json.loads(line)
        assert Arm(*(row[name] for name in Arm._fields)) in plans[row["part"]]
    assert study.conditions() == read_mapping(Path(study.results).with_suffix(".yaml"))


@pytest.mark.parametrize("budget", ["1/8", "1/16", "t^0.5", "t^0.8"])
def test_a_budget_is_its_share_of_the_text_at_the_end(budget: str) -> None:
    study = SparseStudy.load_study(CONFIG)
    slots = study.budget_of(Arm("window", budget, 4096)).count(4096)
    assert slots == pytest.approx(256 if budget == "1/16" else 512, abs=0 if "/" in budget else 4)  # set by chunk


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("chunk=33", "chunk: 33 must be a power of two"),
        ("arms=[{caches: [h3o]}]", "arms.0.caches.0"),
        ("arms=[{caches: [h2o], budgets: [1/64]}]", "arms.0: 1/64 of 4096 tokens is 64; two chunks and the sinks"),
        ("arms=[{caches: [h2o], length: 8192}]", "arms.0.length: 8192 is above the study's length, 4096"),
        ("texts.first.code=[zipfile.py, threading.py, difflib.py]", "texts: zipfile.py is in first and in final"),
        ("texts.fit.docs=[url.md]", "texts.fit: as many texts of each corpus are needed, found 3 novels, 3 of code, 1"),
        ("lenght=4096", "unknown key 'lenght'; did you mean 'length'?"),
    ],
)
def test_a_wrong_study_is_refused_by_field(setting: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(override(read_mapping(CONFIG), [setting])))
    with pytest.raises(BadInput, match=f"^{re.escape(str(path))}: {re.escape(message)}"):
        SparseStudy.load_study(path)


def test_lines_found_under_other_conditions_are_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    results = tmp_path / "found.jsonl"
    results.with_suffix(".yaml").write_text(to_yaml(SparseStudy.load_study(CONFIG).conditions()))
    path.write_text(to_yaml(override(read_mapping(CONFIG), ["chunk=64", f"results={results}"])))
    command = [sys.executable, str(CONFIG.parents[1] / "benchmarks" / "sparse_kv.py"), "--dry-run", "--config", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, f"{results}: its lines are of another study (chunk: 32 -> 64): give another file as `results`\n",
    )  # fmt: skip


def test_exceptions_rank_what_a_delta_rule_written_token_by_token_misses() -> None:
    torch.manual_seed(0)
    key, value = torch.randn(2, 3, 20, 8), torch.randn(2, 3, 20, 4)
    state, want = torch.zeros(2, 3, 4, 8), []
    for t in range(20):
        k = key[:, :, t] / key[:, :, t].norm(dim=-1, keepdim=True)
        missed = value[:, :, t] - (state @ k[..., None])[..., 0]
        state = state + WRITE * missed[..., None] * k[..., None, :]
        want.append((WRITE * missed.norm(dim=-1)).log())
    rule = Exceptions()
    parts = [rule.records(key[:, :, a:b], value[:, :, a:b], a, CHUNK) for a, b in ((0, 5), (5, 8), (8, 20))]
    records = torch.cat(parts, 2)
    assert (records[..., 0] - torch.stack(want, -1)).abs().max() < 1e-4
    assert records[0, 0, :, BIRTH].tolist() == [t // CHUNK for t in range(20)]
    scores = rule.scores(records[:, 0], torch.zeros(2, 20, dtype=torch.long), 4, CHUNK)
    age = 4 - torch.arange(20) // CHUNK
    assert (scores - (records[:, 0, :, 0] - age.log())).abs().max() < 1e-6
    fresh = rule.records(key, value, 0, CHUNK)  # a new text begins with an empty state
    assert (fresh - records).abs().max() < 1e-4


@pytest.mark.parametrize("room", [0, 3, 6])
def test_means_are_those_of_tokens_added_one_by_one(room: int) -> None:
    torch.manual_seed(0)
    held = Means(
        torch.randn(1, 1, 5, 8), torch.randn(1, 1, 5, 4), torch.rand(1, 1, 5), torch.tensor([[[1, 1, 3.0, 2, 1]]])
    )
    aged = Means(torch.randn(1, 1, 6, 8), torch.randn(1, 1, 6, 4), torch.rand(1, 1, 6), torch.ones(1, 1, 6))
    got = joined(held, aged, room, SINKS)
    slots = [[*(z[0, 0, slot] for z in held)] for slot in range(5)]
    new = [[*(z[0, 0, token] for z in aged)] for token in range(6)]

    def alike(token: list[torch.Tensor], slot: list[torch.Tensor]) -> float:
        return float(torch.cosine_similarity(token[0], slot[0], dim=0))

    order = sorted(range(6), key=lambda token: max(alike(new[token], slot) for slot in slots[SINKS:]))
    slots += [new[token] for token in order[:room]]
    before = [[*slot] for slot in slots]
    for token in (new[token] for token in order[room:]):
        slot = slots[max(range(SINKS, len(slots)), key=lambda place: alike(token, before[place]))]
        for field in range(3):
            slot[field] = (slot[field] * slot[3] + token[field]) / (slot[3] + 1)
        slot[3] = slot[3] + 1
    assert got.counts.sum() == 14
    for field in range(4):
        assert (got[field][0, 0] - torch.stack([slot[field] for slot in slots])).abs().max() < 1e-5
    assert torch.equal(got.keys[:, :, :SINKS], held.keys[:, :, :SINKS])


def test_means_of_one_token_each_read_as_the_model_does() -> None:
    model = build()
    with torch.no_grad():
        want = model(tokens()).logits
    assert (Merged(model, budget(500)).prefill(tokens())[0] - want).abs().max() < 1e-4


def test_a_mean_of_n_tokens_weighs_as_n_tokens_do() -> None:
    """Queries of zero attend to all tokens alike, so nothing is lost by merging any of them."""
    model = build()
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.data.zero_()
    with torch.no_grad():
        want = model(tokens()).logits
    got, (_, layers) = Merged(model, budget(10)).prefill(tokens())
    assert layers[0][0].counts.max() > 1
    assert (got - want).abs().max() < 1e-4


@pytest.mark.parametrize("recent", [0.0, 0.5])
def test_means_hold_their_budget_and_all_tokens_in_any_pieces(recent: float) -> None:
    merged = Merged(build(), budget(24), recent)
    whole, (seen, layers) = merged.prefill(tokens())
    local = LENGTH % CHUNK + CHUNK
    for means, near in layers:
        assert means.counts.shape[2] + near.counts.shape[2] == 24 + local
        assert near.counts.shape[2] == local + (8 if recent else 0)
        assert (means.counts.sum(-1) + near.counts.sum(-1)).unique().tolist() == [seen]
    first, state = merged.prefill(tokens()[:, :41])
    rest, _ = merged.prefill(tokens()[:, 41:], state)
    assert (torch.cat([first, rest], 1) - whole).abs().max() < 1e-5


def test_exceptions_hold_their_budget_in_a_model() -> None:
    made = AdoptedModel(build(), budget(20), "head", Exceptions())
    whole, state = made.prefill(tokens())
    assert state.slots.counts.unique().tolist() == [20]
    first, state = made.prefill(tokens()[:, :41])
    rest, _ = made.prefill(tokens()[:, 41:], state)
    assert (torch.cat([first, rest], 1) - whole).abs().max() < 1e-5
