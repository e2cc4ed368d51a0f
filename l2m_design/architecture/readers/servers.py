"""Servers: the bytes that vLLM and llama.cpp allocate for states, pages and cells that stand empty included.

A law says what is held; a server allocates more. llama.cpp allocates the whole context when it starts, in cells. vLLM
hands out pages, and all layers' pages have one size. Sources, read and not run: `_align_hybrid_block_size` and
`get_kv_cache_groups` of vLLM 0.29, `llama_kv_cache`, `llama_kv_cache_iswa` and `llama_memory_recurrent` of llama.cpp in
2026; tests hold both to lines of public logs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes, Fixed, StateLaw, StateTerm, Tokens
from l2m_design.settings import Json

CELLS = 256  # llama.cpp rounds a context, and the cache of windows, up to so many cells
UBATCH = 512  # tokens that llama.cpp computes at once by default; windows have room for them
BLOCK, LATENT_BLOCK = 16, 64  # tokens: vLLM's blocks are multiples, those of latent attention of the second
CACHED_STATES = (
    2  # pages of a state that vLLM gives a sequence with prefix caching, its default: this block's, the last's
)
FEW_MORE = 1.5  # vLLM makes groups of the largest kind of layers where it has fewer than so many times the smallest's


@dataclass(frozen=True)
class Group:
    """Layers that a server treats alike. of: attention, window or state; slots: tokens that each has room for, of a
    sequence (of a state: pages); padding: layers that are added to make groups equal; bytes: of all sequences.
    """

    of: str
    layers: int
    slots: int
    bytes: int
    padding: int = 0


@dataclass(frozen=True)
class Allotment:
    """What a server allocates. block, page: tokens and bytes of vLLM's attention page; why: where what is more than the
    state itself comes from, a clause.
    """

    groups: tuple[Group, ...]
    why: str
    block: int | None = None
    page: int | None = None

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(group.bytes for group in self.groups)

    def plain(self) -> Json:
        """JSON-ready."""
        names = ("of", "layers", "slots", "padding", "bytes")
        groups = [{name: getattr(group, name) for name in names} for group in self.groups]
        return {"bytes": self.bytes, "block_tokens": self.block, "page_bytes": self.page, "groups": groups}


@dataclass(frozen=True)
class Cache:
    """A layer's keys and values: bytes of a token, tokens of its window or None, and is it a latent?"""

    token: int
    window: int | None
    latent: bool

    def of(self) -> str:
        """A word for it."""
        return "attention" if self.window is None else "window"


def llama_cpp(
    layers: Sequence[StateLaw], length: int, dtypes: Dtypes, batch: int = 1, ubatch: int = UBATCH, unified: bool = False
) -> Allotment:
    """Cells for `batch` sequences of `length` tokens, and a recurrent state for each.

    unified: one cache that all sequences share, as llama-server has where it chooses the number of sequences itself.
    """
    groups = []
    streams, together = (1, batch) if unified else (batch, 1)
    context = _up(length * together, CELLS)
    for cache, count in Counter(cache for law in layers for cache in _caches(law, dtypes)).items():
        cells = context if cache.window is None else _up(min(context, cache.window * together + ubatch), CELLS)
        groups.append(Group(cache.of(), count, cells, count * cells * streams * cache.token))
    for size, count in Counter(filter(None, (_state(law, dtypes) for law in layers))).items():
        groups.append(Group("state", count, 1, count * batch * size))
    why = f"the whole context is allocated at once, in steps of {CELLS} cells"
    if _any(groups, "window"):
        why += f", and windows have {ubatch} cells more than they need"
    return Allotment(tuple(groups), why if _any(groups, "attention", "window") else "there is no padding")


