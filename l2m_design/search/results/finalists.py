"""Finalists: the best candidates and the baselines, trained longer at every asked length.

The seed PICKS tunes learning rates and picks the reference; the seeds behind it, which picked nothing, confirm.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from l2m_design.architecture import Architecture
from l2m_design.search.record import Record
from l2m_design.search.results.choice import BEST, FULL
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.known import REFERENCE
from l2m_design.settings import Json, fingerprint
from l2m_design.training.context import contexts_of
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result

LONGER = 4
PICKS = 0  # the trials' own seed
NEAR = 2  # trials are short and have one seed: who is somewhat behind there may be within delta later
CORPUS, RECALL = "corpus", "recall"


@dataclass(frozen=True)
class FinalJob:
    """One training run of a finalist. rate: factor of the recipe's learning rate. task: on the corpus, or on the recall
    source.
    """

    name: str
    architecture: Json
    length: int
    rate: float
    seed: int
    task: str = CORPUS

    def plain(self) -> Json:
        """JSON-ready."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """Identify a run under one shared recipe by architecture, length, learning rate and seed, without its name."""
        left_out = {"name"} | ({"task"} if self.task == CORPUS else set())
        return fingerprint({name: value for name, value in self.plain().items() if name not in left_out})

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe of this run: what far context gains is measured by the runs that confirm."""
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
    """A finished run of a finalist; result is none where it failed, with the reason. recipe: the shared one's
    fingerprint.
    """

    job: FinalJob
    result: Result | None
    reason: str | None = None
    recipe: str = ""


def final_recipe(settings: StudySettings) -> Recipe:
    """The recipe that all finalists share, but for length, learning rate and seed."""
    asked = settings.finalists
    assert asked is not None
    recipe = settings.recipe
    changes: Json = {"tokens": asked.tokens or LONGER * recipe.tokens, "rungs": ()}
    changes["batch_tokens"] = asked.batch_tokens or recipe.batch_tokens
    changes["windows"] = asked.windows or recipe.windows
    changes["contexts"] = None  # each run's own, see run_recipe: what is measured does not change what is trained
    return recipe.model_copy(update=changes)


def run_recipe(settings: StudySettings, job: FinalJob, shared: Recipe) -> Recipe:
    """The recipe of one run: what far context gains is measured by the seeds that confirm."""
    measured = () if job.seed == PICKS else contexts(settings, job.length)
    return job.recipe(shared).model_copy(update={"contexts": measured})


def lengths(settings: StudySettings) -> tuple[int, ...]:
    """Contexts at which finalists are compared, in tokens, rising."""
    assert settings.finalists is not None
    return tuple(sorted(settings.finalists.lengths)) or (settings.recipe.length,)


def recipes(settings: StudySettings) -> list[Recipe]:
    """Every different recipe of a study: of its trials, and of its finalists at each length."""
    if settings.finalists is None:
        return [settings.recipe]
    shared = final_recipe(settings)
    return [settings.recipe, *(FinalJob("", {}, length, 1.0, PICKS).recipe(shared) for length in lengths(settings))]


def trial_recipe(settings: StudySettings) -> Recipe:
    """The recipe of trials: the gain from far context is measured where the choice is made, on finalists if any."""
    if settings.finalists is None:
        return settings.recipe.model_copy(update={"contexts": contexts(settings, settings.recipe.length)})
    return settings.recipe.model_copy(update={"contexts": ()})


