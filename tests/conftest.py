"""Fixtures that every test may use: a token cache of its own, the exact answers, small drawings."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "false"  # the load of the machine is no part of any answer
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks a hub; where none answers, its retries would cost half a minute

TESTS = Path(__file__).parent
# what starts processes, trains, compiles, needs a server or reads much; single tests are marked where they stand
INTEGRATION = (
    "benchmarks/",
    "browser/",
    "calibration/",
    "cli/",
    "end_to_end/",
    "export/",
    "house/test_shipped.py",
    "information/test_compression.py",
    "information/test_measure.py",
    "information/test_server.py",
    "library/",
    "model/test_contract.py",
    "model/test_kernels.py",
    "model/test_thinned.py",
    "search/",
    "training/",
)
UNIT = (  # of these folders, what needs no mark
    "benchmarks/test_accept_path.py",
    "benchmarks/test_accept_rows.py",
    "cli/test_check_advice.py",
    "cli/test_options.py",
    "export/test_targets.py",
    "search/test_layout.py",
    "search/test_schema.py",
    "search/test_space.py",
    "search/test_watch.py",
    "training/test_context.py",
    "training/test_excess.py",
    "training/test_optimiser.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make check` leaves out what is marked integration, by its file."""
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        if place.startswith(INTEGRATION) and not place.startswith(UNIT):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("L2M_CACHE")
    os.environ["L2M_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["L2M_CACHE"]
    else:
        os.environ["L2M_CACHE"] = before


@pytest.fixture(scope="session")
def truth() -> dict[str, Any]:
    """Exact values, made by tests/reference/make_truth.py."""
    return json.loads((Path(__file__).parent / "reference" / "truth.json").read_text())


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    """Forty text files of 3 kB, different from each other, with repeats inside each."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for index in range(40):
        words = [f"word{(index * 7 + k * k) % 97} " for k in range(400)]
        (folder / f"{index:02d}.txt").write_text(("".join(words) * 2)[:3000])
    return folder


@pytest.fixture
def many_texts(tmp_path: Path) -> Path:
    """200 text files of 900 bytes, of random words: about 20 in each held-out split."""
    rng, folder = random.Random(0), tmp_path / "texts"
    folder.mkdir()
    for index in range(200):
        words = "".join(f"word{rng.randrange(97)} " for _ in range(150))
        (folder / f"{index:03d}.txt").write_text(words[:900])
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of random weights, context 128, and a byte-level BPE tokenizer with a start token."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["the cat sat on the mat and the dog ate the rat"] * 4, 300, special_tokens=["<s>"])
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=bpe.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
