"""Studies with `start` that cannot be are refused in one line, before any weights are loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from l2m_design.errors import BadInput
from l2m_design.search.adoption.knapsack import units_of
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.settings import to_yaml
from l2m_design.training import start as begin
from l2m_design.training.healing import Healing
from l2m_design.training.start import StartModel
from tests.search.adopted import ADOPTION, study

pytestmark = pytest.mark.usefixtures("one_store")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": "nowhere/at/all"}, "start: nowhere/at/all: no such file or folder"),
        ({"length": 200}, "length: 200: must be at most 128, the number of positions of "),
        ({"condition": {"length": 4096}}, "condition.length: 4096: must be at most 128, the number of positions"),
        ({"condition": {"length": 64}}, "condition.length: 64 must be at least length .100."),
        (
            {"budgets": [0.01]},
            "budgets.0: 0.01: .* bytes are less than the smallest plan needs .W W: .* of the model's",
        ),
        ({"budgets": [900]}, "budgets.0: 900: 900 bytes are less than the smallest plan needs"),
        ({"budgets": []}, "budgets: "),
        ({"budgets": [0.7, 0.5, 0.7]}, "budgets.2: 0.7: is the same budget as budgets.0; remove one"),
        ({"budgets": [1e30]}, r"budgets.0: 1e\+30: 1e\+30 bytes are more than the state of the model itself"),
        ({"limits": {100: 0.5}}, "limits: 100 must be below the target length .100."),
        ({"limits": {50: 0.01}}, "limits: no plan meets {50: 0.01} and what else is required; give higher limits"),
        ({"options": []}, "options: "),
        ({"options": [{"cache": "windw", "share": 0.5}]}, "options.0.cache: input should be 'window'"),
        ({"options": [{"cache": "window"}]}, "options.0: cache: window needs either a share or a window"),
        ({"options": [{"cache": "none", "share": 0.5}]}, "options.0: share and window: not allowed with cache: none"),
        ({"options": [{"cache": "share", "share": 0.5}]}, "options.0: share and window: not allowed with cache: share"),
        ({"options": [{"cache": "share"}], "grain": "head"}, "options.0: cache: share needs grain: layer"),
        (
            {"options": [{"cache": "window", "share": 0.5, "exponent": 0.5}]},
            "exponent and choose: allowed with cache: sparse only",
        ),
        (
            {"options": [{"cache": "window", "window": 20, "sinks": 4}]},
            "options.0: sinks: allowed with .* only, found window",
        ),
        (
            {"options": [{"cache": "window", "share": 0.3}, {"cache": "window", "window": 31}]},
            "options.1: window 31: is the same cache as options.0",
        ),
        (
            {"options": [{"cache": "window", "share": [0.3, 0.3]}]},
            "options.0: window 31: is the same cache as options.0",
        ),
        (
            {"options": [{"cache": "window", "window": 100}]},
            "options.0: window 100: evicts nothing in windows of 100 tokens",
        ),
        ({"options": [{"cache": "sinks+window", "window": 97}]}, "options.0: window 97 . 4 sinks: evicts nothing"),
        ({"options": [{"cache": "sparse", "window": 50}]}, "window: not allowed with cache: sparse"),
        ({"options": [{"cache": "sparse", "share": 0.1}]}, "options.0: 10 tokens are too few .* a smaller chunk"),
        ({"options": [{"cache": "window", "share": 0.5, "sink": 3}]}, "unknown key 'sink'; did you mean 'sinks'"),
        ({"finetune": {"tokens": 9, "rank": 4}}, "finetune: rank: only for method: lora, found all"),
        ({"chunk": 12}, "chunk: 12 must be a power of two"),
        ({"windows": {"recall": 11, "test": 10}}, "windows.recall: 11 must be at most windows.test .10."),
        (
            {"windows": {"recall": 2, "test": 10, "costs": 2}},
            "windows.recall: 2: 100 tokens: too few; the facts .* need .* or more; give a larger `length`, or "
            "windows.recall: 0",
        ),
        (
            {"windows": {"test": 9, "recall": 0}},
            "windows.test: 9 windows of 100 tokens come from 9 test documents .* at least 10",
        ),
        (
            {"windows": {"test": 4000, "recall": 0}},
            "windows.test: 4000: only .* the test documents of .* without overlap; .* at most",
        ),
        (
            {"corpus": "one.txt", "windows": {"test": 40, "recall": 0}},
            "windows.test: 40: only [0-9] windows .* the test documents",
        ),
        ({"corpus": "texts:tokenizer=bytes"}, "has .* tokens, .* has 256|another tokenizer than the model"),
        ({"demand": {"measure": {"split": "test"}}}, "demand.measure.split: must be train or validation"),
        (
            {"demand": {"beta": 0.7, "prefactor": 1e9}},
            "no plan meets the condition, not even the full cache of the model",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_a_line(place: Path, fields: dict[str, Any], message: str) -> None:
    (place / "one.txt").write_text("word more " * 400)
    (place / "study.yaml").write_text(to_yaml(ADOPTION | fields))
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
    falcon = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4}
    return {
        "bloom": (hf.BloomForCausalLM(hf.BloomConfig(**wide)), "its keys cannot be moved"),
        "mpt": (hf.MptForCausalLM(mpt), "its keys cannot be moved"),
        "gpt_neox": (hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**sizes)), "its layers are not those of a plain decoder"),
        "mamba": (
            hf.MambaForCausalLM(hf.MambaConfig(**words, hidden_size=32, num_hidden_layers=2, state_size=4)),
            "has no attention, so there is no cache",
        ),
        "gemma2": (hf.Gemma2ForCausalLM(hf.Gemma2Config(**sizes, head_dim=16)), "soft caps or learned sinks"),
        "falcon_h1": (
            hf.FalconH1ForCausalLM(hf.FalconH1Config(**sizes, **falcon)),
            "layers of type hybrid are not supported",
        ),
    }


def test_models_whose_attention_cannot_be_replaced(place: Path, tiny_llama: Path) -> None:
    for name, (model, message) in models().items():
        folder = Path(shutil.copytree(tiny_llama, place / name))
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder)
        refused(place, folder, f"{message}.*; give .* with full or sliding attention with rotary")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "t5"}, "t5: models with cross attention are not supported; give a decoder with full"),
        ({"model_type": "bart"}, "bart: models with cross attention are not supported; give a decoder with full"),
        ({"model_type": "mllama_text_model"}, "with cross attention are not supported; give a decoder with full"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}},
            "needs Python code of its own .*, which is not run; use a model that transformers supports",
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
    (place / "study.yaml").write_text(to_yaml(ADOPTION | {"start": str(folder)}))
    with pytest.raises(BadInput, match=f"start: {folder}: .*{message}") as found:
        study(place).run()
    assert "\n" not in str(found.value)
    assert not (place / "reports").exists()


def test_a_model_without_a_tokenizer_is_not_silently_read_as_bytes(place: Path, tiny_llama: Path) -> None:
    bare = place / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to(tiny_llama / name)
    (place / "study.yaml").write_text(to_yaml(ADOPTION | {"start": "bare"}))
    with pytest.raises(BadInput, match=r"start: .*bare: no tokenizer that can be loaded; .*:tokenizer=NAME") as refused:
        study(place)
    assert "\n" not in str(refused.value)
    meant = study(place, "corpus=texts:tokenizer=bytes")  # 256 tokens fit into the model's, which are more
    assert meant.corpus.vocabulary == 256


def test_nothing_is_reselected_that_was_not_searched(place: Path) -> None:
    with pytest.raises(BadInput, match="contains no study"):
        study(place).reselect()
    study(place, "correction={random_plans: 0, trials: 1}", "budgets=[0.7]").run()
    with pytest.raises(BadInput, match="options: window 31 in layer 0 was not measured; search again"):
        study(place, "options=[{cache: window, share: 0.3}]").reselect()


def test_healing_that_a_gpu_has_no_memory_for_is_refused_before_anything_is_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = 4 * sum(weight.numel() for weight in StartModel(str(place / "model"), "cpu")._model.parameters())
    monkeypatch.setattr(begin, "free_memory", lambda device: 3 * weights)
    with pytest.raises(BadInput, match=rf"finetune.method: needs {4 * weights:,} bytes on cpu.*; give method: lora"):
        study(place, "finetune={tokens: 200}").run()
    assert not (place / "runs/small/costs.jsonl").exists()
    StartModel(str(place / "model"), "cpu").check_healing(Healing(200, "lora"), "finetune.method")


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
    settings = AdoptionSettings.parse(ADOPTION, "study")
    shape = study(place).shape
    assert len(units_of(shape, settings.kept, "head")) == 2 * shape.kv_heads