def contexts(settings: StudySettings, length: int) -> tuple[int, ...]:
    """Where the past is cut in windows of `length`: as the recipe says, and at the choice's context."""
    asked = settings.recipe.contexts
    named = contexts_of(length) if asked is None else asked
    return tuple(sorted(c for c in {*named, settings.context} if c <= length // 2))


def tokens_at_most(settings: StudySettings, baselines: int, designs: int) -> int:
    """Training tokens of a whole study: baselines and trials, their recall, and finalists with so many designs."""
    recall = settings.recall.tokens if settings.recall and settings.recall.stage == "trials" else 0
    trials = (baselines + settings.search.trials) * (settings.recipe.spent + recall)
    if (asked := settings.finalists) is None:
        return trials
    each = [recipe.spent for recipe in recipes(settings)[1:]]
    runs = asked.seeds * sum(each) + len(asked.rates) * each[0] + (each[-1] if len(each) > 1 else 0)
    if settings.recall and settings.recall.stage == "finalists":
        runs += settings.recall.tokens
    return trials + (asked.top + designs + len(asked.designs)) * runs


def entrants(
    settings: StudySettings, records: Iterable[Record], designs: dict[str, Architecture], own: dict[str, Architecture]
) -> dict[str, Architecture]:
    """Who is trained longer, by name: the named baselines, the study's own designs, the best candidates, and
    the model of the lowest loss among all trials, whatever the condition says of it.

    The best candidates are those that may be chosen: spread over the front of the trials within NEAR times the choice's
    delta of the lowest loss, the least state among them; then the lowest objectives.
    """
    asked = settings.finalists
    assert asked is not None
    records = list(records)
    wanted = (
        designs if asked.baselines is None else {name: designs[name] for name in asked.baselines if name in designs}
    )
    best = best_of(records)
    named = best.design if best and best.design in designs else None
    if named and named not in wanted:
        wanted = wanted | {named: designs[named]}
    first = {architecture.fingerprint: name for name, architecture in reversed((wanted | own).items())}
    found = {name: drawing for name, drawing in (wanted | own).items() if name in first.values()}
    there, known = set(first), len(found)
    ranked = sorted(eligible(records), key=lambda r: (r.value, r.state_bytes))
    bar = (best.late_loss or 0.0) + NEAR * settings.choice.delta if best else 0.0
    near = front(r for r in ranked if (r.late_loss or 0.0) <= bar)
    near = _spread(near, asked.top)
    ranked = near + [r for r in ranked if r not in near]
    if settings.search.mode == "pareto":
        ranked = spread_over_front(ranked, asked.top)
    for record in ranked:
        if len(found) - known >= asked.top:
            break
        if record.fingerprint not in there:
            there.add(record.fingerprint)
            found[trial_name(record, designs)] = record.drawing
    if best and best.fingerprint not in there:
        found[trial_name(best, designs)] = best.drawing
    return found


def trial_name(record: Record, designs: Iterable[str] = ()) -> str:
    """What a finalist that was a trial is called: by its baseline's name where it is one's, else by its number."""
    return record.design if record.design and record.design in designs else f"trial {record.number}"


def best_of(records: Iterable[Record]) -> Record | None:
    """The complete trial of the lowest late loss, whatever the condition says of it."""
    done = [r for r in records if r.state == "complete" and r.copy_of is None and r.late_loss is not None]
    return min(done, key=lambda r: r.late_loss or 0.0, default=None)


def eligible(records: Iterable[Record]) -> list[Record]:
    """Complete, feasible trials, each architecture once."""
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
    assert record.late_loss is not None
    return (record.state_bytes, record.late_loss, *([] if record.decode_ms is None else [record.decode_ms]))


def spread_over_front(records: list[Record], count: int) -> list[Record]:
    """`count` members of the front, evenly over the order of state bytes; then all others."""
    best = _spread(front(records), count)
    return best + [record for record in records if record not in best]


def _spread(best: list[Record], count: int) -> list[Record]:
    """`count` of the records, evenly over their order, the first always among them."""
    if not len(best) > count > 0:
        return best
    return [best[round(i * (len(best) - 1) / max(1, count - 1))] for i in range(count)]


def tuning_jobs(settings: StudySettings, entered: dict[str, Architecture]) -> list[FinalJob]:
    """First: every finalist at every learning rate, the seed that picks, at the shortest length."""
    assert settings.finalists is not None
    shortest = lengths(settings)[0]
    return [
        FinalJob(name, drawing.plain(), shortest, rate, PICKS)
        for name, drawing in entered.items()
        if not drawing.too_short(shortest)
        for rate in settings.finalists.rates
    ]


def seed_jobs(settings: StudySettings, entered: dict[str, Architecture], runs: list[FinalRun]) -> list[FinalJob]:
    """Then: each finalist at its best learning rate, with fresh seeds, at all lengths; with the seed that picks also at
    the longest, where the reference is picked.
    """
    assert settings.finalists is not None
    best, longest = best_rates(runs, lengths(settings)[0]), lengths(settings)[-1]
    fresh = range(PICKS + 1, PICKS + 1 + settings.finalists.seeds)
    return [
        FinalJob(name, drawing.plain(), length, best[name], seed)
        for length in lengths(settings)
        for seed in (([PICKS] if length == longest and length != lengths(settings)[0] else []) + [*fresh])
        for name, drawing in entered.items()
        if name in best and not drawing.too_short(length)
    ]


def recall_jobs(settings: StudySettings, entered: dict[str, Architecture], runs: list[FinalRun]) -> list[FinalJob]:
    """Last: each finalist once on the recall source, where the choice asks for it."""
    if settings.recall is None or settings.recall.stage != "finalists":
        return []
    best, length = best_rates(runs, lengths(settings)[0]), settings.recall.length
    return [
        FinalJob(name, drawing.plain(), length, best[name], PICKS, RECALL)
        for name, drawing in entered.items()
        if name in best and not drawing.too_short(length)
    ]


def best_rates(runs: Iterable[FinalRun], length: int) -> dict[str, float]:
    """By finalist's name, the learning rate of the least late loss on validation, by the seed that picks."""
    return {name: run.job.rate for name, run in picking_runs(runs, length).items()}


def picking_runs(runs: Iterable[FinalRun], length: int) -> dict[str, FinalRun]:
    """By finalist's name, the run of the least late loss on validation among those of the seed that picks."""
    first = [run for run in on_corpus(runs) if run.result and run.job.seed == PICKS and run.job.length == length]
    found: dict[str, FinalRun] = {}
    for run in first:
        assert run.result is not None
        known = found.get(run.job.name)
        if known is None or (known.result is not None and run.result.late_loss < known.result.late_loss):
            found[run.job.name] = run
    return found


def on_corpus(runs: Iterable[FinalRun]) -> list[FinalRun]:
    """The runs that are no recall."""
    return [run for run in runs if run.job.task == CORPUS]


def reference_of(records: Iterable[Record], asked: str) -> Record | None:
    """The complete trial that others are held against: the best, or that of a named baseline at its best rate."""
    if asked == BEST:
        return best_of(records)
    return best_of_design(records, REFERENCE if asked == FULL else asked)


def best_of_design(records: Iterable[Record], design: str) -> Record | None:
    """A design's complete trial of the least late loss, else any of its trials."""
    own = [r for r in records if r.design == design]
    done = [r for r in own if r.state == "complete"]
    return min(done, key=lambda r: r.late_loss or 0.0) if done else None
