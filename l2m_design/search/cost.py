"""What a study will cost: hours, memory, disk and readings of its corpus, by a model that needs no GPU."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from l2m_design.architecture import Architecture
from l2m_design.search.results import finalists
from l2m_design.search.settings import StudySettings
from l2m_design.search.trials.candidates import GIB, TRAINING_BYTES
from l2m_design.settings import Json
from l2m_design.training.recipe import Recipe

H100 = 989e12  # operations a second in bfloat16, dense, by its data sheet; an H200 has as many
REACHED = (0.045, 0.17)  # of them that training reached: 50 M parameters, windows and attention (docs/lab-book.md)
THREAD = (12e9, 25e9)  # operations a second that a CPU thread reached (reports/quickstart, text-hybrids)
LAUNCHING = (0.0015, 0.02)  # seconds a layer and step that starting 300 to 4,000 GPU kernels takes, however small
KEPT = (45, 95)  # bytes per token, layer and unit of width that a pass keeps on a GPU: attention, Mamba-2 (same run)
KEPT_BY_RECOMPUTING = 4  # the input of a layer, in float32
SAVED_BYTES, CHECKPOINT_BYTES = 4, 12  # a parameter's weight in float32; with two moments

Range = tuple[float, float]


@dataclass(frozen=True)
class Cost:
    """Ranges from the least to the most. hours: of one H100, and of CPU threads, for trials and finalists, with every
    trial trained to its end; workers divide them. memory_gib: of the largest pass on a GPU. disk_gib: weights of the
    trials and checkpoints. readings: how often a run reads the training documents.
    """

    hours_h100: dict[str, Range]
    hours_cpu: dict[str, Range]
    threads: int
    memory_gib: Range
    disk_gib: float
    readings: dict[str, float]

    def plain(self) -> Json:
        """JSON-ready, three digits."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Planned:
    """What a study trains. designs: architectures of its kind; baselines, again: how many runs of them as trials, and
    how many of them are finalists; training_tokens: of the corpus; threads: of the CPU, that all workers share.
    """

    settings: StudySettings
    designs: Sequence[Architecture]
    baselines: int
    again: int
    training_tokens: int
    threads: int


def cost_of(planned: Planned) -> Cost:
    """The model: operations of forward and backward passes over a device's rate, but never faster than a GPU's kernels
    are started; and tensors that a pass keeps.
    """
    settings, designs = planned.settings, planned.designs
    runs = finalists.recipes(settings)
    readings = {"trial": settings.recipe.spent / planned.training_tokens}
    if settings.finalists:
        readings["finalist"] = max(recipe.spent for recipe in runs[1:]) / planned.training_tokens
    gpu = [_hours(planned, H100 * rate, least) for rate, least in zip(reversed(REACHED), LAUNCHING, strict=True)]
    cpu = [_hours(planned, planned.threads * rate, 0.0) for rate in reversed(THREAD)]
    largest = max(design.parameters for design in designs)
    saved = SAVED_BYTES * (planned.baselines + settings.search.trials) + CHECKPOINT_BYTES * settings.workers
    return Cost(
        hours_h100={name: (gpu[0][name], gpu[1][name]) for name in gpu[0]},
        hours_cpu={name: (cpu[0][name], cpu[1][name]) for name in cpu[0]},
        threads=planned.threads,
        memory_gib=_memory(runs, designs),
        disk_gib=saved * largest / GIB,
        readings=readings,
    )


def _hours(planned: Planned, rate: float, launching: float) -> dict[str, float]:
    """Of all trials and of all finalists, by operations a second and by seconds a layer and step."""
    settings, designs = planned.settings, planned.designs
    trial, *each = [_seconds(recipe, designs, rate, launching) for recipe in finalists.recipes(settings)]
    found = {"trials": (planned.baselines + settings.search.trials) * trial / 3600}
    if asked := settings.finalists:
        one = asked.seeds * sum(each) + len(asked.rates) * each[0] + (each[-1] if len(each) > 1 else 0)
        found["finalists"] = (asked.top + planned.again + len(asked.designs)) * one / 3600
    return found


def _seconds(recipe: Recipe, designs: Sequence[Architecture], rate: float, launching: float) -> float:
    """Of one run, evaluation included: the mean over the designs."""
    scored = recipe.windows * (2 + len(recipe.rungs) / 4)  # validation and test, and a quarter at each rung

    def of(design: Architecture) -> float:
        forward = design.flops(recipe.length) / rate
        return recipe.steps * max(3 * recipe.batch * forward, launching * len(design.layers)) + scored * forward

    return sum(map(of, designs)) / len(designs)


def _memory(recipes: Sequence[Recipe], designs: Sequence[Architecture]) -> Range:
    """GiB of weights, gradients, moments and what the largest pass keeps: of the least and the largest design."""

    def bytes_of(recipe: Recipe, design: Architecture, kept: float) -> float:
        windows = recipe.batch if recipe.micro_batch == "auto" else min(recipe.batch, recipe.micro_batch)
        layers, tokens = len(design.layers), windows * recipe.length
        held = (KEPT_BY_RECOMPUTING * layers + kept) if recipe.recompute else kept * layers
        return TRAINING_BYTES * design.parameters + tokens * design.width * held

    ends = [[bytes_of(r, d, kept) / GIB for r in recipes for d in designs] for kept in KEPT]
    return max(ends[0]), max(ends[1])


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value
