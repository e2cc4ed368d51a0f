"""`l2m cache`: a trained model's losses with thinned caches; bad input is one line."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from l2m_design.corpus import open_corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.information.scores.huggingface import load_scorer
from l2m_design.training.batches import held_out_windows
from tests.command import l2m

DRAWING = """
vocabulary: 34
width: 32
layers:
  - {kind: mamba2, d_state: 8, head_dim: 8}
  - {kind: attention, heads: 2, kv_heads: 2, head_dim: 16, qk_norm: true, short_conv: 4}
"""
SOURCE = "santa-fe:beta=0.5,pairs=64,keys=32,documents=200"


one_thread = partial(l2m, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "drawing.yaml").write_text(DRAWING)
    sets = [word for key in ("length=127", "tokens=8000", "batch_tokens=1024", "windows=8") for word in ("--set", key)]
    done = one_thread("train", "drawing.yaml", "--corpus", SOURCE, *sets, "--out", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_choice_is_compared_with_the_full_cache(trained: Path) -> None:
    choices = ["recency", "sinks+window", "surprise", "value", "key_norm", "attention_mass", "spread"]
    words = ["model", "--corpus", SOURCE, "--length", "128", "--chunk", "8", "--sinks", "2", "--teach", "3"]
    words += [word for choose in choices for word in ("--choose", choose)] + ["--share", "1", "--share", "0.25"]
    done = one_thread("cache", *words, "--json", cwd=trained)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(row["choose"], row["share"]) for row in found["caches"]] == [(c, s) for c in choices for s in (1.0, 0.25)]
    for row in found["caches"]:
        difference = row["late_difference"]
        assert difference["low"] <= difference["value"] <= difference["high"]
        if row["share"] == 1:
            assert abs(difference["value"]) < 1e-4
        else:
            assert row["state_elements"] < found["full"]["state_elements"] / 2
    shown = one_thread("cache", *words[:11], "--choose", "surprise", "--share", "0.25", cwd=trained)
    assert "Late loss" in shown.stdout
    assert "surprise" in shown.stdout


def test_a_model_of_hugging_face_is_read_by_its_own_tokenizer(tiny_llama: Path, text_folder: Path) -> None:
    words = ["--corpus", str(text_folder), "--length", "100", "--chunk", "8", "--choose", "surprise", "--share", "0.4"]
    done = one_thread("cache", str(tiny_llama), *words, "--json", cwd=text_folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["caches"][0]["state_elements"] > 0
    longer = ["--corpus", str(text_folder), "--length", "129", "--chunk", "8", "--choose", "surprise", "--share", "0.4"]
    too_long = one_thread("cache", str(tiny_llama), *longer, cwd=text_folder)
    assert too_long.returncode == 2
    assert "--length 129: " in too_long.stderr
    assert "reads at most 128 tokens" in too_long.stderr
    refused = one_thread("cache", str(tiny_llama), *words, "--choose", "value", cwd=text_folder)
    assert refused.returncode == 2
    assert "--choose value: works for models of `l2m train` only" in refused.stderr


@pytest.mark.parametrize("starts", [True, False])
def test_windows_are_read_behind_the_start_token_as_estimate_reads_them(
    tiny_llama: Path, text_folder: Path, tmp_path: Path, starts: bool
) -> None:
    """The full cache's late loss is that of the model itself, fed with the start token where there is one."""
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    if not starts:
        for name, keys in (("tokenizer_config.json", ("bos_token",)), ("config.json", ("bos_token_id",))):
            plain = json.loads((model / name).read_text())
            (model / name).write_text(json.dumps({**plain, **dict.fromkeys(keys)}))
        (model / "special_tokens_map.json").unlink(missing_ok=True)
    words = ["--corpus", str(text_folder), "--length", "128", "--chunk", "8", "--share", "0.3"]
    choices = ["--choose", "sinks+window", "--choose", "streaming-llm"]
    done = one_thread("cache", str(model), *words, *choices, "--json", cwd=text_folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["start_token"] == (0 if starts else None)
    corpus = open_corpus(str(text_folder), str(model))
    windows = held_out_windows(corpus, "test", 127, 8)
    scorer = load_scorer(str(model), unigram_nats(corpus.all_documents, corpus.vocabulary), torch.device("cpu"))
    nats = scorer.nats(windows.tokens(slice(None)))[:, 64:]
    assert found["full"]["late_loss"] == pytest.approx(nats.mean(), abs=1e-5)
    text, streaming = (row["late_loss"] for row in found["caches"])
    assert text != streaming
    assert {row["state_elements"] for row in found["caches"]} == {2 * 2 * 32 * 38}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model", "--share", "0"], "--share 0.0: must be above 0 and at most 1"),
        (["model", "--share", "0.05"], "--choose sinks+window --share 0.05: slots (6): two chunks of 8 tokens"),
        (["model", "--choose", "streaming-llm"], "--choose streaming-llm: works for Hugging Face models only"),
        (["model", "--chunk", "12"], "chunk (12) must be a power of two"),
        (["model", "--choose", "learned"], "choose (learned): needs to be trained with the model"),
        (["model", "--choose", "best"], "choose: input should be 'spread'"),
        (["model", "--windows", "2"], "--windows 2: must be 8 to 100000"),
        (["model", "--split", "all"], "all"),
        (["model", "--teach", "0"], "--teach 0: must be at least 1 step"),
        (["./nowhere/else", "--share", "0.05"], "./nowhere/else"),
    ],
)
def test_what_cannot_be_is_one_line(trained: Path, words: list[str], message: str) -> None:
    given = ["--length", "128", "--chunk", "8", "--corpus", SOURCE]
    given = [word for pair in zip(given[::2], given[1::2], strict=True) if pair[0] not in words for word in pair]
    done = one_thread("cache", *words, *given, cwd=trained)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dry_run_says_what_would_be_read(trained: Path) -> None:
    done = one_thread(
        "cache", "model", "--corpus", SOURCE, "--length", "128", "--chunk", "4", "--dry-run", "--json", cwd=trained
    )
    assert json.loads(done.stdout) == {"caches": 12, "windows": 8, "tokens_read": 13 * 8 * 128}


