"""The plan of a study: baselines, own finalists, and what is refused or warned of before anything is trained."""

from dataclasses import dataclass

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.search.results.choice import BEST, FULL
from l2m_design.search.space.feasibility import Judge, feasible, judged_by, largest_meets, refusal
from l2m_design.search.space.known import REFERENCE, known_designs
from l2m_design.search.space.layout import Picks
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.search.trials.candidates import RATE

LOOKS_FOR_ONE = 8
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Baseline:
    """A baseline at one learning rate; picks ask the space for it, unless its architecture is given."""

    name: str
    rate: float
    picks: Picks
    given: Architecture | None


def baselines(descriptor: Descriptor) -> list[Baseline]:
    """What is trained first: each baseline at every learning rate."""
    rates = descriptor.settings.search.rates
    return [
        Baseline(name, rate, picks | ({RATE: rate} if len(rates) > 1 else {}), None if picks else drawing)
        for rate in rates
        for name, (drawing, picks) in designs(descriptor).items()
    ]


def designs(descriptor: Descriptor) -> dict[str, tuple[Architecture, Picks]]:
    """The baselines that the space can draw, with their picks (none where its layout cannot ask for them)."""
    if not descriptor.settings.search.known_designs:
        return {}
    space, vocabulary = descriptor.resolved, descriptor.corpus["vocabulary"]
    found = known_designs(space, descriptor.demand.exponent)
    return {name: (space.fitted(design.layers, vocabulary), design.picks) for name, design in found.items()}


def warnings(descriptor: Descriptor) -> list[str]:
    """Before anything is trained: what will be missing at the end."""
    return [said for said in (_without_reference(descriptor), _too_few_seeds(descriptor)) if said]


def _without_reference(descriptor: Descriptor) -> str | None:
    """A sentence where full attention, which a reader looks for beside every answer, is not among the baselines."""
    if REFERENCE in designs(descriptor):
        return None
    wanted = descriptor.settings.search.known_designs
    why = "the space has no mixer named attention in kinds" if wanted else "search.known_designs: false"
    return (
        f"full attention is not trained ({why}), so no baseline shows how low a loss is possible with all tokens cached"
    )


def _too_few_seeds(descriptor: Descriptor) -> str | None:
    """A sentence where the choice will hardly be decided: seeds vary, and one or two do not say how much."""
    asked = descriptor.settings.finalists
    if asked is None:
        return "finalists: not given, so no model is trained again with fresh seeds and no choice can be confirmed"
    if asked.seeds >= ENOUGH_SEEDS:
        return None
    return (
        f"finalists.seeds: {asked.seeds}: fewer than {ENOUGH_SEEDS} seeds hardly show how much losses vary between "
        "seeds, so the choice may stay undecided"
    )


def check_reference(descriptor: Descriptor) -> None:
    """Raises BadInput, naming what is there, where the choice's reference or a finalist will not be trained."""
    settings = descriptor.settings
    known, asked = list(designs(descriptor)), settings.finalists
    for name in (asked.baselines or ()) if asked else ():
        if name not in known:
            raise BadInput(
                f"finalists.baselines: unknown baseline '{name}'; the study trains: {', '.join(known) or 'none'}"
            )
    named = REFERENCE if settings.choice.reference == FULL else settings.choice.reference
    if named == BEST:
        return
    there = known if asked is None else [*(known if asked.baselines is None else asked.baselines), *asked.designs]
    if named not in there:
        allowed = ", ".join([BEST, *([FULL] if REFERENCE in there else []), *there])
        raise BadInput(
            f"choice.reference: '{settings.choice.reference}' is not among the trained models; allowed are {allowed}"
        )


def check_feasible(descriptor: Descriptor, where: str) -> None:
    """Raises BadInput, naming the nearest change, when no architecture of the space may be trained."""
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
        raise BadInput(f"search.memory_gib: {limit:g} GiB are too few to train any architecture of {where}; allow more")
    raise BadInput(refusal(space, demand, vocabulary, where, enforced))


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
