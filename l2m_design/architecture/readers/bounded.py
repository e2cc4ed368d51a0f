"""Bounded caches: what `l2m cache --out`, or the export of a plan, wrote into a config beside its own fields."""

from dataclasses import replace
from typing import Any

from l2m_design.architecture.plans import LETTERS, RECORDS, CachePlan
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
            f"{runtime} uses the full cache with the weights of this folder; its `{CACHE}` works in transformers only.",
        )
    heads = int(getattr(config, "kv_heads", 0))
    if isinstance(settings, dict) and "layers" in settings:
        return _planned(settings["layers"], heads, blocks)
    try:
        budget = GlobalBudget(**{name: value for name, value in dict(settings).items() if name != "allocate"})  # type: ignore[call-overload]
        budget.count(2**20)
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        expected = "must have chunk, law, window or exponent and keep, and sinks"
        raise ValueError(f"{CACHE}: {expected} ({error})") from None
    note = (
        f"Full attention has the cache that `{CACHE}` describes: {budget.count(2**17):,} of 131,072 tokens per kv head "
        "on average."
    )
    return tuple(_bounded(block, budget, heads) for block in blocks), note


def _bounded(block: Block, budget: GlobalBudget, heads: int) -> Block:
    parts = block.mixer.parts
    full = all(isinstance(part, Keys) and part.window is None for part in parts)
    if block.shares is not None or not parts or not full:
        return block
    slots = [Slots(part.slot, budget) for part in parts if isinstance(part, Keys)]
    counts = Memory(heads, "attention", dict.fromkeys(READS, "float32"))
    kept: tuple[Part, ...] = (*slots, Slots(RECORD * heads, budget, "float32"), counts)
    return replace(block, mixer=replace(block.mixer, kind="bounded attention", letter="S", parts=kept))


def _planned(layers: Any, heads: int, blocks: tuple[Block, ...]) -> tuple[tuple[Block, ...], str]:
    """Blocks that keep what a plan says. Raises ValueError for settings that are no plan of these layers."""
    try:
        plan = CachePlan.of_plain(layers, heads)
        if len(plan.layers) != len(blocks):
            raise ValueError(f"found {len(plan.layers)} for a model of {len(blocks)} layers")
        kept = tuple(_of_plan(block, plan, layer) for layer, block in enumerate(blocks))
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{CACHE}.layers: must give the cache of each layer ({error})") from None
    return kept, f"Each layer has the cache that `{CACHE}` describes: {plan.picture}."


def _of_plan(block: Block, plan: CachePlan, layer: int) -> Block:
    slots = [part.slot for part in block.mixer.parts if isinstance(part, Keys)]
    if not slots:
        return block
    parts: list[Part] = []
    for kept, group in plan.groups(layer).items():
        slot = sum(slots) * len(group) // len(plan.layers[layer])
        if kept.cache == "sparse":
            counts = Memory(len(group), "attention", dict.fromkeys(READS, "float32"))
            records = Slots(RECORDS[kept.choose] * len(group), kept.budget, "float32")
            parts += [Slots(slot, kept.budget), records, counts]
        elif kept.cache == "full":
            parts.append(Keys(slot, "attention"))
        elif kept.cache not in ("none", "share"):
            parts.append(Keys(slot, "attention", kept.window + kept.sinks))
    letters = {LETTERS[kept.cache] for kept in plan.layers[layer]}
    letter = letters.pop() if len(letters) == 1 else "S"
    return replace(block, mixer=replace(block.mixer, kind="planned attention", letter=letter, parts=tuple(parts)))
