"""The mixers of published models: what each keeps and how many trainable numbers it has, by its sizes.

Counts are those of the transformers classes (tests hold them to the classes), biases and norms included.
Letters are those of the picture of an architecture, and: K KDA, N linear attention, R RG-LRU, V RWKV, G gated short
convolution, X cross-attention, H attention beside a state space in one layer, - no mixer.
"""

from dataclasses import dataclass, replace

from l2m_design.architecture.readers.runtimes import Columns, Keys, Memory, Part


def linear(inputs: int, outputs: int, bias: bool = False) -> int:
    """Trainable numbers of a linear map."""
    return inputs * outputs + (outputs if bias else 0)


@dataclass(frozen=True)
class Weights:
    """Trainable numbers: all of them, and those that one token passes (of experts only the chosen ones)."""

    total: int
    active: int

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.total + other.total, self.active + other.active)

    @classmethod
    def dense(cls, count: int) -> "Weights":
        """Numbers that every token passes."""
        return cls(count, count)

    @classmethod
    def gated(cls, width: int, hidden: int, bias: bool = False) -> "Weights":
        """An MLP of gate, up and down."""
        return cls.dense(2 * linear(width, hidden, bias) + linear(hidden, width, bias))

    @classmethod
    def plain(cls, width: int, hidden: int, bias: bool = True) -> "Weights":
        """An MLP of up and down."""
        return cls.dense(linear(width, hidden, bias) + linear(hidden, width, bias))

    def experts(self, count: int, chosen: int, router: int) -> "Weights":
        """`count` experts of this size, of which a token passes `chosen`, and their router."""
        return Weights(count * self.total + router, min(chosen, count) * self.active + router)


@dataclass(frozen=True)
class Mixer:
    """A layer's token mixer. kind: a word for it. parts: what it keeps. weights: trainable numbers."""

    kind: str
    letter: str
    parts: tuple[Part, ...]
    weights: int

    def with_more(self, weights: int) -> "Mixer":
        """The same with further trainable numbers (norms, sinks)."""
        return replace(self, weights=self.weights + weights)

    def keeping(self, *parts: Part) -> "Mixer":
        """The same, keeping these parts too."""
        return replace(self, parts=self.parts + parts)

    def beside(self, other: "Mixer") -> "Mixer":
        """Both in one layer."""
        name = f"{self.kind} + {other.kind}"
        return Mixer(name, "H", self.parts + other.parts, self.weights + other.weights)


NOTHING = Mixer("nothing", "-", (), 0)


@dataclass(frozen=True)
class Attention:
    """`heads` query heads over `kv_heads` heads of keys and values, `window` tokens or all.

    bias: on queries, keys and values; out_bias: on the output, `bias` by default. gated: an output gate, as large as
    the queries. inputs: channels that it reads, the width by default. reads_other: does it read the cache of another
    layer?.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    bias: bool = False
    out_bias: bool | None = None
    gated: bool = False
    inputs: int | None = None
    reads_other: bool = False

    def mixer(self, width: int) -> Mixer:
        """The layer at a model width."""
        inputs = width if self.inputs is None else self.inputs
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        queried = linear(inputs, queries * (2 if self.gated else 1), self.bias)
        kept = 2 * linear(inputs, keys, self.bias)
        out = linear(queries, width, self.bias if self.out_bias is None else self.out_bias)
        kind, letter = ("attention", "A") if self.window is None else ("window", "W")
        if self.reads_other:
            return Mixer(kind, letter, (), queried + out)
        return Mixer(kind, letter, (Keys(2 * keys, kind, self.window),), queried + kept + out)


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (arXiv 2405.04434): kv_rank + rope elements per token.

    q_rank: rank of the queries, None for a whole projection. rope, nope, value: head dimensions.
    """

    heads: int
    q_rank: int | None
    kv_rank: int
    rope: int
    nope: int
    value: int
    bias: bool

    def mixer(self, width: int) -> Mixer:
        """The layer at a model width."""
        queries = self.heads * (self.rope + self.nope)
        if self.q_rank is None:
            ask = linear(width, queries)
        else:
            ask = linear(width, self.q_rank, self.bias) + self.q_rank + linear(self.q_rank, queries)
        compress = linear(width, self.kv_rank + self.rope, self.bias) + self.kv_rank
        expand = linear(self.kv_rank, self.heads * (self.nope + self.value))
        expand += linear(self.heads * self.value, width, self.bias)
        return Mixer("mla", "L", (Keys(self.kv_rank + self.rope, "mla"),), ask + compress + expand)


