"""Exports with a tokenizer: strangers encode, decode and write text with them, and nothing is claimed without one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.corpus.text import keep_tokenizer
from l2m_design.corpus.tokenizers import TOKENIZER_FILES, tokenizer_files
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.card import card, write_card
from l2m_design.export.huggingface import Export, export_huggingface
from l2m_design.export.running import Running
from l2m_design.export.tokenizer import PROBE, Carried, carried
from tests.command import l2m

TEXT = "def größer(x):\n    return '∑ 日本'  # 😀\n"
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
SPARSE = {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 8, "exponent": 0.6}
FILES = {"tokenizer.json", "tokenizer_config.json"}
STRANGER = """
import json, sys
sys.modules["l2m_design"] = None
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
folder, own_code, text = sys.argv[1], sys.argv[2] == "remote", sys.argv[3]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=own_code)
tokens = tokenizer(text)["input_ids"]
write = pipeline("text-generation", model=folder, trust_remote_code=own_code)
written = write(text, max_new_tokens=24, do_sample=False, return_tensors=True)[0]["generated_token_ids"]
several = write([text, "a"], max_new_tokens=4)
special = [getattr(write.model.generation_config, f"{name}_token_id") for name in ("bos", "eos", "pad")]
print(json.dumps([tokens, tokenizer.decode(tokens), list(map(int, written)), len(several), special]))
"""


def drawing(layer: dict[str, Any] = ATTENTION, vocabulary: int = 256) -> Architecture:
    return Architecture.parse({"vocabulary": vocabulary, "width": 16, "layers": [layer]}, "drawing")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"{TEXT * 40}number {number * 7919} of {number}\n")
    return folder


def known(texts: Path, name: str, folder: Path) -> Any:
    """The tokenizer of the corpus, kept in a folder."""
    corpus: Any = open_corpus(str(texts), name)
    keep_tokenizer(corpus, folder)
    return corpus.tokenizer


@pytest.mark.parametrize("target", ["llama", "remote"])
@pytest.mark.parametrize("name", ["bytes", "bpe:300"])
def test_a_stranger_reads_and_writes_text_with_it(target: str, name: str, texts: Path, tmp_path: Path) -> None:
    own = known(texts, name, tmp_path / "known")
    layer = SPARSE if target == "remote" else ATTENTION
    result = export_huggingface(
        Export(drawing(layer, own.vocabulary), seed=4, tokenizer=Carried(tmp_path / "known")), tmp_path / "out"
    )
    assert result["target"] == target
    assert {Path(file).name for file in result["files"]} >= FILES
    done = subprocess.run(
        [sys.executable, "-P", "-c", STRANGER, str(tmp_path / "out"), target, TEXT],
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "token_id" in line], done.stderr
    tokens, text, written, several, special = json.loads(done.stdout.splitlines()[-1])
    assert tokens == own.encode(TEXT).tolist()
    assert text == TEXT
    assert len(written) == len(tokens) + 24  # no token ends it: there is no end token
    assert several == 2
    assert special == [None] * 3
    running = Running(tmp_path / "out", torch.device("cpu"))
    assert running.tokens(TEXT) == tokens
    assert running.text(tokens) == TEXT
    assert [step.token for step in running.write(tokens, 24, 0.0, 0)] == written[len(tokens) :]


def test_what_is_trained_on_text_is_exported_with_its_tokenizer_and_generates(texts: Path, tmp_path: Path) -> None:
    drawing(vocabulary=300).save(tmp_path / "drawing.yaml")
    recipe = ("length=64", "tokens=1024", "batch_tokens=256", "windows=16")
    words = [word for setting in recipe for word in ("--set", setting)]
    done = l2m("train", "drawing.yaml", "--corpus", texts, "--tokenizer", "bpe:300", *words, "--out", "mine", "--json",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {f"mine/{name}" for name in FILES} <= set(json.loads(done.stdout)["files"])
    words = ["export", "drawing.yaml", "--weights", "mine/weights.safetensors", "--to", "huggingface", "--out", "out"]
    done = l2m(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Tokenizer: byte-pair encoding, 300 tokens.\n" in done.stdout
    assert tokens_of(tmp_path / "out") == tokens_of(tmp_path / "mine")
    done = l2m("generate", "out", "--prompt", TEXT, "--tokens", "5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    own: Any = open_corpus(str(texts), "bpe:300")
    assert json.loads(done.stdout)["prompt_tokens"] == len(own.tokenizer.encode(TEXT)) < len(TEXT.encode())
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| tokenizer | byte-pair encoding, 300 tokens |" in readme
    assert "The folder has no tokenizer" not in readme
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "The state of " in ran.stdout
    words += ["--force", "--tokenizer", "none"]
    assert l2m(*words, cwd=tmp_path).returncode == 0
    assert not tokenizer_files(tmp_path / "out")
    assert "The folder has no tokenizer: tokens are the numbers 0 to 299" in (tmp_path / "out/README.md").read_text()


def tokens_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_card_takes_its_tokenizer_along(texts: Path, tmp_path: Path) -> None:
    known(texts, "bpe:300", tmp_path / "report")
    write_card(card(drawing(vocabulary=300), None, {}), tmp_path / "report")
    assert l2m("export", "report/card.json", "--out", "mine", cwd=tmp_path).returncode == 0
    assert tokens_of(tmp_path / "mine") == tokens_of(tmp_path / "report")
    done = l2m("export", "mine/card.json", "--to", "remote", "--out", "out", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["tokenizer"] == "byte-pair encoding, 300 tokens", done.stderr
    assert json.loads((tmp_path / "out" / "card.json").read_text())["export"]["tokenizer"]["decodes"]
    drawing(vocabulary=400).save(tmp_path / "other.yaml")
    assert l2m("export", "other.yaml", "--out", "mine", "--force", cwd=tmp_path).returncode == 0
    assert not tokenizer_files(tmp_path / "mine")


def test_bytes_are_written_when_they_are_named_and_then_only(tmp_path: Path) -> None:
    drawing().save(tmp_path / "drawing.yaml")
    words = ["export", "drawing.yaml", "--to", "llama", "--out", "out"]
    done = l2m(*words, cwd=tmp_path)
    assert "Tokenizer: none found; give one with --tokenizer.\n" in done.stdout
    assert not tokenizer_files(tmp_path / "out")
    assert "if these are bytes, `l2m export --tokenizer bytes`" in (tmp_path / "out" / "README.md").read_text()
    done = l2m(*words, "--tokenizer", "bytes", "--force", cwd=tmp_path)
    assert "Tokenizer: UTF-8 bytes, each numbered by its value, 256 tokens.\n" in done.stdout
    assert Running(tmp_path / "out", torch.device("cpu")).tokens("aß") == list("aß".encode())


def test_a_tokenizer_lies_beside_its_weights_not_beside_the_drawing_of_others(texts: Path, tmp_path: Path) -> None:
    known(texts, "bpe:300", tmp_path / "report")
    (tmp_path / "trained").mkdir()
    assert carried(None, tmp_path / "trained" / "weights.safetensors", str(tmp_path / "report")) is None
    assert carried("none", None, str(tmp_path / "report")) is None
    for source in (tmp_path / "report", tmp_path / "report" / "card.json"):
        assert carried(None, None, str(source)).tokens == 300  # type: ignore[union-attr]


def test_special_tokens_of_a_tokenizer_stand_in_the_config(tiny_llama: Path, tmp_path: Path) -> None:
    own = Carried(tiny_llama)
    export_huggingface(Export(drawing(vocabulary=own.tokens + 20), tokenizer=own), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [0, None, None]
    limits = (tmp_path / "out" / "README.md").read_text()
    assert f"- Tokens {own.tokens} to {own.tokens + 19} of the model have no text" in limits
    assert "has no end token" in limits


def test_mamba_ssm_has_it_too(texts: Path, tmp_path: Path) -> None:
    own = known(texts, "bpe:300", tmp_path / "known")
    result = export_huggingface(
        Export(drawing(vocabulary=300), tokenizer=Carried(tmp_path / "known")), tmp_path / "out", name="mamba-ssm"
    )
    assert result["tokenizer"] == "byte-pair encoding, 300 tokens"
    assert Carried(tmp_path / "out").tokens == own.vocabulary
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "import torch\nfrom transformers import AutoTokenizer\nfrom mamba_ssm" in readme


def test_other_corpora_have_none_and_clear_what_lay_there(texts: Path, tmp_path: Path) -> None:
    known(texts, "bpe:300", tmp_path)
    assert keep_tokenizer(open_corpus("markov:stay=0.9"), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_named_tokenizer_of_transformers_is_kept_as_it_was_loaded(
    texts: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    own = known(texts, str(tiny_llama), tmp_path / "kept")
    kept = Carried(tmp_path / "kept")
    assert kept._tokenizer.encode(PROBE).tolist() == own.encode(PROBE).tolist()
    configs = [json.loads((f / "tokenizer_config.json").read_text()) for f in (tiny_llama, tmp_path / "kept")]
    assert configs[0]["model_max_length"] == configs[1]["model_max_length"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tokenizer", "known", "--to", "card"], "tokenizer known: 300 tokens, the model's vocabulary is 299; "),
        (["--tokenizer", "known"], "tokenizer known: 300 tokens, the model's vocabulary is 299; give another"),
        (["--tokenizer", "nowhere"], "--tokenizer nowhere: must be a folder with a tokenizer.json, bytes or none"),
        (["--tokenizer", "./nowhere"], "--tokenizer ./nowhere: no such file or folder"),
        (["--tokenizer", "broken"], "tokenizer broken: "),
    ],
)
def test_what_cannot_be_carried_is_refused_in_one_line(
    words: list[str], said: str, texts: Path, tmp_path: Path
) -> None:
    known(texts, "bpe:300", tmp_path / "known")
    drawing(vocabulary=299).save(tmp_path / "drawing.yaml")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    done = l2m("export", "drawing.yaml", "--to", "llama", *words, "--out", "out", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_that_loads_as_another_is_not_written(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(texts, "bpe:300", tmp_path / "known")
    monkeypatch.setattr("l2m_design.export.tokenizer._ask", lambda folder, own_code: {"tokens": [1], "text": PROBE})
    with pytest.raises(WorkFailed, match="gives other tokens; nothing was written"):
        export_huggingface(
            Export(drawing(vocabulary=300), tokenizer=Carried(tmp_path / "known")), tmp_path / "out", name="llama"
        )
    assert not (tmp_path / "out").exists()


def test_names_of_tokenizer_files_are_those_that_transformers_writes(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= set(TOKENIZER_FILES)
    with pytest.raises(BadInput, match="bytes or none"):
        carried(str(tmp_path.parent), None, "")
