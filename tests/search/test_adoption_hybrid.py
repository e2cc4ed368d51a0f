"""Studies with `start` of a hybrid model: recurrent layers stay as they are, and their bytes count."""

import json
import shutil
from pathlib import Path

import pytest

from l2m_design.architecture.plans import CachePlan
from l2m_design.settings import to_yaml
from tests.command import l2m
from tests.search.adopted import ADOPTION, study

pytestmark = pytest.mark.usefixtures("one_store")


@pytest.fixture
def hybrid_place(place: Path, tiny_llama: Path) -> Path:
    """As `place`, with an LFM2 of random weights: a convolution, then two layers of attention."""
    import transformers as hf

    sizes = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    layers = {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "full_attention"]}
    words = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = hf.Lfm2Config(**sizes, **layers, **words, num_key_value_heads=1, max_position_embeddings=128)
    (place / "model").unlink()
    shutil.copytree(tiny_llama, place / "model")
    hf.Lfm2ForCausalLM(config).save_pretrained(place / "model")
    (place / "study.yaml").write_text(to_yaml(ADOPTION | {"correction": {"random_plans": 2, "trials": 2}}))
    return place


def test_a_hybrid_is_searched_and_exported(hybrid_place: Path) -> None:
    work = study(hybrid_place)
    assert [unit.layer for unit in work.units] == [1, 2]
    state = work.shape.own(0)
    assert state.elements > 0
    done = l2m("search", "study.yaml", "--json", "--set", "choice.delta=5.0", cwd=hybrid_place, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    chosen = json.loads(done.stdout)["chosen"]
    plan = CachePlan.of_plain(chosen["layers"], 1)
    assert plan.picture[0] == "R"
    assert chosen["state_bytes"] == plan.bytes(100, 16, "bfloat16")
    exported = l2m("export", "reports/small/plan.yaml", "--to", "huggingface", "--out", "out", cwd=hybrid_place)
    assert exported.returncode == 0, exported.stderr
