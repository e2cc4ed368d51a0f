"""The stages of a search, seen from who plans them: trials, then the tuning of finalists, then their seeds."""

import time
from typing import Any, Protocol

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.search.results import finalists
from l2m_design.search.results.choice import BEST, FULL
from l2m_design.search.results.finalists import FinalJob
from l2m_design.search.space.feasibility import Judge, feasible, judged_by, largest_meets, refusal
from l2m_design.search.space.known import REFERENCE, known_designs
from l2m_design.search.study.queue import JOB, RECIPE, SHARED
from l2m_design.search.tracking import Tracker
from l2m_design.search.trials.candidates import RATE
from l2m_design.search.workers.shared import FINAL, TRIAL, Descriptor, SharedStudy
from l2m_design.training.recipe import Recipe

LOOK, LOOKS_FOR_ONE = 0.5, 8
ENOUGH_SEEDS = 3
SURE = 4  # looks that must find the same tickets lacking: a worker may be about to plan them


class Crew(Protocol):
    """Workers that are at work elsewhere."""

    def check(self) -> None:
        """Raise what ended a worker, if something did."""


def designs(descriptor: Descriptor) -> dict[str, tuple[Architecture, dict[str, Any]]]:
    """The baselines that the space can draw, with their picks (none where its layout cannot ask for them)."""
    if not descriptor.settings.search.known_designs:
        return {}
    space, vocabulary = descriptor.resolved, descriptor.corpus["vocabulary"]
    found = known_designs(space, descriptor.demand.exponent)
    return {name: (space.fitted(design.layers, vocabulary), design.picks) for name, design in found.items()}


def warnings(descriptor: Descriptor) -> list[str]:
    """Before anything is trained: what will be missing at the end."""
    return [
        said
        for said in (_without_reference(descriptor), _without_search(descriptor), _too_few_seeds(descriptor))
        if said
    ]


def _without_search(descriptor: Descriptor) -> str | None:
    """A sentence where the baselines leave no trial for drawings."""
    known, search = len(designs(descriptor)), descriptor.settings.search
    if known * len(search.rates) < search.trials:
        return None
    return (
        f"search.trials: {search.trials}; {known} baselines with {len(search.rates)} learning rates each take "
        f"{known * len(search.rates)}: nothing is searched"
    )


def _without_reference(descriptor: Descriptor) -> str | None:
    """A sentence where full attention, which a reader looks for beside every answer, is not among the baselines."""
    if REFERENCE in designs(descriptor):
        return None
    wanted = descriptor.settings.search.known_designs
    why = "the space has no kind named attention" if wanted else "search.known_designs: false"
    return f"full attention is not trained ({why}): the best that is trained may be far from what the data allow"


def _too_few_seeds(descriptor: Descriptor) -> str | None:
    """A sentence where the choice will hardly be decided: seeds vary, and one or two do not say how much."""
    asked = descriptor.settings.finalists
    if asked is None:
        return "no finalists: nothing is trained again with fresh seeds, so that no choice can be confirmed"
    if asked.seeds >= ENOUGH_SEEDS:
        return None
    return (
        f"finalists.seeds: {asked.seeds}; fewer than {ENOUGH_SEEDS} hardly say how much seeds vary, and the choice may "
        "stay undecided"
    )


def check_reference(descriptor: Descriptor) -> None:
    """Raises BadInput, naming what is there, where the choice's reference or a finalist will not be trained."""
    settings = descriptor.settings
    known, asked = list(designs(descriptor)), settings.finalists
    for name in (asked.baselines or ()) if asked else ():
        if name not in known:
            raise BadInput(f"finalists.baselines: no baseline '{name}'; the study trains: {', '.join(known) or 'none'}")
    named = REFERENCE if settings.choice.reference == FULL else settings.choice.reference
    if named == BEST:
        return
    there = known if asked is None else [*(known if asked.baselines is None else asked.baselines), *asked.designs]
    if named not in there:
        allowed = ", ".join([BEST, *([FULL] if REFERENCE in there else []), *there])
        raise BadInput(f"choice.reference: '{settings.choice.reference}' will not be trained; allowed are {allowed}")


def check_feasible(descriptor: Descriptor, where: str) -> None:
    """Raises BadInput, naming the nearest change, when no drawing of the space may be trained."""
    space, demand, vocabulary = descriptor.resolved, descriptor.demand, descriptor.corpus["vocabulary"]
    enforced, candidates = descriptor.settings.search.enforce, descriptor.candidates
    meets = judged_by(demand, enforced)

    def some(judge: Judge) -> bool:
        looks = (feasible(space, judge, vocabulary, seed).met for seed in range(LOOKS_FOR_ONE))
        return any(looks) or largest_meets(space, judge, vocabulary)

    if some(lambda drawing: meets(drawing) and candidates.fits_memory(drawing)):
        return
    if some(meets):
        limit = descriptor.settings.search.memory_gib
        raise BadInput(f"search.memory_gib: {limit:g} GiB hold the training of no drawing of {where}; allow more")
    raise BadInput(refusal(space, demand, vocabulary, where, enforced))


