"""The mixers of flash-linear-attention's models: what each keeps and how many trainable numbers it has, by its sizes.

Facts are those of fla 0.6: its layers' shapes, its cache after a decoding step. Memories are float32 there.
"""

from dataclasses import dataclass

from l2m_design.architecture.readers.mixers import Mixer, linear
from l2m_design.architecture.readers.runtimes import Columns, Memory, Part


@dataclass(frozen=True)
class Heads:
    """Sizes of a linear recurrence over outer products of keys and values.

    heads: that have a memory, of key x value elements each. key_heads, value_heads: that are projected. taps: of short
    convolutions over queries, keys and values, None where there are none.
    """

    heads: int
    key_heads: int
    value_heads: int
    key: int
    value: int
    query_heads: int
    taps: int | None

    @property
    def channels(self) -> int:
        """Of queries, keys and values together."""
        return (self.query_heads + self.key_heads) * self.key + self.value_heads * self.value

    @property
    def out(self) -> int:
        """Channels of the output."""
        return self.heads * self.value

    def parts(self, kind: str | None) -> tuple[Part, ...]:
        """Memory, and the columns of the convolutions."""
        memory = Memory(self.heads * self.key * self.value, kind)
        return (memory, Columns(self.channels, self.taps, kind)) if self.taps else (memory,)

    def weights(self, width: int, gated: bool) -> int:
        """Of projections, convolutions, the output and its gate."""
        convolved = self.channels * (self.taps or 0)
        return linear(width, self.channels + (self.out if gated else 0)) + convolved + linear(self.out, width)


def gated_linear(width: int, sizes: Heads, gated: bool, normed: bool, rank: int = 16) -> Mixer:
    """Gated linear attention (arXiv 2312.06635): a decay for every channel of the keys, through a rank of 16."""
    keys = sizes.key_heads * sizes.key
    decay = linear(width, rank) + linear(rank, keys, bias=True)
    own = decay + (sizes.value if normed else 0)
    return Mixer("gla", "N", sizes.parts(None), sizes.weights(width, gated) + own)


def delta(width: int, sizes: Heads, gated: bool, rated: bool) -> Mixer:
    """DeltaNet (arXiv 2406.06484); rated: each head has a learnt rate (beta)."""
    own = (linear(width, sizes.heads) if rated else 0) + sizes.value
    return Mixer("delta_net", "D", sizes.parts(None), sizes.weights(width, gated) + own)


def gated_delta(width: int, sizes: Heads, gated: bool) -> Mixer:
    """Gated DeltaNet (arXiv 2412.06464)."""
    kind = "gated_deltanet"
    own = 2 * linear(width, sizes.heads) + 2 * sizes.heads + sizes.value
    return Mixer(kind, "D", sizes.parts(kind), sizes.weights(width, gated) + own)


def kimi_delta(width: int, sizes: Heads) -> Mixer:
    """Kimi Delta Attention (arXiv 2510.26692): decay and output gate of low rank, the value's head dimension."""
    rank, decays = sizes.value, sizes.heads * sizes.key
    low = 2 * linear(width, rank) + linear(rank, decays) + linear(rank, sizes.out, bias=True)
    own = low + linear(width, sizes.heads) + sizes.heads + decays + sizes.value
    return Mixer("kda", "K", sizes.parts(None), sizes.weights(width, gated=False) + own)


@dataclass(frozen=True)
class Ranks:
    """Ranks of RWKV-7's low-rank maps: decay, in-context rate (a), value (v; none in the first layer), gate."""

    decay: int
    rate: int
    value: int | None
    gate: int

    @property
    def shifted(self) -> tuple[int, ...]:
        """Those of the maps that end with a shift."""
        return self.decay, self.rate, *(() if self.value is None else (self.value,))


def rwkv7(width: int, heads: int, ranks: Ranks) -> Mixer:
    """Time mixing of RWKV-7 (arXiv 2503.14456): a memory for each head, and the last inputs of both its halves."""
    low = sum(linear(width, rank) + linear(rank, width, bias=True) for rank in ranks.shifted)
    low += linear(width, ranks.gate) + linear(ranks.gate, width)
    own = 6 * width + 2 * width + width + 2 * width
    parts = (Memory(width // heads * width, None), Columns(2 * width, 2, None, exact=True))
    return Mixer("rwkv7", "V", parts, 4 * linear(width, width) + low + own)
