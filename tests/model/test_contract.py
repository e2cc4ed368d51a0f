"""The contract of every mixer in the catalogue: what is built is what was drawn."""

from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from l2m_design.architecture import Architecture, Attention, CheckpointedSSM, MixerSpec
from l2m_design.architecture.mixers.sparse import RANKED_IN_CHUNKS, Choice
from l2m_design.model import build, state_elements

VOCABULARY = 23
TOLERANCE = 1e-4
ROUGH = 0.05  # a few roundings of bfloat16, 2^-8 each


def key_values(draw: st.DrawFn, **fields: Any) -> dict[str, Any]:
    kv_heads = draw(st.sampled_from([1, 2]))
    return {
        "heads": kv_heads * draw(st.sampled_from([1, 2])),
        "kv_heads": kv_heads,
        "head_dim": draw(st.sampled_from([4, 8])),
        "rope_theta": draw(st.sampled_from([10000.0, None])),
        "qk_norm": draw(st.booleans()),
        "short_conv": draw(st.sampled_from([None, 2, 4])),
    } | fields


@st.composite
def attention(draw: st.DrawFn) -> dict[str, Any]:
    return key_values(draw, kind="attention")


@st.composite
def window(draw: st.DrawFn) -> dict[str, Any]:
    reach = {"window": draw(st.sampled_from([1, 2, 5, 16])), "sinks": draw(st.sampled_from([0, 0, 1, 3]))}
    return key_values(draw, kind="attention", **reach)


@st.composite
def sparse_attention(draw: st.DrawFn) -> dict[str, Any]:
    budget = {"chunk": draw(st.sampled_from([2, 4, 8])), "exponent": draw(st.floats(0.1, 1.0))}
    return key_values(draw, kind="sparse_attention", keep=draw(st.floats(0.3, 2.0)), **budget)


@st.composite
def chosen(draw: st.DrawFn, choose: str) -> dict[str, Any]:
    """Sparse keys by choice: a budget for each chunk where the choice allows it, or a global one."""
    budgets = ["global", "layer"] if choose == "use" else ["global"]
    allocate = draw(st.sampled_from(["chunk", "global"] if choose in RANKED_IN_CHUNKS else budgets))
    schedule = draw(st.sampled_from(["power", "log", "window", "sinks+window"]))
    chunk = draw(st.sampled_from([2, 4, 8]))
    fields: dict[str, Any] = {"schedule": schedule, "chunk": chunk, "allocate": allocate, "choose": choose}
    if schedule == "power":
        fields["exponent"] = draw(st.floats(0.1, 1.0))
    if schedule in ("power", "log"):
        fields["keep"] = draw(st.floats(0.3, 2.0))
    else:
        fields["window"] = draw(st.sampled_from([1, 3])) * chunk
        if allocate == "chunk":
            fields["choose"] = "spread"
    if schedule == "sinks+window" or (allocate != "chunk" and draw(st.booleans())):
        fields["sinks"] = draw(st.sampled_from([1, 3]))
    return key_values(draw, kind="sparse_attention", **fields)


@st.composite
def mla(draw: st.DrawFn) -> dict[str, Any]:
    fields = key_values(draw, kind="mla", rope_dim=draw(st.sampled_from([2, 4])))
    ranks = {"kv_rank": draw(st.sampled_from([3, 8])), "q_rank": draw(st.sampled_from([None, 5]))}
    return {name: value for name, value in fields.items() if name != "kv_heads"} | ranks


@st.composite
def state_space(draw: st.DrawFn, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "d_state": draw(st.sampled_from([1, 4, 16])),
        "head_dim": draw(st.sampled_from([4, 8])),
        "d_conv": draw(st.sampled_from([2, 4])),
        "groups": draw(st.sampled_from([1, 2])),
        "state_dtype": draw(st.sampled_from([None, "float32"])),
    } | {name: draw(strategy) for name, strategy in fields.items()}


@st.composite
def mamba1(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "kind": "mamba1",
        "d_state": draw(st.sampled_from([1, 4])),
        "d_conv": draw(st.sampled_from([2, 4])),
        "expand": draw(st.sampled_from([1, 2])),
        "dt_rank": draw(st.sampled_from([None, 3])),
    }