def indexer(mixer: Mixer, width: int, rank: int, heads: int, head_dim: int) -> Mixer:
    """The same with an indexer (DeepSeek-V3.2, arXiv 2512.02556) that picks the tokens to read: one key a token.

    rank: of the queries, which the indexer reads. vLLM holds its keys in float8, with one scale for 128 of them.
    """
    own = linear(rank, heads * head_dim) + linear(width, head_dim) + 2 * head_dim + linear(width, heads)
    keys = Keys(head_dim, None, held={"vllm": "float8"})
    scales = Keys(head_dim // 128, None, held={"vllm": "float32"}, only="vllm")
    return replace(mixer.with_more(own).keeping(keys, scales), kind=f"{mixer.kind} + indexer")


@dataclass(frozen=True)
class Mamba1:
    """Sizes of a Mamba layer (arXiv 2312.00752); rank: of the step sizes; normed: RMSNorms of dt, B and C with weights
    (Jamba).
    """

    inner: int
    state: int
    taps: int
    rank: int
    bias: bool
    conv_bias: bool
    normed: bool = False

    def mixer(self, width: int) -> Mixer:
        """The layer at a model width."""
        inner, state, rank = self.inner, self.state, self.rank
        ends = linear(width, 2 * inner, self.bias) + linear(inner, width, self.bias)
        steps = linear(inner, rank + 2 * state) + linear(rank, inner, bias=True)
        own = inner * (self.taps + (1 if self.conv_bias else 0)) + inner * state + inner
        norms = rank + 2 * state if self.normed else 0
        parts = (Memory(inner * state, "mamba1"), Columns(inner, self.taps, "mamba1"))
        return Mixer("mamba1", "1", parts, ends + steps + own + norms)


@dataclass(frozen=True)
class StateSpace:
    """Sizes of a Mamba-2 layer (arXiv 2405.21060); beside: channels of a gated MLP inside it."""

    heads: int
    head_dim: int
    groups: int
    state: int
    taps: int
    bias: bool = False
    out_bias: bool = False
    conv_bias: bool = True
    normed: bool = True
    beside: int = 0
    vllm: str | None = None

    def mixer(self, width: int) -> Mixer:
        """The layer at a model width."""
        inner = self.heads * self.head_dim
        convolved = inner + 2 * self.groups * self.state
        into = linear(width, inner + convolved + self.heads + 2 * self.beside, self.bias)
        own = convolved * (self.taps + (1 if self.conv_bias else 0)) + 3 * self.heads + (inner if self.normed else 0)
        held = {"vllm": self.vllm}
        parts = (Memory(inner * self.state, "mamba2", held), Columns(convolved, self.taps, "mamba2"))
        return Mixer("mamba2", "M", parts, into + own + linear(inner + self.beside, width, self.out_bias))


@dataclass(frozen=True)
class GatedDelta:
    """Sizes of a gated DeltaNet layer (arXiv 2412.06464) as in Qwen3-Next; key, value: head dimensions."""

    key_heads: int
    value_heads: int
    key: int
    value: int
    taps: int
    vllm: str | None = None

    def mixer(self, width: int) -> Mixer:
        """The layer at a model width."""
        keys, values = self.key_heads * self.key, self.value_heads * self.value
        convolved = 2 * keys + values
        maps = linear(width, convolved + values + 2 * self.value_heads) + linear(values, width)
        parts = (
            Memory(self.value_heads * self.key * self.value, "gated_deltanet", {"vllm": self.vllm}),
            Columns(convolved, self.taps, "gated_deltanet"),
        )
        own = convolved * self.taps + 2 * self.value_heads + self.value
        return Mixer("gated_deltanet", "D", parts, maps + own)


def kimi_delta(width: int, heads: int, head_dim: int, taps: int) -> Mixer:
    """Kimi Delta Attention (arXiv 2510.26692): a delta rule with a decay for every channel of the keys."""
    inner = heads * head_dim
    maps = 3 * linear(width, inner) + linear(width, heads) + linear(inner, width)
    low_rank = 2 * (linear(width, head_dim) + linear(head_dim, inner))
    own = 3 * inner * taps + inner + heads + head_dim
    parts = (Memory(heads * head_dim * head_dim, None, {"vllm": "float32"}), Columns(3 * inner, taps, None))
    return Mixer("kda", "K", parts, maps + low_rank + own)


def lightning(width: int, heads: int, head_dim: int) -> Mixer:
    """Lightning attention (arXiv 2501.08313): linear attention with a fixed decay for each head, an output gate and a
    norm over all heads; its memory is in the model's dtype everywhere.
    """
    inner = heads * head_dim
    memory = Memory(inner * head_dim, None, {"transformers": None})
    return Mixer("lightning", "N", (memory,), 4 * linear(width, inner) + linear(inner, width) + inner)


def rg_lru(width: int, lru: int, heads: int, taps: int) -> Mixer:
    """The recurrent block of Griffin (arXiv 2402.19427): two branches, a convolution and a gated linear recurrence."""
    block = lru // heads
    maps = 2 * linear(width, lru, bias=True) + linear(lru, width, bias=True)
    gates = 2 * heads * (block * block + block) + lru
    return Mixer(
        "rg_lru", "R", (Memory(lru, None), Columns(lru, taps, None, exact=True)), maps + gates + lru * (taps + 1)
    )


def rwkv4(width: int, inner: int) -> Mixer:
    """Time mixing of RWKV-4 (arXiv 2305.13048): numerator, denominator and their scale, and the last input of both
    its halves.
    """
    maps = 3 * linear(width, inner) + linear(inner, width)
    parts = (Memory(3 * inner, None), Columns(2 * width, 2, None, exact=True))
    return Mixer("rwkv", "V", parts, maps + 2 * inner + 3 * width)


def short_convolution(width: int, taps: int, bias: bool) -> Mixer:
    """The gated short convolution of LFM2."""
    maps = linear(width, 3 * width, bias) + linear(width, width, bias)
    own = width * (taps + (1 if bias else 0))
    return Mixer("short_convolution", "G", (Columns(width, taps, None),), maps + own)
