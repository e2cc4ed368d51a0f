"""The contract of every mixer in the catalogue: what is built is what was drawn."""

from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from l2m_design.architecture import Architecture, MixerSpec
from l2m_design.model import build, state_elements

VOCABULARY = 23
TOLERANCE = 1e-4


@st.composite
def key_value_fields(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads = draw(st.sampled_from([1, 2]))
    return {
        "heads": kv_heads * draw(st.sampled_from([1, 2])),
        "kv_heads": kv_heads,
        "head_dim": draw(st.sampled_from([4, 8])),
        "qk_norm": draw(st.booleans()),
        "short_conv": draw(st.sampled_from([None, 2, 4])),
    }


CATALOGUE: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "attention": key_value_fields().map(lambda fields: {"kind": "attention"} | fields),
    "window": st.builds(
        lambda fields, window: {"kind": "attention", "window": window} | fields,
        key_value_fields(),
        st.sampled_from([1, 2, 5, 16]),
    ),
    "sparse_attention": st.builds(
        lambda fields, chunk, exponent, keep: (
            {"kind": "sparse_attention", "chunk": chunk, "exponent": exponent, "keep": keep} | fields
        ),
        key_value_fields(),
        st.sampled_from([2, 4, 8]),
        st.floats(0.1, 1.0),
        st.floats(0.3, 2.0),
    ),
    "mamba2": st.builds(
        lambda d_state, head_dim, d_conv, groups: {
            "kind": "mamba2",
            "d_state": d_state,
            "head_dim": head_dim,
            "d_conv": d_conv,
            "groups": groups,
        },
        st.sampled_from([1, 4, 16]),
        st.sampled_from([4, 8]),
        st.sampled_from([2, 4]),
        st.sampled_from([1, 2]),
    ),
}
kinds = pytest.mark.parametrize("kind", CATALOGUE)
few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def drawn(data: st.DataObject, kind: str, depth: int = 1) -> Architecture:
    layers = [data.draw(CATALOGUE[kind]) for _ in range(depth)]
    tied = data.draw(st.booleans())
    plain = {"vocabulary": VOCABULARY, "width": 16, "mlp": {"ratio": 1.0}, "layers": layers, "tied_embeddings": tied}
    return Architecture.parse(plain, "drawn")


def built(architecture: Architecture) -> Any:
    torch.manual_seed(0)
    return build(architecture)


def tokens(length: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))


def test_the_catalogue_is_whole() -> None:
    kinds_drawn = {kind.model_fields["kind"].default for kind in get_args(get_args(MixerSpec)[0])}
    assert kinds_drawn == set(CATALOGUE) - {"window"}


@kinds
@few
@given(data=st.data())
def test_parameters_are_the_drawn_count(kind: str, data: st.DataObject) -> None:
    architecture = drawn(data, kind, depth=2)
    assert sum(p.numel() for p in built(architecture).parameters()) == architecture.parameters


@kinds
@few
@given(data=st.data(), length=st.integers(1, 70), batch=st.integers(1, 3))
def test_the_state_holds_exactly_the_drawn_elements(kind: str, data: st.DataObject, length: int, batch: int) -> None:
    architecture = drawn(data, kind, depth=2)
    model = built(architecture)
    with torch.inference_mode():
        _, state = model.prefill(tokens(length, batch))
        for t in range(length, length + 3):
            assert state_elements(state) == architecture.state.elements(t)
            _, state = model.step(tokens(1, batch)[:, 0], state)


@kinds
@pytest.mark.parametrize("length", [1, 8, 9, 1000, 4096])
def test_the_state_is_exact_at_long_lengths(kind: str, length: int) -> None:
    layer = {
        "attention": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 4},
        "window": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 4, "window": 100},
        "sparse_attention": {
            "kind": "sparse_attention",
            "heads": 2,
            "kv_heads": 1,
            "head_dim": 4,
            "chunk": 8,
            "exponent": 0.6,
        },
        "mamba2": {"kind": "mamba2", "d_state": 4, "head_dim": 4},
    }[kind]
    architecture = Architecture.parse({"vocabulary": VOCABULARY, "width": 8, "layers": [layer]}, "drawn")
    with torch.inference_mode():
        _, state = built(architecture).prefill(tokens(length, 1))
    assert state_elements(state) == architecture.state.elements(length)


@kinds
@few
@given(data=st.data(), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_a_sequence_may_be_cut_anywhere(kind: str, data: st.DataObject, cuts: list[int]) -> None:
    model = built(drawn(data, kind))
    x = tokens(sum(cuts))
    with torch.inference_mode():
        whole, final = model.prefill(x)
        state, pieces = None, []
        for piece in x.split(cuts, dim=1):
            logits, state = model.prefill(piece, state)
            pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=TOLERANCE, rtol=0)
    assert state_elements(state) == state_elements(final)


@kinds
@few
@given(data=st.data(), before=st.integers(0, 20), steps=st.integers(1, 25))
def test_steps_equal_one_call(kind: str, data: st.DataObject, before: int, steps: int) -> None:
    model = built(drawn(data, kind))
    x = tokens(before + steps)
    with torch.inference_mode():
        whole = model(x)
        state = model.prefill(x[:, :before])[1] if before else model.empty(len(x))
        for t in range(before, before + steps):
            logits, state = model.step(x[:, t], state)
            torch.testing.assert_close(logits, whole[:, t], atol=TOLERANCE, rtol=0)


@kinds
@few
@given(data=st.data(), length=st.integers(2, 60))
def test_the_future_is_not_read(kind: str, data: st.DataObject, length: int) -> None:
    model = built(drawn(data, kind))
    x = tokens(length)
    changed = x.clone()
    changed[:, length // 2 :] = (changed[:, length // 2 :] + 1) % VOCABULARY
    with torch.inference_mode():
        torch.testing.assert_close(model(x)[:, : length // 2], model(changed)[:, : length // 2], atol=1e-6, rtol=0)
        assert not torch.equal(model(x)[:, -1], model(changed)[:, -1])


@kinds
@few
@given(data=st.data())
def test_gradients_reach_every_parameter(kind: str, data: st.DataObject) -> None:
    architecture = drawn(data, kind)
    assume(getattr(architecture.layers[0], "window", None) != 1)  # who reads only itself needs no query
    model = built(architecture)
    model(tokens(48)).logsumexp(-1).pow(2).sum().backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached


@kinds
@few
@given(data=st.data())
def test_a_state_is_a_value_that_calls_do_not_change(kind: str, data: st.DataObject) -> None:
    model = built(drawn(data, kind))
    with torch.inference_mode():
        _, state = model.prefill(tokens(20))
        first, _ = model.step(tokens(1)[:, 0], state)
        again, _ = model.step(tokens(1)[:, 0], state)
    torch.testing.assert_close(first, again, atol=0, rtol=0)
