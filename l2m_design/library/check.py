"""`l2m.check`: drawings and published models held against what data require."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2m_design.condition import Demand, Enough, Verdict
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.library.allotted import allots, cache_dtype, check_format
from l2m_design.library.answer import CheckAnswer, answer
from l2m_design.library.demand import GIVEN, Asked, demand_under, estimated, published, with_beta
from l2m_design.library.fits import parse_memory
from l2m_design.library.lengths import parse_length, parse_lengths
from l2m_design.library.subject import Subject, of_drawing, read_all
from l2m_design.settings import Json, unknown_key

if TYPE_CHECKING:
    from l2m_design.architecture import Architecture
    from l2m_design.information import Measurement


@dataclass(frozen=True)
class Options:
    """How to judge.

    length: target context, tokens, 131072 or "128k". end: of beta's interval, upper, value or lower. dtype: the
    model's; float8 and int8 are its KV cache's alone. kv_dtype, state_dtype: of either part. nats_per_element: capacity
    of every element; eta: a file of `l2m calibrate`; by default what was measured. bytes_per_token: converts a demand
    that counts bytes. runtime, paged: whose convention a published model's state follows. lengths: contexts to
    tabulate. fits: memory such as "16GiB", shared by `batch` sequences. overrides: KEY=VALUE in the model's file.
    """

    length: int | str = 65536
    end: str = "upper"
    dtype: str = "bfloat16"
    kv_dtype: str | None = None
    state_dtype: str | None = None
    nats_per_element: float | None = None
    eta: Path | None = None
    bytes_per_token: float | None = None
    runtime: str | None = None
    paged: bool = False
    lengths: Sequence[int | str] | str = ()
    fits: str | int | None = None
    batch: int = 1
    overrides: Sequence[str] = field(default_factory=tuple)

    @property
    def target(self) -> int:
        """The target context in tokens."""
        return parse_length(str(self.length))

    @property
    def contexts(self) -> list[int]:
        """The contexts to tabulate, ascending."""
        text = self.lengths if isinstance(self.lengths, str) else ",".join(map(str, self.lengths))
        return parse_lengths(text) if text else []

    @property
    def terms(self) -> Json:
        """The terms of a demand that are given."""
        kv_dtype = cache_dtype(self.runtime, self.dtype, self.kv_dtype)
        given: Json = {"length": self.target, "shortest": min(256, self.target), "end": self.end, "dtype": self.dtype}
        given |= {"kv_dtype": kv_dtype, "state_dtype": self.state_dtype}
        return given | ({} if self.nats_per_element is None else {"nats_per_element": self.nats_per_element})


@dataclass(frozen=True, repr=False)
class Checked:
    """What was found of one model. data: all of it, JSON-ready, with the keys of `l2m check --json`."""

    subject: Subject
    demand: Demand
    data: CheckAnswer

    @property
    def meets(self) -> bool:
        """Does it meet the condition: growth, and level where an amount is known and decided?"""
        return self.data["meets"]

    @property
    def enough(self) -> str | None:
        """Is there enough state at this length: yes, no, not decided; None where no amount is known."""
        return self.data["enough_state"]

    @property
    def verdict(self) -> Verdict:
        """Growth, slack and reach."""
        return self.demand.judge(self.subject.state)

    @property
    def sentences(self) -> list[str]:
        """The answer in words."""
        decided = enough(self.verdict.enough, self.demand.terms.length)
        return [f"{self.subject.name or 'drawing'}: {self.subject.picture}", decided, *self.data["advice"]]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def __repr__(self) -> str:
        return f"<Checked {self.subject.picture}: meets {self.meets}, enough state {self.enough}>"

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)


def check(
    model: "str | Path | Architecture",
    demand: "float | str | Path | PowerLaw | Measurement | None" = None,
    **options: Any,
) -> Checked:
    """Hold the history state of one model against what data require.

    model: a drawing or its path, or the config.json (or folder) of a published model, read without its weights.
    demand: an exponent; a law in nats; a measurement, or the file that `l2m estimate --json` wrote; by default the law
    of PG19 books as published. options: fields of Options, such as length=131072, fits="16GiB". Raises BadInput.

    Examples:
        >>> import l2m_design as l2m
        >>> layer = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 16, "window": 64}
        >>> found = l2m.check(l2m.Architecture(vocabulary=256, width=32, layers=[layer]), 0.7, length=4096)
        >>> found.meets, found.verdict.growth
        (False, 0.0)
    """
    return next(iter(check_all([model], demand, **options).values()))


def check_all(models: "Sequence[str | Path | Architecture]", demand: Any = None, **options: Any) -> dict[str, Checked]:
    """Several models held against one demand, by their names; see `check`."""
    known = [each.name for each in fields(Options)]
    for name in options:
        if name not in known:
            raise BadInput(f"check: {unknown_key(name, known)}")
    asked_for = Options(**options)
    served = allots(asked_for.runtime, asked_for.paged)
    terms = asked_for.terms
    memory = (
        None
        if served and asked_for.fits is None
        else parse_memory(None if asked_for.fits is None else str(asked_for.fits), asked_for.batch)
    )
    asked = _asked(demand)
    subjects = _subjects(models, asked_for)
    for subject in subjects.values():
        check_format(subject.runtime, cache_dtype(asked_for.runtime, asked_for.dtype, asked_for.kv_dtype))
    vocabularies = {name: subject.vocabulary for name, subject in subjects.items()}
    asked = asked.for_models(vocabularies, asked_for.bytes_per_token)
    under = demand_under(asked, asked_for.eta, terms)
    return {
        name: Checked(subject, under, answer(subject, under, asked, asked_for.contexts, memory, asked_for.batch))
        for name, subject in subjects.items()
    }


def _subjects(models: "Sequence[str | Path | Architecture]", asked: Options) -> dict[str, Subject]:
    drawn = [model for model in models if not isinstance(model, str | Path)]
    for drawing in drawn:
        if not hasattr(drawing, "check_context"):
            raise BadInput(f"check: a path or an Architecture is expected, found {type(drawing).__name__}")
        if asked.runtime is not None:
            raise BadInput("runtime: is for published models; a drawing counts what must be kept")
        drawing.check_context(asked.target, "architecture")
    paths = [str(Path(model).expanduser()) for model in models if isinstance(model, str | Path)]
    found = {f"drawing {number}": of_drawing(model, asked.target) for number, model in enumerate(drawn, 1)}
    return found | read_all(paths, asked.runtime, asked.target, list(asked.overrides), asked.paged)


def _asked(demand: Any) -> Asked:
    """What is required, from what stands for it."""
    if demand is None:
        return published()
    if isinstance(demand, Asked):
        return demand
    if isinstance(demand, int | float) and not isinstance(demand, bool):
        return with_beta(float(demand))
    if isinstance(demand, PowerLaw):
        return Asked(demand, True, GIVEN)
    if isinstance(demand, str | Path) or hasattr(demand, "required"):
        return estimated(demand)
    raise BadInput(f"demand: an exponent, a law, a measurement or its file is expected, found {type(demand).__name__}")


def enough(found: Enough | None, length: int) -> str:
    """The first question: is there enough state up to this length, and by which amounts?"""
    if found is None:
        return "Enough state? Not judged: a beta alone names no amount; give `prefactor` or `estimate`."
    (low, _, high), required, at = found.held, found.required, found.length
    ends = "" if low == high else f" to {_nats(high)}"
    amount = _nats(required.value)
    if required.low != required.high:
        amount += f" [{_nats(required.low)}, {_nats(required.high)}]"
    where = f"at {at:,} tokens" if at == length else f"at {at:,} tokens, where it is nearest to too little,"
    return (
        f"Enough state up to {length:,} tokens? {found.answer.capitalize()}: {where} it holds "
        f"{_nats(low)}{ends} nats, the data require {amount}; {_ground(found)}."
    )


def _ground(found: Enough) -> str:
    """Why the first answer is what it is."""
    (low, _, high), required = found.held, found.required
    if low == high:
        return "under the capacity that was given"
    if found.answer == "yes":
        return "the lowest capacity of an element that was measured suffices"
    if found.answer == "no":
        return "not even the highest capacity of an element that was measured suffices"
    if high / max(low, 1e-9) >= required.high / max(required.low, 1e-9):
        return "what an element can hold is not known well enough, and only training tells"
    return "the amount is not known well enough: measure more documents"


def _nats(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
