"""Runtimes: whose convention the elements and bytes of a published model's state follow.

A layer keeps parts: keys and values of tokens, a recurrent memory, the last inputs of a convolution. What one runtime
holds of the same part differs a little from what another does: a closed set of conventions, applied to every part.

Sources: `ideal` is this project's own count (what the mathematics needs); `transformers` is its cache classes of 5.24,
measured after a decoding step (tests hold the law to them); `fla` is the cache of flash-linear-attention 0.6, measured
where that and Triton are installed; `vllm` is its MambaStateShapeCalculator, MambaStateDtypeCalculator and indexer
cache, `mamba-ssm` the `allocate_inference_cache` of its modules, `llama.cpp` the sizes of its llama_kv_cache and
llama_memory_recurrent: all three read in source, not run. What servers allocate beyond it: `servers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import BadInput
from l2m_design.laws import Fixed, StateLaw, StateTerm, Tokens
from l2m_design.settings import nearest

MEASURED = "5.24"  # the version of transformers whose caches tests hold the laws to


@dataclass(frozen=True)
class Convention:
    """What a runtime holds.

    version: that was measured, None where none was. unread: tokens of a window that it has dropped when a step is over
    (the next one reads window - 1 and itself). spare: columns of a convolution beyond the taps - 1 that must be kept.
    memory, column: the dtypes of recurrent memories and of convolutions, None for the model's own. counted: whose
    convention it is; of_keys, of_windows, of_tokens (windows of one), of_memories, of_indexers, of_columns: what to
    know of models that have them.
    """

    counted: str
    version: str | None = None
    unread: int = 0
    spare: int = 0
    memory: str | None = None
    column: str | None = None
    of_keys: str | None = None
    of_windows: str | None = None
    of_tokens: str | None = None
    of_memories: str | None = None
    of_indexers: str | None = None
    of_columns: str | None = None

    def sentence(self, runtime: str, parts: tuple["Part", ...]) -> str:
        """Whose convention it is (runtime's), and what it means for these parts."""
        memories = [part for part in parts if isinstance(part, Memory)]
        there = {
            self.of_keys: any(isinstance(part, Keys) for part in parts),
            self.of_windows: any(isinstance(part, Keys) and part.window is not None for part in parts),
            self.of_tokens: any(isinstance(part, Keys) and part.window == 1 for part in parts),
            self.of_memories: any(self.memory is None or runtime not in part.held for part in memories),
            self.of_indexers: any(isinstance(part, Keys) and part.held for part in parts),
            self.of_columns: any(isinstance(part, Columns) and not part.exact for part in parts),
        }
        clauses = [clause for clause, applies in there.items() if clause and applies]
        return self.counted + (f": {'; '.join(clauses)}." if clauses else ".")


CONVENTIONS = {
    "transformers": Convention(
        f"Counted like the dynamic cache of transformers {MEASURED} after a decoding step",
        version=MEASURED,
        unread=1,
        spare=1,
        memory="float32",
        of_windows="windows store one token less than they read",
        of_tokens=(
            "windows of one token are never shortened, although the rest is not read (`runtime` ideal counts what is "
            "read)"
        ),
        of_memories="recurrent states in float32",
        of_columns="convolutions one column wider than necessary",
    ),
    "vllm": Convention(
        "Counted with the shapes of vLLM and its default dtypes",
        of_windows="windows at their size, although only whole pages are freed",
        of_memories="recurrent states in the dtype of the model, unless the config or their kernel says otherwise",
        of_indexers="keys of indexers in float8 with a float32 scale for every 128 of them",
    ),
    "llama.cpp": Convention(
        "Counted like the cache of llama.cpp",
        memory="float32",
        column="float32",
        of_keys="keys and values in float16 unless `kv_dtype` is given",
        of_memories="recurrent states in float32",
    ),
    "mamba-ssm": Convention(
        "Counted as mamba-ssm allocates it, all in the dtype of the model",
        spare=1,
        of_keys="keys and values as they fill, although it allocates them for the longest context at once",
        of_columns="convolutions one column wider than necessary",
    ),
    "fla": Convention(
        "Counted like the cache of flash-linear-attention 0.6 after a decoding step",
        version="0.6",
        spare=1,
        memory="float32",
        of_memories="recurrent states in float32",
        of_columns="convolutions one column wider than necessary",
    ),
    "ideal": Convention("Counted as the necessary state, all of it in the given dtype"),
}
RUNTIMES = tuple(CONVENTIONS)


def convention(runtime: str) -> Convention:
    """The convention of a runtime; raises BadInput naming the nearest and all."""
    if runtime not in CONVENTIONS:
        close = nearest(runtime, RUNTIMES)
        hint = f"did you mean '{close}'? " if close else ""
        raise BadInput(f"`runtime`: unknown runtime '{runtime}'; {hint}allowed: {', '.join(RUNTIMES)}")
    return CONVENTIONS[runtime]


@dataclass(frozen=True)
class Keys:
    """`slot` elements for each token read: keys and values, or the latent that they are made of.

    kind: of laws.STATE_KINDS, None for what they do not name. held: by runtime, the dtype that they always have there.
    only: the one runtime that has them, where not all do.
    """

    slot: int
    kind: str | None
    window: int | None = None
    held: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None

    def term(self, runtime: str) -> StateTerm:
        """One slot a token; in transformers a window of one token is never cut, since [-0:] is everything."""
        cap = None if self.window is None else (self.window - convention(runtime).unread) or None
        slot = self.slot if self.only in (None, runtime) else 0
        return StateTerm(slot, Tokens(cap), self.held.get(runtime), self.kind)


@dataclass(frozen=True)
class Memory:
    """`elements` numbers of a recurrence; kind: of laws.STATE_KINDS, None for one that they do not name.

    held: by runtime, the dtype that this memory always has there, where that is not the convention's.
    """

    elements: int
    kind: str | None
    held: Mapping[str, str | None] = field(default_factory=dict)

    def term(self, runtime: str) -> StateTerm:
        """The same at every length."""
        dtype = self.held.get(runtime, convention(runtime).memory)
        return StateTerm(self.elements, Fixed(), dtype, self.kind)


@dataclass(frozen=True)
class Columns:
    """The last taps - 1 inputs of a causal convolution over `channels`, in the model's dtype or the convention's.

    exact: held without the spare column by every runtime.
    """

    channels: int
    taps: int
    kind: str | None
    exact: bool = False

    def term(self, runtime: str) -> StateTerm:
        """The same at every length."""
        spare = 0 if self.exact else convention(runtime).spare
        return StateTerm(self.channels * (self.taps - 1 + spare), Fixed(), convention(runtime).column, self.kind)


@dataclass(frozen=True)
class Slots:
    """`slot` elements for each of the tokens that a budget keeps, in `dtype` (None: the model's)."""

    slot: int
    budget: GlobalBudget
    dtype: str | None = None

    def term(self, runtime: str) -> StateTerm:
        """As many slots as the budget says, the heads' mean; an element is one of the full cache, and holds as much."""
        return StateTerm(self.slot, self.budget, self.dtype, "attention")


Part = Keys | Memory | Columns | Slots


def law(parts: tuple[Part, ...], runtime: str) -> StateLaw:
    """The state law of a layer's parts in a runtime, without those that it does not have."""
    return StateLaw(tuple(term for part in parts if (term := part.term(runtime)).elements))
