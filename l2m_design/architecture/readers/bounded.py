"""Bounded caches: what `l2m cache --out` wrote into a config beside the model's own fields."""

from dataclasses import replace

from l2m_design.architecture.readers.config import Block, Config
from l2m_design.architecture.readers.files import CACHE
from l2m_design.architecture.readers.runtimes import Keys, Memory, Part, Slots
from l2m_design.architecture.schedules import RECORD, GlobalBudget
from l2m_design.settings import Json

READS = ("transformers", "ideal")  # the others know nothing of it


def bounded(
    data: Json, config: Config, blocks: tuple[Block, ...], runtime: str
) -> tuple[tuple[Block, ...], str | None]:
    """The blocks with the cache of config.json's `l2m_cache`, and a sentence on it; as they are where there is none.

    Raises ValueError for settings that are no cache.
    """
    settings = data.get(CACHE)
    if settings is None:
        return blocks, None
    if runtime not in READS:
        return (
            blocks,
            f"{runtime} reads the folder's weights with the full cache: its `{CACHE}` is for transformers.",
        )
    try:
        budget = GlobalBudget(**{name: value for name, value in dict(settings).items() if name != "allocate"})  # type: ignore[call-overload]
        budget.count(2**20)
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        expected = "chunk, law, window or exponent and keep, and sinks are expected"
        raise ValueError(f"{CACHE}: {expected} ({error})") from None
    heads = int(getattr(config, "kv_heads", 0))
    said = f"Full attention keeps what `{CACHE}` says: {budget.count(2**17):,} tokens a kv head of 131,072, on average."
    return tuple(_bounded(block, budget, heads) for block in blocks), said


def _bounded(block: Block, budget: GlobalBudget, heads: int) -> Block:
    parts = block.mixer.parts
    full = all(isinstance(part, Keys) and part.window is None for part in parts)
    if block.shares is not None or not parts or not full:
        return block
    slots = [Slots(part.slot, budget) for part in parts if isinstance(part, Keys)]
    counts = Memory(heads, "sparse_attention", dict.fromkeys(READS, "float32"))
    kept: tuple[Part, ...] = (*slots, Slots(RECORD * heads, budget, "float32"), counts)
    return replace(block, mixer=replace(block.mixer, kind="bounded attention", letter="S", parts=kept))
