"""Drawings: judged in integers without torch, loaded strictly, known by published numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from l2m_design.architecture import (
    MLP,
    Architecture,
    Attention,
    CheckpointedSSM,
    LatentAttention,
    LogLinear,
    Mamba1,
    Mamba2,
)
from l2m_design.errors import BadInput
from l2m_design.laws import STATE_KINDS, StateLaw

DESIGN = """
vocabulary: 256
width: 128
tied_embeddings: true
mlp: {ratio: 2.75}
layers:
  - {kind: mamba2, d_state: 64, head_dim: 32, expand: 2, d_conv: 4, groups: 1}
  - {kind: attention, heads: 4, kv_heads: 2, head_dim: 32, rope_theta: 10000.0}
  - {kind: attention, heads: 4, kv_heads: 1, head_dim: 32, window: 128}
  - {kind: sparse_attention, heads: 4, kv_heads: 2, head_dim: 32, chunk: 32, exponent: 0.75, keep: 1.0}
  - {kind: attention, heads: 8, kv_heads: 2, head_dim: 32, share: 1}
  - {kind: mla, heads: 4, head_dim: 32, kv_rank: 64, rope_dim: 16}
  - {kind: mamba1, d_state: 16}
  - {kind: gated_deltanet, heads: 4, head_dim: 32, value_expand: 2, d_conv: 4}
  - {kind: log_linear, d_state: 64, head_dim: 32}
  - {kind: checkpointed_ssm, d_state: 64, head_dim: 32, exponent: 0.7}
