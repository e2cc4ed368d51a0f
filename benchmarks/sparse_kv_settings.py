"""The study of sparse caches as its file says it: configs/sparse-kv.yaml."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import BadInput
from l2m_design.settings import Values, read_mapping

CONFIG = Path(__file__).parents[1] / "configs" / "sparse-kv.yaml"
SCRIPT = "benchmarks/sparse_kv.py"
Cache = Literal[
    "full", "window", "use/model", "use/layer", "use/head", "h2o", "tova", "expected", "key norm", "head windows",
    "streaming-llm", "oracle", "merging", "exceptions",
]  # fmt: skip
Task = Literal["late", "recall"]
Part = Literal["first", "final"]
Share = Annotated[str, Field(pattern=r"^(all|1/[1-9]\d{0,3})$")]
Budget = Annotated[str, Field(pattern=r"^(all|1/[1-9]\d{0,3}|t\^0\.\d{1,3})$")]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]


class Arm(NamedTuple):
    """One cache on windows of `length` tokens; `task` is late loss or recall."""

    cache: str
    budget: str
    length: int
    task: str = "late"


class FitSettings(Values):
    """Rules are fitted to the first `windows` texts of `texts.fit`, `length` tokens each."""

    length: Annotated[int, Field(ge=128, le=2**20)]
    windows: Annotated[int, Field(ge=1, le=4096)]


class TextSettings(Values):
    """Equally many texts of each corpus: novels by Jane Austen, modules of Python's standard library, pages of Node's
    documentation.
    """

    novels: Names
    code: Names
    docs: Names

    @model_validator(mode="after")
    def _equally_many(self) -> Self:
        if len({len(self.novels), len(self.code), len(self.docs)}) > 1:
            raise ValueError(
                f"as many texts of each corpus are needed, found {len(self.novels)} novels, {len(self.code)} of code, "
                f"{len(self.docs)} of docs"
            )
        return self


class PartSettings(Values):
    """Texts to fit rules on, to look at while they are written, and to judge."""

    fit: TextSettings
    first: TextSettings
    final: TextSettings

    @model_validator(mode="after")
    def _judged_on_other_texts(self) -> Self:
        for one, other in (("fit", "first"), ("fit", "final"), ("first", "final")):
            texts: list[set[str]] = [{*z.novels, *z.code, *z.docs} for z in (getattr(self, one), getattr(self, other))]
            if both := sorted(texts[0] & texts[1]):
                raise ValueError(f"{both[0]} is in {one} and in {other}; a text belongs to one of them")
        return self


class ArmSettings(Values):
    """Each cache at each budget. length: tokens of the texts; the study's unless given."""

    caches: Annotated[tuple[Cache, ...], Field(strict=False, min_length=1)]
    budgets: Annotated[tuple[Budget, ...], Field(strict=False, min_length=1)] = ("1/8",)
    length: Annotated[int, Field(ge=128, le=2**20)] | None = None
    task: Task = "late"
    part: Part = "final"


class SparseStudy(Values):
    """A study of caches of few slots; paths are relative to the file. configs/sparse-kv.yaml says what each key is."""

    script: Literal["benchmarks/sparse_kv.py"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    model: Annotated[str, Field(min_length=1)]
    fitted: Annotated[str, Field(pattern=r"\.safetensors$")]
    sources: Annotated[str, Field(min_length=1)]
    results: Annotated[str, Field(pattern=r"\.jsonl$")]
    length: Annotated[int, Field(ge=128, le=2**20)]
    chunk: Annotated[int, Field(ge=2, le=65536)]
    sinks: Annotated[int, Field(ge=0, le=65536)]
    growing_to: Share
    fit: FitSettings
    texts: PartSettings
    arms: Annotated[tuple[ArmSettings, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk: {self.chunk} must be a power of two")
        for number, arms in enumerate(self.arms):
            length = arms.length or self.length
            if length > self.length:
                raise ValueError(f"arms.{number}.length: {length} is above the study's length, {self.length}")
            for budget in (*arms.budgets, self.growing_to):
                least = 2 * self.chunk + self.sinks
                if not budget.startswith("t^") and share(budget) * length <= least:
                    raise ValueError(
                        f"arms.{number}: {budget} of {length} tokens is {share(budget) * length:.0f}; two chunks and "
                        f"the sinks need more than {least}"
                    )
        return self

    @classmethod
    def load_study(cls, path: Path) -> "SparseStudy":
        """The study of a file, its paths made relative to here. Raises BadInput."""
        data = read_mapping(path)
        if "script" not in data:
            raise BadInput(f"{path}: a study of `l2m search`, not of {SCRIPT} (script: is missing): l2m search {path}")
        found = cls.parse(data, str(path))
        names = ("model", "fitted", "sources", "results")
        return found.model_copy(update={name: str(path.parent / getattr(found, name)) for name in names})

    def plan(self, part: Part = "final") -> list[Arm]:
        """Every arm of the texts of a part, in order."""
        groups = [arms for arms in self.arms if arms.part == part]
        return [
            Arm(cache, budget, arms.length or self.length, arms.task)
            for arms in groups
            for budget in arms.budgets
            for cache in arms.caches
        ]

    def budget_of(self, arm: Arm) -> GlobalBudget:
        """Slots in all are the share of the window, or grow to `growing_to` of it."""
        local = 2 * self.chunk
        if arm.budget.startswith("t^"):
            exponent = float(arm.budget.removeprefix("t^"))
            keep = (share(self.growing_to) * arm.length - local) / arm.length**exponent
            return GlobalBudget(self.chunk, "power", exponent, keep, sinks=self.sinks)
        return GlobalBudget(self.chunk, "fixed", window=round(share(arm.budget) * arm.length) - local, sinks=self.sinks)

    def conditions(self) -> dict[str, object]:
        """What every line of the results depends on."""
        whole = self.plain()
        kept = {name: whole[name] for name in ("chunk", "sinks", "growing_to", "fit")}
        return {"model": Path(self.model).name, **kept, "fitted_on": whole["texts"]["fit"]}


def share(budget: str) -> float:
    """`all` is a budget for every token: more than there are, since the own and the previous chunk are cached too."""
    return 2.0 if budget == "all" else 1 / int(budget.removeprefix("1/"))


CACHES: tuple[str, ...] = get_args(Cache)