def test_a_model_is_adopted_and_written(tiny_llama: Path, text_folder: Path, tmp_path: Path) -> None:
    words = ["--corpus", str(text_folder), "--length", "100", "--chunk", "8", "--choose", "use", "--share", "0.4"]
    words += ["--choose", "sinks+window", "--fit", "2", "--growth", "0.7", "--finetune", "200"]
    done = one_thread("cache", str(tiny_llama), *words, "--out", "bounded", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    use, window = found["caches"]
    assert (use["allocate"], window["allocate"]) == ("model", None)
    assert use["state_elements"] < found["full"]["state_elements"]
    assert found["written"]["format"] == "AdoptedLlamaForCausalLM"
    text = (tmp_path / "bounded" / "README.md").read_text()
    assert "0.4 of the full cache costs" in text
    again = one_thread("cache", str(tiny_llama), *words, "--out", "bounded", cwd=tmp_path)
    assert again.returncode == 2
    assert "already contains files" in again.stderr


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--out", "x"], "--out: needs --choose use"),
        (["--choose", "use", "--out", "x"], "--out: needs exactly one --share, found 3"),
        (["--choose", "use", "--allocate", "row"], "--allocate row: must be head, layer or model"),
        (["--choose", "use", "--growth", "1.5"], "--growth 1.5: must be above 0 and at most 1"),
        (["--choose", "use", "--fit", "0"], "--fit 0: must be at least 1 window"),
        (["--choose", "use", "--finetune", "abc"], "--finetune: found 'abc'"),
        (["--choose", "use", "--finetune=-5", "--share", "0.4"], "--finetune -5: must be 0 or more tokens"),
        (["--fit", "3"], "--fit: needs --choose use"),
    ],
)
def test_options_of_use_that_cannot_be(tiny_llama: Path, text_folder: Path, words: list[str], wrong: str) -> None:
    done = one_thread("cache", str(tiny_llama), "--corpus", str(text_folder), *words, cwd=text_folder)
    assert done.returncode == 2
    assert wrong in done.stderr


def test_sliding_layers_keep_their_windows(tiny_llama: Path, text_folder: Path, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = Path(shutil.copytree(tiny_llama, tmp_path / "qwen2"))
    tokens = json.loads((folder / "config.json").read_text())["vocab_size"] + 8
    sizes = {"vocab_size": tokens, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 128}
    heads = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 24}
    config = Qwen2Config(**sizes, **heads, use_sliding_window=True, max_window_layers=1, bos_token_id=0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    words = ["--corpus", str(text_folder), "--length", "100", "--chunk", "8", "--choose", "use", "--share", "0.4"]
    done = one_thread("cache", str(folder), *words, "--fit", "1", "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["full"]["state_elements"] == 2 * 2 * 8 * (100 + 2 * 24)
    assert found["written"]["format"] == "AdoptedQwen2ForCausalLM"


def test_use_is_for_models_of_hugging_face(trained: Path) -> None:
    done = one_thread("cache", "model", "--corpus", SOURCE, "--choose", "use", cwd=trained)
    assert done.returncode == 2
    assert "--choose use: works for Hugging Face models only; export this model first" in done.stderr