@st.composite
def gated_deltanet(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "kind": "gated_deltanet",
        "heads": draw(st.sampled_from([1, 3])),
        "head_dim": draw(st.sampled_from([2, 8])),
        "value_expand": draw(st.sampled_from([1, 2])),
        "d_conv": draw(st.sampled_from([2, 4])),
    }


CATALOGUE: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "attention": attention(),
    "window": window(),
    "mla": mla(),
    "sparse_attention": sparse_attention(),
    **{f"sparse {choose}": chosen(choose) for choose in get_args(Choice)},
    "mamba1": mamba1(),
    "mamba2": state_space("mamba2"),
    "gated_deltanet": gated_deltanet(),
    "log_linear": state_space("log_linear", levels=st.sampled_from([2, 4, 16])),
    "checkpointed_ssm": state_space("checkpointed_ssm", exponent=st.floats(0.1, 1.0), keep=st.floats(0.1, 1.0)),
}
SHARED = ("attention", "window", "mla", "sparse_attention", "sparse learned", "sparse value")
KINDS = [*CATALOGUE, *(f"shared {kind}" for kind in SHARED)]
kinds = pytest.mark.parametrize("kind", KINDS)
few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def drawn(data: st.DataObject, kind: str, depth: int = 1) -> Architecture:
    """Layers of a kind; of a shared kind, another layer between the one that keeps the cache and its reader."""
    layers = [data.draw(CATALOGUE[kind.removeprefix("shared ")]) for _ in range(depth)]
    if kind.startswith("shared"):
        sharing = layers[0] | {"share": 0, "qk_norm": data.draw(st.booleans())}
        layers = [layers[0], {"kind": "mamba2", "d_state": 2, "head_dim": 8}, sharing]
    tied = data.draw(st.booleans())
    plain = {"vocabulary": VOCABULARY, "width": 16, "mlp": {"ratio": 1.0}, "layers": layers, "tied_embeddings": tied}
    return Architecture.parse(plain, "drawn")


def built(architecture: Architecture) -> Any:
    torch.manual_seed(0)
    model = build(architecture)
    for name, p in model.named_parameters():
        if ".use." in name:  # starts flat: heads would hold equally many slots
            torch.nn.init.normal_(p, std=0.3)
    return model


def tokens(length: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))


def test_the_catalogue_is_whole() -> None:
    kinds_drawn = {kind.model_fields["kind"].default for kind in get_args(get_args(MixerSpec)[0])}
    assert kinds_drawn == set(CATALOGUE) - {"window"} - {f"sparse {choose}" for choose in get_args(Choice)}


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
            assert memory(state) == 4 * batch * architecture.state.elements(t)
            _, state = model.step(tokens(1, batch)[:, 0], state)


LONG: dict[str, dict[str, Any]] = {
    "attention": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 4},
    "window": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 4, "window": 100, "sinks": 4},
    "mla": {"kind": "mla", "heads": 2, "head_dim": 4, "kv_rank": 6, "rope_dim": 2},
    "sparse_attention": {
        "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 4, "chunk": 8, "exponent": 0.6,
    },
    "sparse log": {
        "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 4, "chunk": 8, "schedule": "log",
    },
    "sparse value": {
        "kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 4, "chunk": 8, "exponent": 0.6,
        "keep": 3.0, "allocate": "global", "choose": "value", "sinks": 2,
    },
    "sparse use": {
        "kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 4, "chunk": 8, "exponent": 0.6,
        "keep": 3.0, "allocate": "layer", "choose": "use", "sinks": 2,
    },
    "mamba1": {"kind": "mamba1", "d_state": 4},
    "mamba2": {"kind": "mamba2", "d_state": 4, "head_dim": 4},
    "gated_deltanet": {"kind": "gated_deltanet", "heads": 2, "head_dim": 4},
    "log_linear": {"kind": "log_linear", "d_state": 4, "head_dim": 4},
    "checkpointed_ssm": {"kind": "checkpointed_ssm", "d_state": 4, "head_dim": 4, "exponent": 0.6},
}  # fmt: skip


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("length", [1, 8, 9, 64, 65, 1000, 4096])  # chunks: 8 of the sparse keys, 64 of the scans
def test_the_state_is_exact_at_long_lengths(kind: str, length: int) -> None:
    architecture = Architecture.parse({"vocabulary": VOCABULARY, "width": 8, "layers": [LONG[kind]]}, "drawn")
    with torch.inference_mode():
        _, state = built(architecture).prefill(tokens(length, 1))
    assert state_elements(state) == architecture.state.elements(length)
    assert memory(state) == 4 * architecture.state.elements(length)


