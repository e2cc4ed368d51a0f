"""Cache plans: what each kv head of each layer of a model that exists keeps, as exact laws and without torch."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple, get_args

from l2m_design.architecture.schedules import RECORD, GlobalBudget
from l2m_design.laws import Dtypes, Fixed, StateLaw, StateTerm, Tokens

ADOPTABLE = (
    "full or sliding attention with rotary positions (as Llama, Mistral, Qwen, SmolLM), with or without recurrent "
    "layers beside it (as LFM2, Qwen3-Next, Granite 4, Bamba)"
)
WHOLE, SLIDING = "full_attention", "sliding_attention"
RECURRENT = ("linear_attention", "conv")  # layer types that keep a state of fixed size, which no plan changes
SINKS = 4  # first tokens that stay cached, unless a number is given

Cache = Literal["full", "window", "sinks+window", "sparse", "none", "share", "recurrent"]
Choose = Literal["use", "attention_mass"]
Allocate = Literal["layer", "model"]
CACHES: tuple[Cache, ...] = get_args(Cache)
RECORDS: dict[str, int] = {"use": RECORD, "attention_mass": 2}  # float32 numbers beside key and value in a slot
LETTERS: dict[str, str] = {
    "full": "A",
    "window": "W",
    "sinks+window": "W",
    "sparse": "S",
    "none": "-",
    "share": "a",
    "recurrent": "R",
}


class Shape(NamedTuple):
    """What adoption needs to know of a model: layer types, query heads, kv heads, channels of a head, the tokens that
    sliding layers read, and, where it is known, what each recurrent layer keeps, in the order of layers.
    """

    layers: tuple[str, ...]
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    states: tuple["Kept", ...] = ()

    @property
    def whole(self) -> list[int]:
        """The layers of full attention, whose cache is bounded."""
        return [index for index, layer in enumerate(self.layers) if layer == WHOLE]

    def own(self, layer: int) -> "Kept":
        """What a layer of the model keeps by itself."""
        if self.layers[layer] in RECURRENT:
            before = sum(kind in RECURRENT for kind in self.layers[:layer])
            return self.states[before] if self.states else Kept("recurrent")
        return FULL if self.layers[layer] == WHOLE else Kept("window", self.window)


@dataclass(frozen=True)
class Kept:
    """What a kv head keeps.

    full: every token. window: the last `window` tokens, the one that reads included, so that window - 1 are cached.
    sinks+window: the first `sinks` tokens too. none: nothing; a token reads itself alone. sparse: the own and the
    previous chunk of `chunk` tokens, and of older ones B(t) slots a head: `window` of them, or, with an exponent,
    keep · t^exponent; the kv heads of a layer that keep alike compete for them, by predicted use or by the attention
    received (choose), or, with `allocate: model`, all heads of the model that say so compete for the sum of theirs, by
    predicted use. share: nothing; all heads of the layer read the cache of the nearest layer of attention
    below that has one. recurrent: the layer as a whole keeps `elements` numbers in the model's dtype and `floats` in
    float32, whatever the length; kind: of laws.STATE_KINDS, where it is known.
    """

    cache: Cache
    window: int = 0
    sinks: int = 0
    chunk: int = 0
    exponent: float = 0.0
    keep: float = 0.0
    choose: Choose = "use"
    allocate: Allocate = "layer"
    elements: int = 0
    floats: int = 0
    kind: str = ""

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Kept":
        """What `plain` wrote. Raises ValueError or TypeError for anything else."""
        kept = cls(**data)
        needed = {"window": kept.window >= 1, "sinks+window": kept.window >= 1 <= kept.sinks, "sparse": kept.chunk >= 2}
        pooled = kept.allocate == "model" and (kept.cache, kept.choose) == ("sparse", "use")
        known = kept.cache in CACHES and kept.choose in RECORDS and (kept.allocate == "layer" or pooled)
        if not known or not needed.get(kept.cache, True):
            raise ValueError(f"not a cache: {dict(data)}")
        return kept

    def holding(self, held: int, length: int) -> "Kept":
        """The same kind of cache, that holds so many tokens after `length`. Raises ValueError where that is too few."""
        least = {"window": 1, "sinks+window": self.sinks + 1, "sparse": 2 * self.chunk + self.sinks + 1}
        if held < least.get(self.cache, 0):
            raise ValueError(
                f"{held} tokens are too few for cache: {self.cache}, which stores {least[self.cache]} or more"
            )
        if self.cache != "sparse":
            return replace(self, window=held + 1 - self.sinks)
        old = held - 2 * self.chunk
        if not self.exponent:
            return replace(self, window=old)
        return replace(self, keep=(old + 0.5) / length**self.exponent)

    def plain(self) -> dict[str, Any]:
        """JSON-ready, without what is as usual."""
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @property
    def by_use(self) -> bool:
        """Is it a sparse cache by predicted use?"""
        return self.cache == "sparse" and self.choose == "use"

    @property
    def budget(self) -> GlobalBudget:
        """B(t) of a sparse cache."""
        law: Literal["power", "fixed"] = "power" if self.exponent else "fixed"
        return GlobalBudget(self.chunk, law, self.exponent, self.keep, self.window, self.sinks)

    @property
    def reach(self) -> int | None:
        """The last tokens that it reads, None where it reads others too: a model's own window may not be exceeded."""
        return {"window": self.window, "none": 1}.get(self.cache)

    def evicts(self, length: int) -> bool:
        """Is any of `length` tokens evicted before the last one is read?"""
        terms = self.state(1).terms
        return not terms or terms[0].growth.count(length - 1) < length - 1

    def state(self, head_dim: int) -> StateLaw:
        """The law of one kv head; a sparse one counts its slots in four bytes."""
        slot = 2 * head_dim
        if self.cache in ("none", "share"):
            return StateLaw()
        if self.cache == "recurrent":
            kind = self.kind or None
            numbers = ((self.elements, None), (self.floats, "float32"))
            return StateLaw(tuple(StateTerm(count, Fixed(), dtype, kind) for count, dtype in numbers if count))
        if self.cache == "sparse":
            records = StateTerm(RECORDS[self.choose], self.budget, "float32")
            counts = StateTerm(1, Fixed(), "float32")
            return StateLaw((StateTerm(slot, self.budget), records, counts)).of_kind("sparse_attention")
        cap = None if self.cache == "full" else self.window - 1 + self.sinks
        kind = "attention" if self.cache == "full" else "window"
        return StateLaw((StateTerm(slot, Tokens(cap), None, kind),))

    def __str__(self) -> str:
        if self.cache == "share":
            return "cache below"
        if self.cache in ("full", "none", "recurrent"):
            return self.cache
        if self.cache == "sparse":
            local = 2 * self.chunk
            slots = f"{self.keep:.3g} t^{self.exponent:g} + {local}" if self.exponent else f"{self.window + local:,}"
            shared = ", all heads compete" if self.allocate == "model" else ""
            return f"sparse {slots}" + (" by attention" if self.choose == "attention_mass" else shared)
        return f"window {self.window:,}" + (f" + {self.sinks} sinks" if self.sinks else "")


