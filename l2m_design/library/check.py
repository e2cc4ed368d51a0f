"""`l2m.check`: compare the history state of architectures and published models with what data require."""

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
from l2m_design.library.demand import GIVEN, Requirement, demand_under, estimated, published, with_beta
from l2m_design.library.fits import parse_memory
from l2m_design.library.lengths import parse_length, parse_lengths
from l2m_design.library.subject import Subject, of_architecture, read_all
from l2m_design.settings import Json, unknown_key

if TYPE_CHECKING:
    from l2m_design.architecture import Architecture
    from l2m_design.information import Measurement


@dataclass(frozen=True)
class Options:
    """Options of a check.

    length: target context length in tokens, 131072 or "128k". end: which beta to judge by: upper or lower end of its
    interval, or value. dtype: data type of the model; float8 and int8 apply to the KV cache. kv_dtype, state_dtype:
    data types of the KV cache and of other states. nats_per_element: capacity of every element in nats. eta: file that
    `l2m calibrate` wrote; by default the shipped capacities. bytes_per_token: average bytes per token of the models, to
    convert a requirement in bytes. runtime, paged: software whose cache layout counts for published models. lengths:
    context lengths to tabulate. fits: memory, such as "16GiB", for `batch` sequences. overrides: KEY=VALUE in the file
    of the model.
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
        """The target context length in tokens."""
        return parse_length(str(self.length))

    @property
    def contexts(self) -> list[int]:
        """The context lengths to tabulate, in increasing order."""
        text = self.lengths if isinstance(self.lengths, str) else ",".join(map(str, self.lengths))
        return parse_lengths(text) if text else []

    @property
    def terms(self) -> Json:
        """The given terms of the condition."""
        kv_dtype = cache_dtype(self.runtime, self.dtype, self.kv_dtype)
        given: Json = {"length": self.target, "shortest": min(256, self.target), "end": self.end, "dtype": self.dtype}
        given |= {"kv_dtype": kv_dtype, "state_dtype": self.state_dtype}
        return given | ({} if self.nats_per_element is None else {"nats_per_element": self.nats_per_element})


@dataclass(frozen=True, repr=False)
class Checked:
    """The result for one model. data: all of it as JSON, with the keys of `l2m check --json`."""

    subject: Subject
    demand: Demand
    data: CheckAnswer

    @property
    def meets(self) -> bool:
        """True if the growth condition is met, and the capacity condition is not violated."""
        return self.data["meets"]

    @property
    def enough(self) -> str | None:
        """The answer of the capacity condition: yes, no or not decided; None if no amount is known."""
        return self.data["enough_state"]

    @property
    def verdict(self) -> Verdict:
        """Growth, slack and longest context covered."""
        return self.demand.judge(self.subject.state)

    @property
    def sentences(self) -> list[str]:
        """The result in sentences."""
        decided = enough(self.verdict.enough, self.demand.terms.length)
        return [f"{self.subject.name or 'architecture'}: {self.subject.picture}", decided, *self.data["advice"]]

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
    """Compare the history state of one model with what data require.

    model: an Architecture or its path, or the config.json (or folder) of a published model; no weights are needed.
    demand: an exponent, a PowerLaw in nats, a Measurement, or the file that `l2m estimate --json` wrote; by default the
    published law of PG19 books. options: fields of Options, such as length=131072, fits="16GiB". Returns a Checked.
    Raises BadInput.

    Examples:
        >>> import l2m_design as l2m
        >>> layer = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 16, "window": 64}
        >>> found = l2m.check(l2m.Architecture(vocabulary=256, width=32, layers=[layer]), 0.7, length=4096)
        >>> found.meets, found.verdict.growth
        (False, 0.0)
    """
    return next(iter(check_all([model], demand, **options).values()))


def check_all(models: "Sequence[str | Path | Architecture]", demand: Any = None, **options: Any) -> dict[str, Checked]:
    """Compare several models with one requirement; return the results by name. See `check`."""
    known = [each.name for each in fields(Options)]
    for name in options:
        if name not in known:
            raise BadInput(f"check: {unknown_key(name, known)}")
    given = Options(**options)
    served = allots(given.runtime, given.paged)
    terms = given.terms
    memory = (
        None
        if served and given.fits is None
        else parse_memory(None if given.fits is None else str(given.fits), given.batch)
    )
    requirement = _requirement(demand)
    subjects = _subjects(models, given)
    for subject in subjects.values():
        check_format(subject.runtime, cache_dtype(given.runtime, given.dtype, given.kv_dtype))
    vocabularies = {name: subject.vocabulary for name, subject in subjects.items()}
    requirement = requirement.for_models(vocabularies, given.bytes_per_token)
    under = demand_under(requirement, given.eta, terms)
    return {
        name: Checked(subject, under, answer(subject, under, requirement, given.contexts, memory, given.batch))
        for name, subject in subjects.items()
    }


def _subjects(models: "Sequence[str | Path | Architecture]", options: Options) -> dict[str, Subject]:
    drawn = [model for model in models if not isinstance(model, str | Path)]
    for architecture in drawn:
        if not hasattr(architecture, "check_context"):
            raise BadInput(f"check: must be a path or an Architecture, found {type(architecture).__name__}")
        if options.runtime is not None:
            raise BadInput(
                "runtime: works for published models only; of an architecture exactly the necessary state is counted"
            )
        architecture.check_context(options.target, "architecture")
    paths = [str(Path(model).expanduser()) for model in models if isinstance(model, str | Path)]
    found = {f"architecture {number}": of_architecture(model, options.target) for number, model in enumerate(drawn, 1)}
    return found | read_all(paths, options.runtime, options.target, list(options.overrides), options.paged)


def _requirement(demand: Any) -> Requirement:
    """Return the requirement, given as an exponent, a law, a measurement or its file."""
    if demand is None:
        return published()
    if isinstance(demand, Requirement):
        return demand
    if isinstance(demand, int | float) and not isinstance(demand, bool):
        return with_beta(float(demand))
    if isinstance(demand, PowerLaw):
        return Requirement(demand, True, GIVEN)
    if isinstance(demand, str | Path) or hasattr(demand, "required"):
        return estimated(demand)
    raise BadInput(f"demand: must be an exponent, a PowerLaw, a Measurement or its file, found {type(demand).__name__}")


def enough(found: Enough | None, length: int) -> str:
    """Say in a sentence whether the state is large enough up to this length."""
    if found is None:
        return "Enough state? Not known: a beta alone gives no amount in nats; give `prefactor` or `estimate`."
    (low, _, high), required, at = found.capacity, found.required, found.length
    ends = "" if low == high else f" to {_nats(high)}"
    amount = _nats(required.value)
    if required.low != required.high:
        amount += f" [{_nats(required.low)}, {_nats(required.high)}]"
    where = f"at {at:,} tokens" if at == length else f"at {at:,} tokens, where the margin is smallest,"
    return (
        f"Enough state up to {length:,} tokens? {found.answer.capitalize()}: {where} the state can hold "
        f"{_nats(low)}{ends} nats, and {amount} are required; {_ground(found)}."
    )


def _ground(found: Enough) -> str:
    """Return the reason of the answer."""
    (low, _, high), required = found.capacity, found.required
    if low == high:
        return "at the given capacity per element"
    if found.answer == "yes":
        return "the state suffices even at the lowest measured capacity per element"
    if found.answer == "no":
        return "the state does not suffice even at the highest measured capacity per element"
    if high / max(low, 1e-9) >= required.high / max(required.low, 1e-9):
        return "the capacity per element is not known precisely enough; only training a model can decide"
    return "the required amount is not known precisely enough; measure more documents"


def _nats(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