def vllm(
    layers: Sequence[StateLaw], length: int, dtypes: Dtypes, batch: int = 1, states: int = CACHED_STATES
) -> Allotment:
    """Pages that `batch` sequences hold after `length` tokens each, at most.

    Layers of a kind (full attention, a window, a recurrent state) form groups of equally many, filled up with padding
    layers; a page of a group is one of each of its layers. states: pages of a state for each sequence.
    """
    caches = Counter(cache for law in layers for cache in _caches(law, dtypes))
    sizes = Counter(filter(None, (_state(law, dtypes) for law in layers)))
    if not caches or (not sizes and len({cache.window for cache in caches}) == 1):
        return _alike(caches, sizes, length, batch)
    token = min(cache.token for cache in caches)
    step = LATENT_BLOCK if any(cache.latent for cache in caches) and sizes else BLOCK
    block = step * -(-max(sizes, default=1) // (step * token))
    page = max(cache.token for cache in caches) * block
    if odd := next((cache.token for cache in caches if page % (cache.token * block)), None):
        raise BadInput(
            f"`paged`: a model whose layers store {odd:,} and {page // block:,} bytes per token is not supported; "
            "without `paged`, nominal bytes are counted"
        )
    kinds = [(cache.of(), count, _blocks(cache, page // cache.token, length), page // cache.token)
             for cache, count in caches.items()]  # fmt: skip
    kinds += [("state", count, states, 1) for count in sizes.values()]
    counts = [count for _, count, _, _ in kinds]
    most = max(counts) if max(counts) < FEW_MORE * min(counts) else min(counts)
    groups = tuple(
        Group(of, count, blocks * slots, -(-count // most) * most * blocks * page * batch, -count % most)
        for of, count, blocks, slots in kinds
    )
    return Allotment(groups, _why(groups, max(sizes, default=0), block, page, states), block, page)


def _alike(caches: Counter[Cache], sizes: Counter[int], length: int, batch: int) -> Allotment:
    """Layers of one kind form one group, each with pages of its own size."""
    groups = [
        Group(cache.of(), count, (blocks := _blocks(cache, BLOCK, length)) * BLOCK,
              count * blocks * BLOCK * cache.token * batch)
        for cache, count in caches.items()
    ]  # fmt: skip
    page = max(sizes, default=0)
    groups += [Group("state", count, 1, count * page * batch) for count in sizes.values()]
    why = _in_blocks(groups, BLOCK) if caches else "a state is a page"
    return Allotment(tuple(groups), why, BLOCK if caches else None)


def _why(groups: tuple[Group, ...], state: int, block: int, page: int, states: int) -> str:
    """Where the padding comes from."""
    clauses = [_in_blocks(groups, block)]
    if state:
        clauses[0] += ", so that a page of them is as large as that of a recurrent state"
        if page > state:
            clauses.append(f"the page of a state is padded by {100 * (page - state) / state:.2f}%")
        if states > 1:
            clauses.append(f"with prefix caching a sequence has {states} pages of state")
    if padding := sum(group.padding for group in groups):
        clauses.append(f"{padding} padding layer{'s' if padding > 1 else ''} make groups of layers equal")
    return "; ".join(clauses)


def _in_blocks(groups: Sequence[Group], block: int) -> str:
    touched = ", one more than a window fills" if _any(groups, "window") else ""
    return f"keys and values are stored in blocks of {block:,} tokens{touched}"


def _blocks(cache: Cache, block: int, length: int) -> int:
    """Blocks of a sequence: a window touches one more than it fills."""
    whole = -(-length // block)
    return whole if cache.window is None else min(whole, -(-(cache.window - 1) // block) + 1)


def _caches(law: StateLaw, dtypes: Dtypes) -> list[Cache]:
    """The caches of a layer; raises BadInput for those that keep neither all tokens nor the last."""
    found = []
    for term in law.terms:
        if not term.elements or isinstance(term.growth, Fixed):
            continue
        if not isinstance(term.growth, Tokens) or not term.cached:
            raise BadInput(
                "allocated bytes are supported for layers that store all tokens, the most recent ones, or a fixed state"
            )
        found.append(Cache(_bytes(term, dtypes), term.growth.cap, term.kind == "mla"))
    return found


def _state(law: StateLaw, dtypes: Dtypes) -> int:
    """Bytes of a layer's fixed states."""
    return sum(_bytes(term, dtypes) for term in law.terms if isinstance(term.growth, Fixed))


def _bytes(term: StateTerm, dtypes: Dtypes) -> int:
    return dtypes.bytes(term, term.elements)


def _any(groups: Sequence[Group], *of: str) -> bool:
    return any(group.of in of for group in groups)


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