FULL, NONE, SHARE = Kept("full"), Kept("none"), Kept("share")


def entries(kept: Kept, kv_heads: int) -> int:
    """Of a layer all of which keeps this, in a plan."""
    return 1 if kept.cache == "recurrent" else kv_heads


@dataclass(frozen=True)
class CachePlan:
    """What every kv head keeps: layers[i][g], as many heads in each layer of attention; a recurrent layer is one."""

    layers: tuple[tuple[Kept, ...], ...]

    @classmethod
    def alike(cls, layers: Iterable[Kept], kv_heads: int) -> "CachePlan":
        """All heads of a layer keep alike."""
        return cls(tuple((kept,) * entries(kept, kv_heads) for kept in layers))

    @classmethod
    def own(cls, shape: Shape) -> "CachePlan":
        """What the model keeps by itself."""
        return cls.alike(map(shape.own, range(len(shape.layers))), shape.kv_heads)

    @classmethod
    def of_plain(cls, layers: Any, kv_heads: int) -> "CachePlan":
        """What `plain` wrote. Raises ValueError or TypeError for anything else."""
        found = []
        for layer in layers:
            heads = [layer] if isinstance(layer, Mapping) else list(layer)
            kept = tuple(Kept.of_plain(head) for head in heads)
            found.append(kept * entries(kept[0], kv_heads) if isinstance(layer, Mapping) else kept)
            if len(found[-1]) != entries(found[-1][0], kv_heads):
                raise ValueError(f"{len(found[-1])} caches for {kv_heads} kv heads")
        return cls(tuple(found))

    def plain(self) -> list[Any]:
        """JSON-ready: of each layer what all its heads keep, or a list of what each does."""
        return [heads[0].plain() if len(set(heads)) == 1 else [head.plain() for head in heads] for heads in self.layers]

    def but(self, layer: int, heads: Iterable[int], kept: Kept) -> "CachePlan":
        """The same, but that these heads of a layer keep something else."""
        chosen = set(heads)
        changed = tuple(kept if head in chosen else old for head, old in enumerate(self.layers[layer]))
        return CachePlan((*self.layers[:layer], changed, *self.layers[layer + 1 :]))

    def competing(self) -> "CachePlan | None":
        """The same state, for which all heads that choose by predicted use compete; None where they are of one layer
        or have unlike chunks or sinks.
        """
        chosen = {(layer, each) for layer, heads in enumerate(self.layers) for each in heads if each.by_use}
        if len({layer for layer, _ in chosen}) < 2 or len({(each.chunk, each.sinks) for _, each in chosen}) > 1:
            return None
        pooled = (tuple(replace(k, allocate="model") if k.by_use else k for k in heads) for heads in self.layers)
        return CachePlan(tuple(pooled))

    def source(self, layer: int) -> int | None:
        """The layer whose cache a layer of attention reads: its own, or with `share` the nearest one below that has
        one; None where there is none.
        """
        own = ("share", "recurrent") if self.layers[layer][0].cache == "share" else ()
        return next((at for at in range(layer, -1, -1) if self.layers[at][0].cache not in own), None)

    def groups(self, layer: int) -> dict[Kept, tuple[int, ...]]:
        """The heads of a layer by what they keep, in the order of the first of each."""
        found: dict[Kept, tuple[int, ...]] = {}
        for head, kept in enumerate(self.layers[layer]):
            found[kept] = (*found.get(kept, ()), head)
        return found

    def state(self, head_dim: int) -> StateLaw:
        """The law of the whole plan."""
        return StateLaw(
            tuple(t for heads in self.layers for kept in heads for t in kept.state(head_dim).terms)
        ).merged()

    def bytes(self, length: int, head_dim: int, dtypes: str | Dtypes) -> int:
        """State bytes after `length` tokens."""
        return self.state(head_dim).bytes(length, dtypes)

    @property
    def chunks(self) -> set[int]:
        """Sizes of the chunks of its sparse caches."""
        return {kept.chunk for heads in self.layers for kept in heads if kept.cache == "sparse"}

    @property
    def picture(self) -> str:
        """One letter per layer: A all tokens, W a window, S sparse, - none, a the cache below, R recurrent, H heads
        that keep unlike.
        """
        return " ".join(LETTERS[heads[0].cache] if len(set(heads)) == 1 else "H" for heads in self.layers)

    def native(self, shape: Shape) -> int | None:
        """The window of a plan that layers of full and of sliding attention with one window can carry; None where they
        cannot, 0 where no layer has one.
        """
        if any(len(set(heads)) > 1 or heads[0].cache not in ("full", "window") for heads in self.layers):
            return None
        windows = {heads[0].window for heads in self.layers if heads[0].cache == "window"}
        return None if len(windows) > 1 or 1 in windows else next(iter(windows), 0)
