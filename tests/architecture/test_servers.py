"""What servers allot, held to lines that they printed: logs in public repositories and issues, quoted beside each.

Models are given by their sizes as published; their logs are of one GPU unless it says otherwise.
"""

from typing import Any

import pytest

from l2m_design.architecture.readers import llama_cpp, published, vllm
from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes, StateLaw, StateTerm, Tokens

MIB = 2**20
F16 = Dtypes(cache="float16")


def qwen35(layers: int, value_heads: int, kv_heads: int) -> dict[str, Any]:
    return {"model_type": "qwen3_5_text", "num_hidden_layers": layers, "linear_num_value_heads": value_heads,
            "num_key_value_heads": kv_heads, "mamba_ssm_dtype": "float32"}  # fmt: skip


def gpt_oss(layers: int) -> dict[str, Any]:
    return {"model_type": "gpt_oss", "num_hidden_layers": layers}


QWEN_08B, QWEN_9B, QWEN_27B, QWEN_35B = qwen35(24, 16, 2), qwen35(32, 32, 4), qwen35(64, 48, 4), qwen35(40, 32, 2)
LFM2 = {"model_type": "lfm2", "hidden_size": 2048, "num_hidden_layers": 16, "full_attn_idxs": [2, 5, 8, 10, 12, 14]}
NEMOTRON_30B = {"model_type": "nemotron_h", "num_key_value_heads": 2, "mamba_num_heads": 64, "hidden_size": 2688,
                "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"}  # fmt: skip
NEMOTRON_9B = {"model_type": "nemotron_h", "mamba_head_dim": 80, "hidden_size": 4480,
               "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"}  # fmt: skip
GRANITE_SMALL = {"model_type": "granitemoehybrid", "num_hidden_layers": 40, "mamba_d_state": 128,
                 "num_key_value_heads": 8,
                 "layer_types": ["attention" if i % 10 == 5 else "mamba" for i in range(40)]}  # fmt: skip
