"""Any drawing as a folder with its own code: it loads without this package, evicts, and generates in every way."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import l2m_design.export.hub
from l2m_design.architecture import Architecture
from l2m_design.export.bundle import bundle, needed
from l2m_design.export.hub.bounded import CACHE
from l2m_design.export.huggingface import Export, export_huggingface, write_model
from l2m_design.export.loaded import examine
from l2m_design.export.proof import STEPS, judge, tokens_for
from l2m_design.export.targets import pick
from l2m_design.model import build, state_elements

ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
SPARSE = {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.6}
MAMBA = {"kind": "mamba2", "d_state": 4, "head_dim": 8}
LAYERS = [
    ATTENTION | {"window": 12, "sinks": 2}, ATTENTION | {"short_conv": 3, "qk_norm": True}, SPARSE, MAMBA,
    ATTENTION | {"heads": 1, "head_dim": 6},
    SPARSE | {"choose": "learned"}, SPARSE | {"allocate": "global", "choose": "surprise"},
    SPARSE | {"allocate": "global", "choose": "value"}, SPARSE | {"allocate": "layer", "choose": "use"},
    SPARSE | {"allocate": "global", "choose": "recency"},
    MAMBA | {"state_dtype": "bfloat16", "groups": 2}, {"kind": "mamba1", "d_state": 4},
    {"kind": "gated_deltanet", "heads": 2, "head_dim": 6},
    {"kind": "log_linear", "d_state": 4, "head_dim": 8},
    {"kind": "checkpointed_ssm", "d_state": 4, "head_dim": 8, "exponent": 0.6},
    {"kind": "mla", "heads": 2, "head_dim": 8, "kv_rank": 6, "rope_dim": 4, "qk_norm": True},
]  # fmt: skip
MIXED = [SPARSE, MAMBA, ATTENTION | {"window": 12, "sinks": 2}]
FEW = settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def drawing(layers: list[dict[str, Any]], **changes: Any) -> Architecture:
    return Architecture.parse({"vocabulary": 40, "width": 16, "layers": layers} | changes, "drawing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sparse keys, Mamba-2 and a window with sinks, proven by a process that cannot import this package."""
    folder = tmp_path_factory.mktemp("remote") / "mixed"
    result = export_huggingface(Export(drawing(MIXED), seed=2), folder)
    assert (result["format"], result["label"], result["target"]) == ("L2MForCausalLM", "remote code", "remote")
    assert result["max_logit_difference"] == 0
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    """The same, loaded by the registered classes: no code of the folder runs."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(model).__module__ == "l2m_design.export.hub.modeling"
    return model


@FEW
@given(layers=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3), tied=st.booleans())
def test_any_drawing_comes_back_the_same_and_holds_its_law(
    layers: list[dict[str, Any]], tied: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    architecture, folder = drawing(layers, tied_embeddings=tied), tmp_path_factory.mktemp("drawn")
    target, _ = pick(architecture, "remote")
    torch.manual_seed(1)
    own, tokens = build(architecture).eval(), tokens_for(architecture)
    write_model(target, own, folder)
    proof = judge(own, target, tokens, *examine(str(folder), tokens, STEPS, own_code=False))
    assert proof.max_logit_difference == 0
    assert proof.cache_bytes == architecture.state.bytes(proof.tokens, "float32")


def test_what_no_class_of_transformers_carries_gets_its_own_code() -> None:
    for layer in (SPARSE, ATTENTION | {"short_conv": 3}, MAMBA):
        target, passed_over = pick(drawing([layer]))
        assert target.name == "remote"
        assert all("layers" in why for why in passed_over.values())
    shared = drawing([ATTENTION, ATTENTION | {"share": 0}])
    assert pick(shared)[0].name == "remote"


def test_every_way_of_writing_is_the_same_with_and_without_a_cache(model: Any) -> None:
    tokens = torch.randint(0, 40, (2, 45), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[1, :20] = 0
    ways: dict[str, dict[str, Any]] = {
        "greedy": {"do_sample": False},
        "beam": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
        "beams in a padded batch": {"do_sample": False, "num_beams": 3, "attention_mask": mask},
        "sampling": {"do_sample": True, "temperature": 0.8, "top_k": 20},
    }
    for way in ways.values():
        written = []
        for use_cache in (True, False):
            torch.manual_seed(7)
            written.append(model.generate(tokens, max_new_tokens=20, use_cache=use_cache, **way))
        assert torch.equal(*written), way


def test_a_padded_batch_writes_and_holds_what_each_row_does_alone(model: Any, folder: Path) -> None:
    law = Architecture.load(folder).state
    rows = [torch.randint(0, 40, (n,), generator=torch.Generator().manual_seed(n)) for n in (5, 33, 60)]
    batch, mask = torch.zeros(3, 60, dtype=torch.long), torch.zeros(3, 60, dtype=torch.long)
    for place, row in enumerate(rows):
        batch[place, -len(row) :], mask[place, -len(row) :] = row, 1
    said = model.generate(batch, attention_mask=mask, max_new_tokens=15, do_sample=False, pad_token_id=0,
                          return_dict_in_generate=True)  # fmt: skip
    for place, row in enumerate(rows):
        alone = model.generate(row[None], max_new_tokens=15, do_sample=False)
        assert torch.equal(said.sequences[place, 60:], alone[0, len(row) :])
    cache = said[CACHE]
    assert cache.get_seq_length() == 60 + 14  # the last token written is not read
    assert [group.rows for group in cache.groups] == [[0], [1], [2]]
    for group, row in zip(cache.groups, rows, strict=True):
        assert state_elements(group.state) == law.elements(len(row) + 14)


def test_padding_anywhere_is_not_read(model: Any) -> None:
    row = torch.arange(12)[None] % 40
    alone = model(row).logits
    mask = torch.ones(1, 16, dtype=torch.long)
    mask[0, [0, 5, 6, 15]] = 0
    padded = torch.zeros(1, 16, dtype=torch.long)
    padded[mask.bool()] = row[0]
    for use_cache in (True, False):
        said = model(padded, attention_mask=mask, use_cache=use_cache).logits
        torch.testing.assert_close(said[mask.bool()], alone[0])
        assert not said[~mask.bool()].any()


def test_a_cache_follows_its_rows(model: Any) -> None:
    tokens = torch.randint(0, 40, (3, 30), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(tokens)
    mask[1, :7] = 0
    cache = model(tokens, attention_mask=mask, use_cache=True)[CACHE]
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([4, 3, 3, 0]))
    new = torch.tensor([[1], [2], [3], [4]])
    said = model(new, past_key_values=cache).logits[:, 0]
    for place, row in enumerate((tokens[2], tokens[1, 7:], tokens[1, 7:], tokens[0])):
        alone = model(torch.cat([row, new[place]])[None]).logits[0, -1]
        torch.testing.assert_close(said[place], alone, atol=1e-4, rtol=0)
    with pytest.raises(RuntimeError, match="rolled back"):
        cache.crop(-1)
    cache.reset()
    assert (cache.batch_size, cache.get_seq_length()) == (4, 0)


def test_it_trains_and_is_saved_again(model: Any, tmp_path: Path) -> None:
    tokens = torch.arange(40)[None]
    model.train()
    model(tokens, labels=tokens).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad(), model.eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(tokens).logits, model(tokens).logits)


def test_the_example_of_the_card_runs_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    own = os.environ | {"HF_MODULES_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[:3] == [0, 1, 0]


@pytest.mark.parametrize("given", [
    {"inputs_embeds": torch.zeros(1, 3, 16)}, {"input_ids": torch.zeros(1, 3).long(), "cache": object()},
    {"input_ids": torch.zeros(1, 3).long(), "attention_mask": torch.ones(1, 1, 3, 3)},
    {"input_ids": torch.zeros(1, 3).long(), "attention_mask": torch.zeros(1, 3)},
    {"input_ids": torch.zeros(1, 3).long(), "output_hidden_states": True},
])  # fmt: skip
def test_what_cannot_be_read_is_refused(model: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|are required|must not be masked|returns logits only"):
        model(**given)


def test_a_config_with_a_broken_drawing_is_refused(folder: Path, tmp_path: Path) -> None:
    text = (folder / "config.json").read_text().replace('"d_state": 4', '"d_state": -4')
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: drawing: .*d_state"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_the_bundle_is_this_packages_code_and_imports_nothing_of_it() -> None:
    files = bundle()
    assert {"configuration_l2m.py", "modeling_l2m.py", "l2m_model_ssm.py"} <= set(files)
    for name, text in files.items():
        assert text.startswith("# Generated from l2m_design."), name
        assert not needed(text), name
    source = Path(os.path.dirname(l2m_design.__file__), "model", "ssm.py").read_text()
    assert files["l2m_model_ssm.py"].splitlines()[-20:] == source.splitlines()[-20:]
    with pytest.raises(ValueError, match=r"write from l2m_design\.laws import"):
        needed("import l2m_design.laws")
