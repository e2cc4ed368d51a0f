"""Work: what an adoption study reads, in passes over a window and in operations, before anything is read."""

from dataclasses import dataclass
from typing import Any

from l2m_design.architecture.plans import Shape
from l2m_design.search.adoption.designs import EVERY
from l2m_design.search.adoption.knapsack import Unit
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.training.adoption import LONGEST
from l2m_design.training.context import contexts_of

RANDOM_TESTED = 2  # random plans of each budget that test windows are read with


@dataclass(frozen=True)
class Work:
    """Full passes over a window of `length` tokens, by part, and operations of one."""

    passes: dict[str, float]
    operations: float

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
            windows.costs * sum(max(settings.correction.trials, 1 + count) + bool(pooled) for count in designs)
        ),
        "test": float(windows.test * tested),
        "recall": float(windows.recall * asked),
        "effective context": 1.5 * min(windows.context, windows.test) * len(contexts_of(settings.length)) * asked,
        "healing": 4.0 * healed / settings.length + windows.test * budgets * bool(healed),
    }
    return Work({name: round(count, 1) for name, count in passes.items()}, whole)


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