@pytest.mark.parametrize("kind", ["mamba1", "mamba2", "gated_deltanet", "log_linear", "checkpointed_ssm"])
@pytest.mark.parametrize("held", ["float32", "bfloat16", "float16"])
def test_a_state_of_its_own_dtype_is_held_and_counted_in_it(kind: str, held: str) -> None:
    """The rest of the state, the convolution's inputs, follows the weights: here bfloat16."""
    layer = LONG[kind] | {"state_dtype": held}
    architecture = Architecture.parse({"vocabulary": VOCABULARY, "width": 8, "layers": [layer]}, "drawn")
    model = built(architecture).bfloat16()
    with torch.inference_mode():
        _, state = model.prefill(tokens(70, 2))
        assert memory(state) == 2 * architecture.state.bytes(70, "bfloat16")
        _, state = model.step(tokens(2, 2)[:, 0], state)
        assert memory(state) == 2 * architecture.state.bytes(71, "bfloat16")


def memory(state: Any) -> int:
    """Bytes of all memory behind a state's tensors, whether they show it or not."""
    if isinstance(state, torch.Tensor):
        return state.untyped_storage().nbytes()
    return sum(memory(part) for part in state) if isinstance(state, tuple) else 0


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
@given(data=st.data(), cut=st.integers(1, 30), steps=st.integers(1, 5), whole=st.booleans())
def test_bfloat16_goes_on_as_in_one_call(kind: str, data: st.DataObject, cut: int, steps: int, whole: bool) -> None:
    """Weights in bfloat16, or float32 weights under autocast: within rounding, the drawn state either way."""
    architecture = drawn(data, kind)
    model = built(architecture).bfloat16() if whole else built(architecture)
    x = tokens(cut + steps)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=not whole):
        expected = model(x)
        logits, state = model.prefill(x[:, :cut])
        pieces = [logits]
        for t in range(cut, cut + steps):
            logits, state = model.step(x[:, t], state)
            pieces.append(logits[:, None])
    off = (torch.cat(pieces, dim=1).float() - expected.float()).abs().max() / expected.float().abs().max()
    assert off < ROUGH
    assert state_elements(state) == architecture.state.elements(cut + steps)


@kinds
@few
@given(data=st.data(), cut=st.integers(1, 70))
def test_float64_is_exact_where_a_text_is_cut(kind: str, data: st.DataObject, cut: int) -> None:
    architecture = drawn(data, kind)
    assume(all(getattr(layer, "state_dtype", None) is None for layer in architecture.layers))
    model = built(architecture).double()
    x = tokens(75)
    with torch.inference_mode():
        first, state = model.prefill(x[:, :cut])
        rest, _ = model.prefill(x[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, rest], dim=1), model(x), atol=1e-9, rtol=0)


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
    layer = architecture.layers[0]
    assume(not (isinstance(layer, Attention) and layer.window == 1 and not layer.sinks))  # reads itself: no query
    assume(not isinstance(layer, CheckpointedSSM) or layer.snapshots.count(40) > 0)
    model = built(architecture)
    model(tokens(70)).logsumexp(-1).pow(2).sum().backward()
    taught = {id(p) for p in model.value_parameters}
    reached = [(name, p) for name, p in model.named_parameters() if id(p) not in taught]  # those lessons teach
    unreached = [name for name, p in reached if p.grad is None or not p.grad.abs().sum() > 0]
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
