"""Caches thinned without training: ours and Hugging Face's agree, hold what is drawn, and refuse what they cannot."""

from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.architecture.thinning import Thinning
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel, build, state_elements
from l2m_design.model.generate import Sampling, generate
from l2m_design.model.thinned import BorrowedModel, thinned

LLAMA = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8}
CPU = torch.device("cpu")


def llama() -> LanguageModel:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 40, "width": 32, "layers": [LLAMA] * 2}, "drawn"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Path]:
    from l2m_design.export.huggingface import Export, export_huggingface
    from l2m_design.model.weights import save_weights

    folder: Path = tmp_path_factory.mktemp("llama")
    model = llama()
    save_weights(model, folder / "weights.safetensors")
    export_huggingface(Export(model.architecture, folder / "weights.safetensors"), folder / "out")
    return model, folder / "out"


def borrowed(folder: Path, thinning: Thinning) -> BorrowedModel:
    from transformers import AutoModelForCausalLM

    return BorrowedModel(AutoModelForCausalLM.from_pretrained(folder), thinning)


def tokens(length: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 40, (batch, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("choose", ["surprise", "spread", "key_norm", "attention_mass", "recency"])
@torch.no_grad()
def test_hugging_face_and_we_keep_the_same_and_say_the_same(exported: tuple[LanguageModel, Path], choose: Any) -> None:
    model, folder = exported
    thinning = Thinning(choose=choose, slots=23, chunk=8, sinks=2)
    ours, theirs = thinned(model, thinning), borrowed(folder, thinning)
    x = tokens(90)
    logits, state = ours.prefill(x)
    first, held = theirs.prefill(x[:, :50])
    rest, held = theirs.prefill(x[:, 50:], held)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), logits, atol=2e-4, rtol=0)
    assert all(layer.keys.shape[2] == ours.architecture.layers[0].growth.count(90) for layer in held.layers)  # type: ignore[union-attr]
    assert theirs.elements(90) == state_elements(held)
    vectors = 40 - 32 if choose == "surprise" else 0  # theirs holds the logits, ours the last hidden vector
    assert state_elements(held) == state_elements(state) + vectors
    step, _ = theirs.step(x[:, 0], held)
    torch.testing.assert_close(step, ours.step(x[:, 0], state)[0], atol=2e-4, rtol=0)


@torch.no_grad()
def test_a_cache_with_room_for_all_changes_nothing() -> None:
    model = llama()
    x = tokens(60)
    for choose in ("surprise", "value", "attention_mass"):
        whole = thinned(model, Thinning(choose=choose, slots=200, chunk=8))
        torch.testing.assert_close(whole(x), model(x), atol=1e-5, rtol=0)