"""


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "drawing.yaml"
    path.write_text(DESIGN)
    return path


def test_the_documented_format_loads(drawing: Path) -> None:
    architecture = Architecture.load(drawing)
    assert architecture.picture == "M A W S a L 1 D F C"
    assert architecture.state.exponent == 1.0


def test_a_drawing_survives_yaml_json_and_a_card(drawing: Path, tmp_path: Path) -> None:
    architecture = Architecture.load(drawing)
    architecture.save(tmp_path / "again.yaml")
    (tmp_path / "card.json").write_text(json.dumps({"architecture": architecture.plain(), "laws": {}}))
    assert Architecture.load(tmp_path / "again.yaml") == Architecture.load(tmp_path / "card.json") == architecture
    assert Architecture.load(tmp_path / "again.yaml").fingerprint == architecture.fingerprint


def test_drawing_needs_no_torch() -> None:
    code = "import l2m_design.architecture, l2m_design.condition, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("layers.0.head_dim=48", r"layers\.0 \(mamba2\): expand x width \(256\) must be a multiple of head_dim \(48\)"),
        ("layers.0.groups=3", r"layers\.0 \(mamba2\): its 8 heads must be a multiple of groups"),
        ("layers.1.kv_heads=3", r"layers\.1\.attention: heads \(4\) must be a multiple of kv_heads \(3\)"),
        ("layers.1.head_dim=33", r"layers\.1\.attention\.head_dim"),
        ("layers.2.window=0", r"layers\.2\.attention\.window"),
        ("layers.3.chunk=24", r"layers\.3\.sparse_attention: chunk \(24\) must be a power of two"),
        ("layers.3.exponent=1.5", r"layers\.3\.sparse_attention\.exponent"),
        ("layers.3.keep=0", r"layers\.3\.sparse_attention\.keep"),
        ("layers.3.exponent=0", r"layers\.3\.sparse_attention\.exponent: input should be greater than 0"),
        ("layers.3.choose=surprise", r"layers\.3\.sparse_attention: choose \(surprise\): needs allocate: global"),
        ("layers.3.choose=use", r"sparse_attention: choose \(use\): needs allocate: global or layer; chunks: spread"),
        ("layers.3.allocate=layer", r"sparse_attention: allocate \(layer\): needs choose: use, found spread"),
        ("layers.3.allocate=model", r"sparse_attention\.allocate: input should be 'chunk', 'global' or 'layer'"),
        ("layers.3.choose=best", r"layers\.3\.sparse_attention\.choose: input should be 'spread', 'learned'"),
        ("layers.3.schedule=log", r"layers\.3\.sparse_attention: exponent \(.*\): not allowed with schedule: log"),
        ("layers.3.window=64", r"layers\.3\.sparse_attention: window \(64\): not allowed with schedule: power"),
        (
            "layers.3.sinks=4",
            r"layers\.3\.sparse_attention: sinks \(4\): allowed with allocate: chunk only for schedule",
        ),
        ("layers.0.kind=mamba", r"layers\.0: .*'mamba2'"),
        ("layers.0.state_dtype=int4", r"layers\.0\.mamba2\.state_dtype: .*'float32'.*found \"int4\""),
        ("layers.1.sinks=4", r"layers\.1\.attention: sinks \(4\): need a window"),
        ("layers.1.rope_theta=0", r"layers\.1\.attention\.rope_theta"),
        ("layers.4.share=4", r"layers\.4 \(attention\): share \(4\) must be the number of an earlier layer"),
        ("layers.4.share=0", r"layers\.4 \(attention\): share: layer 0 \(mamba2\) has no cache of its own"),
        ("layers.4.share=2", r"layers\.4 \(attention\): share: kv_heads \(2\) must equal that of layer 2 \(1\)"),
        ("layers.4.share=3", r"layers\.4 \(attention\): share: kind \(attention\) must equal that of layer 3"),
        ("layers.4.heads=3", r"layers\.4\.attention: heads \(3\) must be a multiple of kv_heads \(2\)"),
        ("layers.5.rope_dim=3", r"layers\.5\.mla\.rope_dim"),
        ("layers.8.head_dim=48", r"layers\.8 \(log_linear\): expand x width \(256\) must be a multiple of head_dim"),
        ("layers.9.exponent=0", r"layers\.9\.checkpointed_ssm\.exponent"),
        ("layers.9.keep=2", r"layers\.9\.checkpointed_ssm\.keep"),
        ("layers.0.d_stat=3", r"layers\.0\.mamba2: unknown key 'd_stat'; did you mean 'd_state'"),
        ("width=127", "width"),
        ("layers=[]", "layers"),
        ("mlp.ratio=0", r"mlp\.ratio"),
    ],
)
def test_a_drawing_that_cannot_be_built_names_layer_and_field(drawing: Path, change: str, words: str) -> None:
    plain = Architecture.load(drawing).plain()
    dotted, _, value = change.partition("=")
    place, *path, last = [plain, *dotted.split(".")]
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[last] = json.loads(value) if value[0] in "0123456789[" else value
    with pytest.raises(BadInput, match=words) as refused:
        Architecture.parse(plain, "drawing.yaml")
    assert "\n" not in str(refused.value)


def test_an_override_changes_what_it_names(drawing: Path) -> None:
    assert Architecture.load(drawing, ["mlp.ratio=4"]).mlp.hidden(128) == 512


@pytest.mark.parametrize("width", [8, 88, 112, 128, 4096])
def test_a_hidden_size_survives_its_ratio(width: int) -> None:
    for hidden in range(8, 8 * width, 8 * max(1, width // 50)):
        assert MLP.of_hidden(hidden, width).hidden(width) == hidden


def test_gpt2_small_holds_18432_elements_a_token() -> None:
    layers = (Attention(heads=12, kv_heads=12, head_dim=64),) * 12
    gpt2 = Architecture(vocabulary=50257, width=768, layers=layers)
    assert gpt2.state.elements(1000) == 18432 * 1000


def test_mamba2_130m_holds_its_published_state() -> None:
    layer = Mamba2(d_state=128, head_dim=64)
    model = Architecture(vocabulary=50280, width=768, layers=(layer,) * 24)
    convolution = 24 * (1536 + 2 * 128) * 3
    assert model.state.elements(10) - convolution == 24 * 1536 * 128 == 4_718_592


def test_a_shared_cache_counts_once() -> None:
    own = Attention(heads=4, kv_heads=2, head_dim=8)
    shared = Attention(heads=8, kv_heads=2, head_dim=8, share=0)
    alone, two = (Architecture(vocabulary=9, width=16, layers=layers) for layers in ((own,), (own, shared)))
    assert alone.state.elements(100) == two.state.elements(100) == 2 * 2 * 8 * 100
    assert two.picture == "A a"


def test_deepseek_v3_holds_70272_bytes_a_token() -> None:
    layer = LatentAttention(heads=128, head_dim=128, kv_rank=512, rope_dim=64, q_rank=1536)
    model = Architecture(vocabulary=129280, width=7168, layers=(layer,) * 61)
    assert model.state.bytes(1000, "bfloat16") == 70272 * 1000


@pytest.mark.parametrize(
    ("layers", "width", "elements"), [(24, 768, 589_824), (48, 1024, 1_572_864), (48, 2048, 3_145_728)]
)
def test_mamba_models_hold_their_published_states(layers: int, width: int, elements: int) -> None:
    model = Architecture(vocabulary=50280, width=width, layers=(Mamba1(),) * layers)
    convolution = layers * 2 * width * 3
    assert model.state.elements(10) - convolution == elements


def test_growing_state_spaces_follow_their_laws() -> None:
    tree = Architecture(vocabulary=9, width=8, layers=(LogLinear(d_state=4, head_dim=4),))
    copies = Architecture(vocabulary=9, width=8, layers=(CheckpointedSSM(d_state=4, head_dim=4, exponent=0.5),))
    convolution = (16 + 2 * 4) * 3
    assert [tree.state.elements(t) - convolution for t in (1, 2, 3, 4, 1023, 1024)] == [
        64 * levels for levels in (1, 2, 2, 3, 10, 11)
    ]
    assert [copies.state.elements(t) - convolution for t in (1, 3, 4, 99, 100)] == [
        64 * (1 + k) for k in (1, 1, 2, 9, 10)
    ]
    assert (tree.state.exponent, copies.state.exponent) == (0.0, 0.5)


def test_a_state_with_its_own_dtype_is_counted_in_it() -> None:
    plain, wide = (Mamba2(d_state=4, head_dim=4, state_dtype=dtype) for dtype in (None, "float32"))
    narrow, own = (Architecture(vocabulary=9, width=8, layers=(layer,)).state for layer in (plain, wide))
    assert narrow.elements(5) == own.elements(5)
    assert own.bytes(5, "bfloat16") - narrow.bytes(5, "bfloat16") == 2 * 16 * 4
    assert own.bytes(5, "float32") == narrow.bytes(5, "float32")


def test_flops_of_attention_match_a_count_by_hand() -> None:
    attention = Attention(heads=2, kv_heads=1, head_dim=8)
    length, width = 64, 16
    by_hand = 2 * length * attention.parameters(width) + 4 * 2 * 8 * (length * (length + 1) // 2)
    assert attention.flops(width, length) == by_hand


def test_every_part_of_a_state_is_of_the_kind_of_its_layer(drawing: Path) -> None:
    drawn = Architecture.load(drawing)
    assert set(drawn.state.kinds) == set(STATE_KINDS)
    window = next(layer for layer in drawn.layers if layer.letter == "W")
    counted = sum(StateLaw((term,)).elements(1000) for term in drawn.state.terms if term.kind == "window")
    assert counted == window.state_law(drawn.width).elements(1000)


def test_the_hidden_vector_that_tells_surprise_is_of_no_kind() -> None:
    layer = {"kind": "sparse_attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "chunk": 16, "exponent": 0.7}
    plain = {"vocabulary": 16, "width": 32, "layers": [{**layer, "allocate": "global", "choose": "surprise"}]}
    state = Architecture.parse(plain, "drawing").state
    assert sum(term.elements for term in state.terms if term.kind is None) == 32