def plan_trials(shared: SharedStudy) -> None:
    """As many open tickets as trials are missing: the baselines at every learning rate first."""
    settings = shared.descriptor.settings
    shared.trials.bury()
    missing, records = shared.missing, shared.records()
    there = {(record.design, record.rate) for record in records.all if record.design}
    for trial in shared.trials.trials():
        if not trial.state.is_finished() and "design" in trial.user_attrs:
            there.add((trial.user_attrs["design"], trial.user_attrs["design_rate"]))
    for rate in settings.search.rates:
        for name, (drawing, picks) in designs(shared.descriptor).items():
            if missing <= 0 or (name, rate) in there:
                continue
            attrs: dict[str, Any] = {"design": name, "design_rate": rate}
            rated = {RATE: rate} if len(settings.search.rates) > 1 else {}
            if not picks:
                attrs["job"] = {"architecture": drawing.plain()}
            shared.trials.plan(TRIAL, picks | rated, **attrs)
            missing -= 1
    for _ in range(missing):
        shared.trials.plan(TRIAL)
    if missing < 0:
        shared.trials.withdraw(-missing)


def watch_trials(shared: SharedStudy, crew: Crew, listener: Any, tracker: Tracker) -> None:
    """Until every ticket is worked off: tell of what ended, track it, and plan what died with a worker."""
    planned = shared.descriptor.settings.search.trials
    told: set[int] = set()
    began = {record.number for record in shared.records().all}
    looks: list[int] = []
    while True:
        crew.check()
        busy, missing = shared.trials.open, shared.missing
        looks = [*looks[1 - SURE :], missing]
        if looks == [missing] * SURE and missing and not shared.exhausted:
            plan_trials(shared)
            looks = []
        records = shared.records()
        new = [record for record in records.all if record.number not in told]
        told |= {record.number for record in new}
        for record in new:
            if record.number not in began:
                listener.trial(record)
        listener.progress("trials", min(records.trained, planned), planned)
        if new:
            tracker.sync(records.all)
        if not busy and (missing <= 0 or shared.exhausted):
            return
        time.sleep(LOOK)


def run_finalists(shared: SharedStudy, crew: Crew, listener: Any, tracker: Tracker) -> None:
    """Tune, then train every seed at every length; a run that is there is not planned again."""
    settings = shared.descriptor.settings
    entered = entrants(shared)
    _worked_off(shared, finalists.tuning_jobs(settings, entered), "finalists: learning rates", crew, listener, tracker)
    runs = shared.runs(finalists.final_recipe(settings).fingerprint)
    for jobs, what in (
        (finalists.seed_jobs(settings, entered, runs), "finalists: seeds and lengths"),
        (finalists.recall_jobs(settings, entered, runs), "finalists: recall"),
    ):
        _worked_off(shared, jobs, what, crew, listener, tracker)


def entrants(shared: SharedStudy) -> dict[str, Architecture]:
    """Every finalist's drawing by name: baselines, the study's own, the best trials."""
    known = {name: drawing for name, (drawing, _) in designs(shared.descriptor).items()}
    return finalists.entrants(shared.descriptor.settings, shared.records().all, known, own_designs(shared.descriptor))


def own_designs(descriptor: Descriptor) -> dict[str, Architecture]:
    """The study's own finalists, of the space's size. Raises BadInput naming the design that does not fit."""
    found = {}
    asked = descriptor.settings.finalists
    for name, layers in (asked.designs if asked else {}).items():
        try:
            found[name] = descriptor.resolved.fitted(layers, descriptor.corpus["vocabulary"])
        except BadInput as error:
            raise BadInput(f"finalists.designs.{name}: {error}") from None
    return found


def _worked_off(
    shared: SharedStudy, jobs: list[FinalJob], what: str, crew: Crew, listener: Any, tracker: Tracker
) -> None:
    shared.finals.bury()
    recipe = finalists.final_recipe(shared.descriptor.settings)
    wanted = {job.fingerprint: job for job in jobs}
    _plan_finals(shared, wanted, recipe)
    told, idle = 0, 0
    while True:
        crew.check()
        busy, runs = shared.finals.open, shared.runs(recipe.fingerprint)
        if len(runs) > told:
            told = len(runs)
            tracker.sync(shared.records().all, runs)
            listener.progress(what, sum(run.job.fingerprint in wanted for run in runs), len(wanted))
        done = wanted.keys() <= {run.job.fingerprint for run in runs}
        if not busy and done:
            return
        idle = 0 if busy else idle + 1
        if idle >= SURE:
            _plan_finals(shared, wanted, recipe)
            idle = 0
        time.sleep(LOOK)


def _plan_finals(shared: SharedStudy, wanted: dict[str, FinalJob], recipe: Recipe) -> None:
    """A ticket for each wanted run that is neither there nor open."""
    open_ = [trial.user_attrs for trial in shared.finals.trials() if not trial.state.is_finished()]
    there = {FinalJob(**attrs[JOB]).fingerprint for attrs in open_ if attrs[RECIPE] == recipe.fingerprint}
    there |= {run.job.fingerprint for run in shared.runs(recipe.fingerprint)}
    for key, job in wanted.items():
        if key not in there:
            attrs: dict[str, Any] = {JOB: job.plain(), RECIPE: recipe.fingerprint, SHARED: recipe.plain()}
            shared.finals.plan(FINAL, **attrs)
