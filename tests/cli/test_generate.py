"""`l2m generate`: an exported folder writes text, and its state grows as the law says."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.export.huggingface import write_model
from l2m_design.export.running import Running, Written, print_text
from l2m_design.export.targets import pick
from l2m_design.model import build
from l2m_design.model.weights import read_tensors, write_tensors
from tests.command import l2m

ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
SPARSE = {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.6}


def made(folder: Path, layers: list[dict[str, Any]], vocabulary: int, name: str | None = None) -> Architecture:
    """An exported folder, without its proof."""
    drawing = Architecture.parse({"vocabulary": vocabulary, "width": 16, "layers": layers}, "drawing")
    torch.manual_seed(0)
    folder.mkdir()
    write_model(pick(drawing, name)[0], build(drawing), folder)
    return drawing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    made(folder / "remote", [SPARSE, {"kind": "mamba2", "d_state": 4, "head_dim": 8}], 256)
    made(folder / "small", [ATTENTION], 50)
    made(folder / "ssm", [ATTENTION], 50, "mamba-ssm")
    made(folder / "partly", [ATTENTION], 50, "remote")
    weights, notes = read_tensors(folder / "partly" / "model.safetensors")
    del weights["model.blocks.0.mixer.query.weight"]
    write_tensors(folder / "partly" / "model.safetensors", weights, notes)
    made(folder / "cut", [ATTENTION], 50)
    whole = (folder / "cut" / "model.safetensors").read_bytes()
    (folder / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    made(folder / "narrow", [ATTENTION], 50)
    made(folder / "deeper", [ATTENTION, ATTENTION], 50)
    shutil.copy(folder / "narrow" / "config.json", folder / "deeper" / "config.json")
    made(folder / "other", [ATTENTION | {"head_dim": 16}], 50)
    shutil.copy(folder / "other" / "model.safetensors", folder / "narrow" / "model.safetensors")
    (folder / "deep").mkdir()
    (folder / "deep" / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 1000000000}')
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "unknown").mkdir()
    (folder / "unknown" / "config.json").write_text('{"model_type": "no-such-model"}')
    (folder / "hostile").mkdir()
    hostile = {"model_type": "other", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "hostile" / "config.json").write_text(json.dumps(hostile))
    (folder / "hostile" / "evil.py").write_text("open('ran', 'w').close()\nclass Config: pass\nclass Model: pass\n")
    return folder


def test_its_state_grows_as_the_drawing_says(folder: Path) -> None:
    done = l2m("generate", "remote", "--prompt", "abc", "--tokens", "40", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    config = json.loads((folder / "remote" / "config.json").read_text())
    law = Architecture.parse(config["drawing"], "config").state
    assert answer["state_bytes"] == {str(t): law.bytes(t, "float32") for t in range(3, 43)}
    assert (answer["format"], answer["prompt_tokens"], len(answer["tokens"])) == ("L2MForCausalLM", 3, 40)
    assert answer["tokens_per_second"] > 0
    shown = l2m("generate", "remote", "--prompt", "abc", "--tokens", "40", cwd=folder).stdout
    assert "bytes at 3, " in shown
    assert f"{law.bytes(42, 'float32'):,} bytes at 42 tokens" in shown
    assert shown.startswith(f"abc{answer['text']}\n")


def test_a_prompt_that_is_not_utf8_is_read_as_its_bytes(folder: Path) -> None:
    done = l2m("generate", "remote", "--prompt", b"\xff\xfea".decode(errors="surrogateescape"), "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["prompt_tokens"] == 3
    shown = l2m("generate", "remote", "--prompt", os.fsdecode(b"\xff"), "--tokens", "2", cwd=folder)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_what_was_written_before_an_interrupt_is_on_the_screen(folder: Path, capsys: Any) -> None:
    running = Running(folder / "small", torch.device("cpu"))

    def interrupted() -> Iterator[Written]:
        yield from running.write([3, 1], 4, 0.0, 0)
        raise KeyboardInterrupt

    taken: list[Written] = []
    with pytest.raises(KeyboardInterrupt):
        taken.extend(print_text(running, [3, 1], interrupted()))
    written = [step.token for step in running.write([3, 1], 4, 0.0, 0)]
    assert capsys.readouterr().out == running.text([3, 1, *written]) + "\n"


def test_it_writes_what_generate_of_transformers_writes(folder: Path) -> None:
    running = Running(folder / "small", torch.device("cpu"))
    prompt = running.tokens("3 1 2")
    assert prompt == [3, 1, 2]
    written = [step.token for step in running.write(prompt, 12, 0.0, 0)]
    theirs = running.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    assert theirs[0, 3:].tolist() == written
    assert running.text(written) == " ".join(map(str, written))
    sampled = [[step.token for step in running.write(prompt, 12, 1.0, seed)] for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_folder_with_a_tokenizer_takes_and_writes_text(tiny_llama: Path) -> None:
    running = Running(tiny_llama, torch.device("cpu"))
    prompt = running.tokens("the cat sat")
    assert running.text(prompt).endswith("the cat sat")
    assert len(list(running.write(prompt, 3, 0.0, 0))) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--prompt", "a"], "nowhere/config.json: no such file; `l2m export"),
        (["broken", "--prompt", "a"], "broken/config.json: not JSON"),
        (["partly", "--prompt", "1"], "weights are missing: model.blocks.0.mixer.query.weight"),
        (["cut", "--prompt", "1"], "cut: cannot be loaded"),
        (["narrow", "--prompt", "1"], "narrow: weights have sizes that contradict config.json: model.layers.0"),
        (
            ["deeper", "--prompt", "1"],
            "deeper: weights are not part of the model that config.json describes: model.layers.1.",
        ),
        (["deep", "--prompt", "1"], "num_hidden_layers: found 1,000,000,000, at most 1,024 layers are supported"),
        (["unknown", "--prompt", "a"], "unknown: cannot be loaded"),
        (["hostile", "--prompt", "a"], "hostile: cannot be loaded"),
        (["ssm", "--prompt", "a"], "a file of mamba_ssm"),
        (["small", "--prompt", "abc"], "give token numbers, such as '1 2 3'"),
        (["small", "--prompt", "1 50"], "each from 0 to 49"),
        (["remote", "--prompt", ""], "must have at least one token"),
        (["remote", "--prompt", "a", "--tokens", "0"], "--tokens"),
        (["remote", "--prompt", "a", "--tokens", "9" * 20], "--tokens"),
        (["remote", "--prompt", "a", "--temperature", "-1"], "--temperature"),
        (["remote", "--prompt", "a", "--seed", "99999999999999999999"], "--seed"),
        (["remote", "--prompt", "a", "--device", "gpu7"], "device gpu7"),
        (["remote"], "--prompt"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str, folder: Path) -> None:
    done = l2m("generate", *words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("l2m: ")
    assert said in done.stderr
    assert not (folder / "ran").exists()


def test_an_adopted_model_writes_with_its_bounded_cache(tmp_path: Path) -> None:
    from l2m_design.export.adopted import export_adopted
    from tests.model.test_adopted import adopted
    from tests.model.test_adopted import build as llama

    model = llama("Llama")
    model.save_pretrained(tmp_path / "model")
    made_ = adopted(model, "model")
    export_adopted(made_, str(tmp_path / "model"), tmp_path / "out", trained=False, losses="", force=False)
    done = l2m("generate", str(tmp_path / "out"), "--prompt", "1 2 3", "--tokens", "60", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "AdoptedLlamaForCausalLM"
    assert found["state_bytes"]["60"] == made_.cache_bytes(60)