KIMI_LINEAR_HALF = {"model_type": "kimi_linear", "num_hidden_layers": 27, "linear_num_heads": 16}
GEMMA4_E4B = {"model_type": "gemma4_text", "num_hidden_layers": 42, "num_kv_shared_layers": 18, "head_dim": 256,
              "num_key_value_heads": 2, "global_head_dim": 512, "sliding_window": 512,
              "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 7}  # fmt: skip


@pytest.fixture
def laws(write):
    def read(config: dict[str, Any], runtime: str) -> list[StateLaw]:
        return [layer.state for layer in published(write(config), runtime).layers]

    return read


@pytest.mark.parametrize(
    ("config", "dtypes", "block", "padded"),
    [
        # Qwen3.5-0.8B, vLLM 0.28: "Setting attention block size to 544 tokens", "Padding mamba page size by 2.64%"
        (QWEN_08B, Dtypes(), 544, "2.64%"),
        # Qwen3.5-9B: 528 in bfloat16 (vllm-project/vllm#37467 has both lines), 1056 with an fp8 cache
        (QWEN_9B, Dtypes(), 528, "0.76%"),
        (QWEN_9B, Dtypes(cache="float8"), 1056, "0.76%"),
        # Qwen3.5-27B, vLLM 0.19.1: "Setting attention block size to 784 tokens", "Padding mamba page size by 0.13%"
        (QWEN_27B, Dtypes(), 784, "0.13%"),
        # Qwen3.5-35B-A3B: 1056 and 0.76%; with an fp8 cache 2096, and no line on padding: the pages are equal
        (QWEN_35B, Dtypes(), 1056, "0.76%"),
        (QWEN_35B, Dtypes(cache="float8"), 2096, None),
        # Nemotron-Cascade-2-30B-A3B, fp8 cache, states in float32: 4176 and 0.19%
        (NEMOTRON_30B, Dtypes(cache="float8"), 4176, "0.19%"),
        # NVIDIA-Nemotron-Nano-9B-v2: 672 (vllm-project/vllm#24280), of before its config asked for float32 states
        (NEMOTRON_9B, Dtypes(state="bfloat16"), 672, "2.13%"),
        # Granite 4.0-H small without alignment to chunks: 528 (vllm-project/vllm-gaudi#1453)
        (GRANITE_SMALL, Dtypes(), 528, "0.69%"),
        # Kimi-Linear-48B-A3B on two GPUs, half of the KDA heads each: 960 and 1.89% (vllm-project/vllm#28228)
        (KIMI_LINEAR_HALF, Dtypes(), 960, "1.89%"),
        # LFM2.5-1.2B, vLLM 0.17: "Setting attention block size to 16 tokens", "Padding mamba page size by 300.00%"
        (LFM2, Dtypes(), 16, "300.00%"),
    ],
)  # fmt: skip
def test_vllms_block_of_a_hybrid_is_the_one_that_it_logs(config, dtypes, block: int, padded: str | None, laws) -> None:
    found = vllm(laws(config, "vllm"), 4096, dtypes)
    assert found.block == block
    assert (f"padded by {padded}" in found.why) if padded else ("padded" not in found.why)


@pytest.mark.parametrize(
    ("config", "pool", "states", "length", "concurrency"),
    [
        # Qwen3.5-0.8B, vLLM 0.28: "Available KV cache memory: 67.08 GiB", "Maximum concurrency for 262,144 tokens per
        # request: 22.08x"
        (QWEN_08B, 67.08, 2, 262144, 22.08),
        # the same served with 8,192 tokens: 61.82 GiB, 451.32x
        (QWEN_08B, 61.82, 2, 8192, 451.32),
        # Qwen3.8-27B, of the sizes of Qwen3.5-27B: 18.61 GiB, 1.14x
        (QWEN_27B, 18.61, 2, 262144, 1.14),
    ],
)  # fmt: skip
def test_as_many_sequences_fit_as_vllm_says(config, pool, states, length, concurrency, laws) -> None:
    one = vllm(laws(config, "vllm"), length, Dtypes(), states=states).bytes
    assert pool * 2**30 / one == pytest.approx(concurrency, rel=5e-3)


def test_groups_are_filled_up_with_padding_layers_as_vllm_logs(laws) -> None:
    """LFM2.5-1.2B, vLLM 0.17 without prefix caching: "Add 2 padding layers, may waste at most 20.00% KV cache memory",
    "GPU KV cache size: 217,264 tokens" (of three groups in blocks of 16), 313.37x for 2,048 tokens.
    """
    found = vllm(laws(LFM2, "vllm"), 2048, Dtypes(), states=1)
    assert {group.of: (group.layers, group.padding) for group in found.groups} == {
        "attention": (6, 0),
        "state": (10, 2),
    }
    assert found.page is not None
    of_a_block = 6 * found.page
    assert (217_264 // 16 * 3 + 1) * of_a_block / found.bytes == pytest.approx(313.37, abs=0.01)


def test_layers_of_one_kind_are_not_grouped_and_waste_part_of_a_block(laws) -> None:
    llama = {"model_type": "llama", "num_hidden_layers": 3, "num_key_value_heads": 2, "num_attention_heads": 8}
    held = laws(llama, "vllm")
    for length, slots in ((16, 16), (17, 32), (4095, 4096)):
        found = vllm(held, length, Dtypes(), batch=2)
        assert found.bytes == 2 * sum(law.bytes(slots) for law in held)
        assert found.groups[0].slots == slots


def test_a_window_touches_one_block_more_than_it_fills(laws) -> None:
    found = {group.of: group for group in vllm(laws(gpt_oss(24), "vllm"), 4096, Dtypes()).groups}
    assert (found["window"].slots, found["attention"].slots) == (128 + 16, 4096)
    assert found["window"].padding == found["attention"].padding == 0


def test_caches_whose_pages_cannot_be_made_equal_are_refused() -> None:
    odd = [StateLaw((StateTerm(n, Tokens(cap), kind="attention"),)) for n, cap in ((96, None), (64, 128))]
    with pytest.raises(BadInput, match="without `paged`, nominal bytes"):
        vllm(odd, 4096, Dtypes())


@pytest.mark.parametrize(
    ("config", "given", "sizes"),
    [
        # Qwen3.5-27B: "llama_kv_cache: size = 1536.00 MiB (24576 cells, 16 layers)", "llama_memory_recurrent: size =
        # 149.62 MiB (1 cell, 64 layers)"
        (QWEN_27B, {"length": 24576}, {"attention": (16, 24576, 1536.00), "state": (48, 1, 149.62)}),
        # Qwen3.5-9B: 4224.00 MiB (135168 cells, 8 layers), 50.25 MiB (1 cells, 32 layers, 1 seqs)
        (QWEN_9B, {"length": 135168}, {"attention": (8, 135168, 4224.00), "state": (24, 1, 50.25)}),
        # Qwen3.5-9B in q8_0: 4352.00 MiB (262144 cells, 8 layers)
        (QWEN_9B, {"length": 262144, "dtypes": Dtypes(cache="q8_0")},
         {"attention": (8, 262144, 4352.00), "state": (24, 1, 50.25)}),
        # Qwen3.5-35B-A3B, 4 seqs: 251.25 MiB (4 cells, 40 layers)
        (QWEN_35B, {"length": 8192, "batch": 4, "unified": True},
         {"attention": (10, 32768, 640.00), "state": (30, 1, 251.25)}),
        # Qwen3-Next: 75.38 MiB (1 cells, 48 layers, 1 seqs)
        ({"model_type": "qwen3_next", "num_hidden_layers": 48}, {"length": 4096},
         {"attention": (12, 4096, 96.00), "state": (36, 1, 75.38)}),
        # gpt-oss-20b: "creating SWA KV cache, size = 768 cells", 18.00 MiB (12 layers) (ggml-org/llama.cpp#17609)
        (gpt_oss(24), {"length": 4096}, {"attention": (12, 4096, 96.00), "window": (12, 768, 18.00)}),
        # gpt-oss-20b in q8_0, -ub 128: 102.00 MiB (8192 cells), 3.19 MiB (256 cells)
        (gpt_oss(24), {"length": 8192, "dtypes": Dtypes(cache="q8_0"), "ubatch": 128},
         {"attention": (12, 8192, 102.00), "window": (12, 256, 3.19)}),
        # gpt-oss-120b, -c 65535, 4 seqs in one cache: 2304.00 MiB (65536 cells, 18 layers), 36.00 MiB (1024 cells)
        (gpt_oss(36), {"length": 65535 // 4, "batch": 4, "unified": True},
         {"attention": (18, 65536, 2304.00), "window": (18, 1024, 36.00)}),
        # Gemma 4 E4B: 512.00 MiB (32768 cells, 4 layers), 40.00 MiB (1024 cells, 20 layers)
        (GEMMA4_E4B, {"length": 32768}, {"attention": (4, 32768, 512.00), "window": (20, 1024, 40.00)}),
    ],
)  # fmt: skip
def test_llama_cpp_allots_what_it_logs(config, given: dict[str, Any], sizes, laws) -> None:
    found = llama_cpp(laws(config, "llama.cpp"), **({"dtypes": F16} | given))
    assert {g.of: (g.layers, g.slots, round(g.bytes / MIB, 2)) for g in found.groups} == sizes


def test_llama_cpp_gives_each_sequence_cells_of_its_own(laws) -> None:
    held = laws(gpt_oss(24), "llama.cpp")
    assert llama_cpp(held, 1000, F16, batch=3).bytes == 3 * llama_cpp(held, 1024, F16).bytes


def test_llama_cpp_keeps_all_tokens_of_models_whose_windows_it_does_not_read(write) -> None:
    read = published(write({"model_type": "mistral", "num_hidden_layers": 1, "sliding_window": 4096}), "llama.cpp")
    assert (read.picture, read.state.elements(9000)) == ("A", 2 * 8 * 128 * 9000)
    assert any("ignores the windows of mistral" in note for note in read.notes)
    assert published(write(gpt_oss(2)), "llama.cpp").state.elements(9000) == 2 * 8 * 64 * (9000 + 128)
