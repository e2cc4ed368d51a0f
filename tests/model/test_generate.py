"""Generation: rows of any lengths are continued as each would be alone; bad input is one line."""

from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.model import build, state_elements
from l2m_design.model.generate import sample, select_rows

LAYERS: list[dict[str, Any]] = [
    {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "share": 0},
    {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "window": 5, "sinks": 1},
    {"kind": "mla", "heads": 2, "head_dim": 8, "kv_rank": 4, "rope_dim": 4},
    {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 4, "exponent": 0.5},
    {"kind": "mamba1", "d_state": 4},
    {"kind": "mamba2", "d_state": 4, "head_dim": 8},
    {"kind": "gated_deltanet", "heads": 2, "head_dim": 8},
    {"kind": "log_linear", "d_state": 4, "head_dim": 8},
    {"kind": "checkpointed_ssm", "d_state": 4, "head_dim": 8, "exponent": 0.5},
]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 31, "width": 16, "layers": LAYERS}, "test"))


def prompt(length: int) -> list[int]:
    return torch.randint(0, 31, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def test_rows_of_different_lengths_are_continued_as_alone(model: Any) -> None:
    prompts = [prompt(length) for length in (3, 40, 17, 90)]
    together = model.generate(prompts, 12, temperature=0)
    assert together == [model.generate([one], 12, temperature=0)[0] for one in prompts]
    assert [len(row) for row in together] == [12] * 4


def test_greedy_tokens_are_those_of_one_forward(model: Any) -> None:
    start = prompt(20)
    (new,) = model.generate([start], 8, temperature=0)
    with torch.inference_mode():
        logits = model(torch.tensor([start + new]))
    assert logits[0, 19:-1].argmax(-1).tolist() == new


def test_a_row_ends_before_the_stop_token_and_the_others_go_on(model: Any) -> None:
    prompts = [prompt(5), prompt(30)]
    free = model.generate(prompts, 10, temperature=0)
    stop = free[0][3]
    stopped = model.generate(prompts, 10, temperature=0, stop=stop)
    assert stopped == [row[: row.index(stop)] if stop in row else row for row in free]
    assert len(stopped[0]) <= 3


def test_sampling_follows_its_generator(model: Any) -> None:
    def drawn(seed: int) -> Any:
        return model.generate([prompt(5)] * 3, 20, temperature=0.8, generator=torch.Generator().manual_seed(seed))

    assert drawn(1) == drawn(1) != drawn(2)


def test_sampling_keeps_to_the_smallest_set_of_that_probability() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(4000, 1)
    generator = torch.Generator().manual_seed(0)
    assert set(sample(logits, 1.0, 0.7, generator).tolist()) == {0, 1}
    assert set(sample(logits, 1.0, 0.01, generator).tolist()) == {0}
    share = (sample(logits, 1.0, 0.7, generator) == 0).float().mean()
    assert share == pytest.approx(0.5 / 0.8, abs=0.03)
    cold = (sample(logits, 0.5, 1.0, generator) == 0).float().mean()
    assert cold == pytest.approx(0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), abs=0.03)


def test_the_state_of_some_rows_is_theirs(model: Any) -> None:
    tokens = torch.tensor([prompt(20), prompt(21)[:20]])
    with torch.inference_mode():
        _, both = model.prefill(tokens)
        _, one = model.prefill(tokens[1:])
        chosen = select_rows(both, [1])
        assert state_elements(chosen) == state_elements(one) == state_elements(both)
        logits = [model.step(tokens[1:, 0], state)[0] for state in (chosen, one)]
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": [[1], []]}, "prompt 1: is empty"),
        ({"prompts": [[1, 31]]}, "31 is not in the vocabulary of 31 tokens"),
        ({"prompts": [[-1]]}, "-1 is not in the vocabulary"),
        ({"prompts": [[1], [1, 31]]}, "31 is not in the vocabulary of 31 tokens"),
        ({"prompts": [[1, 2], [1, 2, 3, -1]]}, "-1 is not in the vocabulary"),
        ({"prompts": [[1.5]]}, "prompt 0: tokens must be integers, found 1.5"),
        ({"prompts": [[2**70]]}, "prompt 0: tokens must be integers"),
        ({"prompts": [1, 2, 3]}, "prompt 0: must be a list of tokens, found 1"),
        ({"prompts": "abc"}, "prompt 0: must be a list of tokens, found 'a'"),
        ({"most": 2.5}, "most"),
        ({"top_p": None}, "top_p"),
        ({"temperature": "x"}, "temperature"),
        ({"stop": [1, 2]}, r"stop \(\[1, 2\]\): must be one token"),
        ({"temperature": float("inf")}, "temperature"),
        ({"most": -1}, "most"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
    ],
)
def test_bad_input_is_one_line(model: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        model.generate(**({"prompts": [[1, 2]], "most": 3} | change))
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_numbers_are_named(tmp_path: Any) -> None:
    from l2m_design.model.weights import load_weights, save_weights

    model = build(Architecture.parse({"vocabulary": 31, "width": 16, "layers": LAYERS[:1]}, "test"))
    with torch.no_grad():
        model.blocks[0].mixer.out.weight[0, 0] = torch.nan  # type: ignore[union-attr, index, operator]
    with pytest.raises(WorkFailed, match="not finite"):
        model.generate([[1, 2]], 3)
    save_weights(model, tmp_path / "weights.safetensors")
    with pytest.raises(BadInput, match=r"mixer\.out\.weight contain NaN"):
        load_weights(model.architecture, tmp_path / "weights.safetensors")


def test_a_row_that_reads_its_prompt_takes_no_part_in_sampling(model: Any) -> None:
    def drawn(prompts: list[list[int]]) -> Any:
        return model.generate(prompts, 4, generator=torch.Generator().manual_seed(1))[0]

    assert drawn([prompt(3)]) == drawn([prompt(3), prompt(90)])


def test_the_coldest_temperature_takes_the_likeliest(model: Any) -> None:
    assert model.generate([prompt(9)], 5, temperature=1e-40) == model.generate([prompt(9)], 5, temperature=0)


def test_a_state_of_other_sequences_is_bad_input(model: Any) -> None:
    with torch.inference_mode():
        _, state = model.prefill(torch.tensor([[1, 2, 3]]))
        for call in (
            lambda: model.prefill(torch.tensor([[1], [2]]), state),
            lambda: model.step(torch.tensor([1, 2]), state),
        ):
            with pytest.raises(BadInput, match="state: belongs to 1 sequences, but there are tokens for 2"):
                call()
        with pytest.raises(BadInput, match="31 is not in the vocabulary"):
            model.step(torch.tensor([31]), state)
        for wrong in (state[:3], (), "state"):
            with pytest.raises(BadInput, match="state: must have one entry for each of 10 layers"):
                model.step(torch.tensor([3]), wrong)
        with pytest.raises(BadInput, match="state: a step needs the state before it, found none"):
            model.step(torch.tensor([3]), None)
        with pytest.raises(BadInput, match="tokens: must be integers, found float"):
            model.prefill(torch.tensor([[1.5]]))
        torch.testing.assert_close(model.prefill(torch.tensor([[3]], dtype=torch.uint8))[0], model(torch.tensor([[3]])))


def test_nothing_is_asked_of_no_new_tokens(model: Any) -> None:
    assert model.generate([[1]], 0) == [[]]