def test_prompts_of_different_lengths_are_continued_as_if_alone(exported: tuple[LanguageModel, Path]) -> None:
    model = borrowed(exported[1], Thinning(choose="surprise", slots=20, chunk=8, sinks=1))
    prompts = [tokens(length, 1)[0].tolist() for length in (37, 5, 22)]
    together = generate(model, prompts, 12, CPU, Sampling(temperature=0))
    assert together == [generate(model, [prompt], 12, CPU, Sampling(temperature=0))[0] for prompt in prompts]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"choose": "surprise", "slots": 16}, r"slots \(16\): two chunks of 8 tokens and 4 sinks are always cached"),
        ({"choose": "learned", "slots": 60}, r"choose \(learned\): needs to be trained with the model"),
        ({"choose": "best", "slots": 60}, "choose"),
        ({"choose": "surprise", "slots": 60, "chunk": 12}, r"chunk \(12\) must be a power of two"),
    ],
)
def test_a_cache_that_cannot_be_is_bad_input(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Thinning.parse({"chunk": 8} | fields, "cache").bounded(llama().architecture)


def test_what_has_no_full_attention_is_bad_input(exported: tuple[LanguageModel, Path]) -> None:
    window = Architecture.parse({"vocabulary": 40, "width": 32, "layers": [LLAMA | {"window": 9}]}, "drawn")
    with pytest.raises(BadInput, match="no layer of full attention"):
        Thinning(choose="surprise", slots=60, chunk=8).bounded(window)
    with pytest.raises(BadInput, match=r"value\): works for models of `l2m train` only"):
        borrowed(exported[1], Thinning(choose="value", slots=60, chunk=8))
    with pytest.raises(BadInput, match="50 is not in the vocabulary of 40 tokens"):
        borrowed(exported[1], Thinning(choose="spread", slots=60, chunk=8)).prefill(torch.tensor([[50]]))


def test_models_whose_positions_or_windows_cannot_be_kept_are_bad_input() -> None:
    from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM

    small = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    window = MistralForCausalLM(MistralConfig(**small, num_key_value_heads=1, intermediate_size=16, sliding_window=16))
    alibi = BloomForCausalLM(BloomConfig(**small, n_head=2, n_layer=1))
    for model in (window, alibi):
        with pytest.raises(BadInput, match="has a window or takes no position_ids"):
            BorrowedModel(model, Thinning(choose="spread", slots=60, chunk=8))


def test_a_borrowed_model_is_given_back_as_it_was(exported: tuple[LanguageModel, Path]) -> None:
    model = borrowed(exported[1], Thinning(choose="attention_mass", slots=20, chunk=8, sinks=1))
    before = model._model.config._attn_implementation
    model.prefill(tokens(40))
    assert model._model.config._attn_implementation == before != "eager"


@torch.no_grad()
def test_streaming_positions_are_those_in_the_cache(exported: tuple[LanguageModel, Path]) -> None:
    """Logits against attention that is written out: keys are kept unturned, and turned anew for every chunk."""
    model = borrowed(exported[1], Thinning(choose="recency", slots=23, chunk=8, sinks=2, positions="cache"))
    x = tokens(90)
    first, held = model.prefill(x[:, :50])
    rest, held = model.prefill(x[:, 50:], held)
    torch.testing.assert_close(
        torch.cat([first, rest], dim=1), plainly_streamed(model._model, x, 23, 8, 2), atol=2e-5, rtol=0
    )
    assert max(layer.keys.shape[2] for layer in held.layers) <= 23
    text = borrowed(exported[1], Thinning(choose="recency", slots=23, chunk=8, sinks=2))
    assert (text.prefill(x)[0] - torch.cat([first, rest], dim=1)).abs().max() > 1e-3
    torch.testing.assert_close(text.prefill(x[:, :16])[0], first[:, :16])  # nothing was evicted yet


def plainly_streamed(model: Any, x: torch.Tensor, slots: int, chunk: int, sinks: int) -> torch.Tensor:
    """Logits [b t v_] of a Llama, written out: sinks and last tokens hold keys before rotation, numbered by slot."""
    config = model.config
    heads, groups, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    rates = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2) / size)

    def turn(z: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        angles = torch.cat([positions[:, None] * rates] * 2, dim=-1)
        a, b = z.chunk(2, dim=-1)
        return z * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()

    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    found = []
    for begin in range(0, x.shape[1], chunk):
        h = model.model.embed_tokens(x[:, begin : begin + chunk])
        b, t = h.shape[:2]
        for index, layer in enumerate(model.model.layers):
            y, attention = layer.input_layernorm(h), layer.self_attn
            q, k, v = (
                project(y).view(b, t, n, size).transpose(1, 2)
                for project, n in ((attention.q_proj, heads), (attention.k_proj, groups), (attention.v_proj, groups))
            )
            if index in kept:
                before = [
                    torch.cat([z[:, :, :sinks], z[:, :, sinks:][:, :, -(slots - chunk - sinks) :]], 2)
                    for z in kept[index]
                ]
                k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
            kept[index] = k, v
            slot = torch.arange(k.shape[2])
            logits = turn(q, slot[-t:]) @ turn(k, slot).repeat_interleave(heads // groups, 1).mT / size**0.5
            logits = logits.masked_fill(slot > slot[-t:, None], -torch.inf)
            read = logits.softmax(-1) @ v.repeat_interleave(heads // groups, 1)
            h = h + attention.o_proj(read.transpose(1, 2).reshape(b, t, -1))
            h = h + layer.mlp(layer.post_attention_layernorm(h))
        found.append(model.lm_head(model.model.norm(h)))
    return torch.cat(found, dim=1)


def test_keys_that_cannot_be_turned_are_bad_input() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_head=2, n_layer=1))
    streaming = Thinning(choose="recency", slots=60, chunk=8, positions="cache")
    with pytest.raises(BadInput, match="cannot be moved to other positions"):
        BorrowedModel(model, streaming)
    with pytest.raises(BadInput, match="works for Hugging Face models only"):
        streaming.bounded(llama().architecture)
    with pytest.raises(BadInput, match="needs choose: recency, found surprise"):
        Thinning.parse({"choose": "surprise", "slots": 60, "chunk": 8, "positions": "cache"}, "cache")
