"""Work: what an adoption study reads, in passes over a window and in operations, before anything is read."""

from dataclasses import dataclass
from typing import Any

from l2m_design.architecture.plans import Shape
from l2m_design.search.adoption.designs import EVERY
from l2m_design.search.adoption.knapsack import Unit
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.watch import Stage
from l2m_design.training.adoption import LONGEST
from l2m_design.training.context import contexts_of

PREDICTED, COSTS, RANDOM = "predicted use", "costs of replacements", "random plans"  # stages that all budgets share
RANDOM_TESTED = 2  # random plans of each budget that test windows are read with


@dataclass(frozen=True)
class Work:
    """Full passes over a window of `length` tokens, by part; operations of one; the stages, nothing of them done."""

    passes: dict[str, float]
    operations: float
    stages: list[Stage]

    @property
    def total(self) -> float:
        """Operations of all passes."""
        return sum(self.passes.values()) * self.operations


def work_of(settings: AdoptionSettings, config: Any, shape: Shape, units: list[Unit]) -> Work:
    """The most that a study reads, the model's config given as transformers has it."""
    windows, budgets = settings.windows, len(settings.budgets)
    body, head = _operations(settings.length, config, shape)
    layers, whole = len(shape.layers), body + head
    replaced = sum((len(unit.options) - 1) * (body * (1 - unit.layer / layers) + head / 2) for unit in units) / whole
    pooled = [kept for kept in settings.templates if kept.by_use and settings.allocate == "model"]
    designs = [len(settings.templates + pooled) + sum(1 / b < n < layers for n in EVERY) for b in settings.budgets]
    tested = 1 + sum(2 + count + RANDOM_TESTED for count in designs)
    healed = settings.finetune.tokens * budgets if settings.finetune else 0
    asked = 1 + (2 + bool(healed)) * budgets  # the model itself; of each budget the best, its rival, the healed
    passes = {
        "predicted use": 3.0 * settings.fit * min(settings.length, LONGEST) / settings.length * settings.by_use,
        "costs": windows.costs * (1 + replaced),
        "random plans": float(windows.costs * settings.correction.random_plans),
        "correction": float(
            windows.costs * sum(1 + count + settings.correction.trials + bool(pooled) for count in designs)
        ),
        "test": float(windows.test * tested),
        "recall": float(windows.recall * asked),
        "effective context": 1.5 * min(windows.context, windows.test) * len(contexts_of(settings.length)) * asked,
        "healing": 4.0 * healed / settings.length + windows.test * budgets * bool(healed),
    }
    stages = _stages(settings, designs, sum(len(unit.options) - 1 for unit in units), passes)
    return Work({name: round(count, 1) for name, count in passes.items()}, whole, stages)


def _stages(settings: AdoptionSettings, designs: list[int], replacements: int, passes: dict[str, float]) -> list[Stage]:
    """In the order in which they are measured, by the names under which they report. designs: known plans by budget."""
    windows, correction = settings.windows, settings.correction
    size = min(settings.length, LONGEST)
    steps = -(-settings.finetune.tokens // size) if settings.finetune else 0
    asked = (passes["recall"] + passes["effective context"]) / (1 + (2 + bool(steps)) * len(designs))
    parts: dict[str, tuple[int, float]] = {
        PREDICTED: (settings.fit * settings.by_use, passes["predicted use"] / settings.fit),
        COSTS: (windows.costs * replacements, passes["costs"] / (windows.costs * replacements)),
        RANDOM: (correction.random_plans, windows.costs),
    }
    for number, count in enumerate(designs):
        parts[of_budget(number, "correction")] = 1 + count + correction.trials, windows.costs
    for number, count in enumerate(designs):
        parts[of_budget(number, "test")] = 2 + count + RANDOM_TESTED, windows.test
        parts[of_budget(number, "recall")] = 2 * bool(asked), asked
        parts[of_budget(number, "healing")] = steps, 4.0 * size / settings.length
    return [Stage(name, 0, total, float(each)) for name, (total, each) in parts.items() if total]


def of_budget(number: int, stage: str) -> str:
    """The name of a stage of a budget, counted from 0."""
    return f"budget {number + 1}: {stage}"


def _operations(length: int, config: Any, shape: Shape) -> tuple[float, float]:
    """Of a window: in the layers, and in the output head."""
    text = config.get_text_config()
    width, hidden = text.hidden_size, getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    experts = getattr(text, "num_experts_per_tok", None) or 1
    inner = getattr(text, "moe_intermediate_size", None) or hidden
    mixer = width * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    feed = 3 * width * (inner * experts if experts > 1 else hidden)
    attention = shape.heads * shape.head_dim * length  # half of the keys, and their values
    body = 2.0 * length * len(shape.layers) * (mixer + feed + attention)
    return body, 2.0 * length * width * text.vocab_size
