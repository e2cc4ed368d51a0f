"""Finalists: the best candidates and the known designs, trained longer, with several seeds, at every asked length."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.search.record import Record
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.known import REFERENCE
from l2m_design.settings import fingerprint
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result

LONGER = 4


@dataclass(frozen=True)
class FinalJob:
    """One training run of a finalist. rate: factor of the recipe's learning rate."""

    name: str
    architecture: dict[str, Any]
    length: int
    rate: float
    seed: int

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """What tells one run from another under one shared recipe: drawing, length, learning rate, seed; no name."""
        return fingerprint({name: value for name, value in self.plain().items() if name != "name"})

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe of this run."""
        return base.model_copy(
            update={
                "length": self.length,
                "batch_tokens": max(base.batch_tokens, self.length),
                "learning_rate": min(1.0, base.learning_rate * self.rate),
                "seed": base.seed + self.seed,
            }
        )


@dataclass(frozen=True)
class FinalRun:
    """A finished run of a finalist; result is none where it failed, with the reason."""

    job: FinalJob
    result: Result | None
    reason: str | None = None


def final_recipe(settings: StudySettings) -> Recipe:
    """The recipe that all finalists share, but for length, learning rate and seed."""
    asked = settings.finalists
    assert asked is not None
    recipe = settings.recipe
    changes: dict[str, Any] = {"tokens": asked.tokens or LONGER * recipe.tokens, "rungs": ()}
    changes["batch_tokens"] = asked.batch_tokens or recipe.batch_tokens
    changes["windows"] = asked.windows or recipe.windows
    return recipe.model_copy(update=changes)


def lengths(settings: StudySettings) -> tuple[int, ...]:
    """Contexts at which finalists are compared, in tokens, rising."""
    assert settings.finalists is not None
    return tuple(sorted(settings.finalists.lengths)) or (settings.recipe.length,)


def recipes(settings: StudySettings) -> list[Recipe]:
    """Every different recipe of a study: of its trials, and of its finalists at each length."""
    if settings.finalists is None:
        return [settings.recipe]
    shared = final_recipe(settings)
    return [settings.recipe, *(FinalJob("", {}, length, 1.0, 0).recipe(shared) for length in lengths(settings))]


def tokens_at_most(settings: StudySettings, designs: int) -> int:
    """Training tokens of a whole study: trials, their recall, and finalists with so many designs among them."""
    recall = settings.recall.tokens if settings.recall else 0
    trials = settings.search.trials * (settings.recipe.spent + recall)
    if (asked := settings.finalists) is None:
        return trials
    each = [recipe.spent for recipe in recipes(settings)[1:]]
    runs = asked.seeds * sum(each) + (len(asked.rates) - 1) * each[0]
    return trials + (asked.top + designs + len(asked.designs)) * runs


def entrants(
    settings: StudySettings, records: Iterable[Record], designs: dict[str, Architecture]
) -> dict[str, Architecture]:
    """Who is trained longer, by name: every design, and the best candidates by value that are no design's drawing."""
    asked = settings.finalists
    assert asked is not None
    first = {architecture.fingerprint: name for name, architecture in reversed(designs.items())}
    found = {name: designs[name] for name in designs if name in first.values()}
    there, known = set(first), len(found)
    ranked = sorted(eligible(records), key=lambda r: (r.value, r.state_bytes))
    if settings.search.mode == "pareto":
        ranked = spread_over_front(ranked, asked.top)
    for record in ranked:
        if len(found) - known >= asked.top:
            break
        if record.fingerprint not in there:
            there.add(record.fingerprint)
            found[f"trial {record.number}"] = record.drawing
    return found


def eligible(records: Iterable[Record]) -> list[Record]:
    """Complete, feasible trials, each drawing once."""
    return [r for r in records if r.state == "complete" and r.feasible and r.copy_of is None]


def front(records: Iterable[Record]) -> list[Record]:
    """Eligible trials that no other beats in state bytes, late loss and, where measured, decoding time, by bytes."""
    best: list[tuple[tuple[float, ...], Record]] = []
    for record in sorted(eligible(records), key=_objectives):
        own = _objectives(record)
        if not any(all(a <= b for a, b in zip(theirs, own, strict=False)) for theirs, _ in best):
            best.append((own, record))
    return [record for _, record in best]


def _objectives(record: Record) -> tuple[float, ...]:
    assert record.result is not None
    milliseconds = record.result.get("decode_ms")
    return (record.state_bytes, record.result["late_loss"], *([] if milliseconds is None else [milliseconds]))


def spread_over_front(records: list[Record], count: int) -> list[Record]:
    """`count` members of the front, evenly over the order of state bytes; then all others."""
    best = front(records)
    if len(best) > count > 0:
        best = [best[round(i * (len(best) - 1) / max(1, count - 1))] for i in range(count)]
    return best + [record for record in records if record not in best]


def tuning_jobs(settings: StudySettings, entered: dict[str, Architecture]) -> list[FinalJob]:
    """First: every finalist at every learning rate, first seed, shortest length."""
    assert settings.finalists is not None
    shortest = lengths(settings)[0]
    return [
        FinalJob(name, drawing.plain(), shortest, rate, 0)
        for name, drawing in entered.items()
        if not drawing.too_short(shortest)
        for rate in settings.finalists.rates
    ]


def seed_jobs(settings: StudySettings, entered: dict[str, Architecture], runs: list[FinalRun]) -> list[FinalJob]:
    """Then: each finalist at its best learning rate, all seeds, all lengths."""
    assert settings.finalists is not None
    best = best_rates(runs, lengths(settings)[0])
    return [
        FinalJob(name, drawing.plain(), length, best[name], seed)
        for length in lengths(settings)
        for seed in range(settings.finalists.seeds)
        for name, drawing in entered.items()
        if name in best and not drawing.too_short(length)
    ]


def best_rates(runs: Iterable[FinalRun], length: int) -> dict[str, float]:
    """By finalist's name, the learning rate of the least late loss on validation, first seed."""
    first = [run for run in runs if run.result and run.job.seed == 0 and run.job.length == length]
    found: dict[str, FinalRun] = {}
    for run in first:
        assert run.result is not None
        known = found.get(run.job.name)
        if known is None or (known.result is not None and run.result.late_loss < known.result.late_loss):
            found[run.job.name] = run
    return {name: run.job.rate for name, run in found.items()}


def reference_of(records: Iterable[Record]) -> Record | None:
    """The complete trial of full attention at its best learning rate, if there is one."""
    return best_of_design(records, REFERENCE)


def best_of_design(records: Iterable[Record], design: str) -> Record | None:
    """A design's complete trial of the least late loss, else any of its trials."""
    own = [r for r in records if r.design == design]
    done = [r for r in own if r.state == "complete"]
    return min(done, key=lambda r: r.late_loss or 0.0) if done else None
