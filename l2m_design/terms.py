"""Terms of the condition (lengths, capacities, data types), and the measured capacities that come with the package."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from l2m_design.errors import BadInput
from l2m_design.laws import STATE_KINDS, Dtypes
from l2m_design.settings import Values, nearest, read_mapping

REACH_LIMIT = 2**24
MEASURED = Path(__file__).with_name("capacity.yaml")  # reports/calibration
OTHER = "other"  # kinds of layers that have no capacity of their own

End = Literal["upper", "value", "lower"]
Dtype = Literal["float32", "bfloat16", "float16", "float8", "int8"]
CacheDtype = Literal["float32", "bfloat16", "float16", "float8", "int8", "q8_0", "q4_0"]
StateDtype = Literal["float32", "bfloat16", "float16"]
Nats = Annotated[float, Field(gt=0.0)]


@cache
def measured_capacity() -> dict[str, Any]:
    """The capacities that come with the package, as `l2m calibrate` wrote them (see reports/calibration)."""
    return read_mapping(MEASURED)


class Terms(Values):
    """How the condition is judged, besides the law of the data.

    length: target context length in tokens. shortest: shortest context length at which the capacity condition is
    judged. end: which beta is required: upper or lower end of its interval, or its value. nats_per_element: capacity
    per state element in nats, of all mixer types that nats_by_kind does not list. nats_by_kind: capacity by mixer type.
    nats_range: lowest and highest capacity of a mixer type, or of `other`. By default all three are those that `l2m
    calibrate` measured. dtype: data type of the model; float8 and int8 apply to the KV cache only, and the rest is then
    bfloat16. kv_dtype: data type of the KV cache, by default that of the model. state_dtype: data type of recurrent and
    convolution states, by default as the mixer says.
    """

    length: Annotated[int, Field(ge=4, le=REACH_LIMIT)] = 65536
    shortest: Annotated[int, Field(ge=4)] = 256
    end: End = "upper"
    nats_per_element: Nats = Field(default_factory=lambda: measured_capacity()["nats_per_element"])
    nats_by_kind: dict[str, Nats] = Field(default_factory=dict)
    nats_range: dict[str, Annotated[tuple[Nats, Nats], Field(strict=False)]] = Field(default_factory=dict)
    dtype: Dtype = "bfloat16"
    kv_dtype: CacheDtype | None = None
    state_dtype: StateDtype | None = None

    @model_validator(mode="before")
    @classmethod
    def _measured_unless_given(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "nats_per_element" in data:
            return data
        own = data.get("nats_by_kind") or {}
        if not isinstance(own, dict):
            return data
        known = measured_capacity()
        ranges = {kind: ends for kind, ends in known["nats_range"].items() if kind not in own}
        given = data.get("nats_range") or {}
        return data | {
            "nats_per_element": known["nats_per_element"],
            "nats_by_kind": known["nats_by_kind"] | own,
            "nats_range": ranges | (given if isinstance(given, dict) else {"": given}),
        }

    @field_validator("nats_by_kind", "nats_range")
    @classmethod
    def _known_kinds(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for kind in given:
            if kind == OTHER and info.field_name == "nats_range":
                continue
            if message := unknown_kind(kind):
                raise ValueError(message)
        return given

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for kind, (low, high) in self.nats_range.items():
            value = self.nats_per_element if kind == OTHER else self.nats_by_kind.get(kind)
            if value is None:
                raise ValueError(f"nats_range: {kind} has no value in nats_by_kind")
            if not low <= value <= high:
                raise ValueError(f"nats_range: {kind}: {value:g} does not lie in [{low:g}, {high:g}]")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms with one capacity and one dtype for all stay what they were, so that studies begun with them go on."""
        plain: dict[str, Any] = handler(self)
        return {key: value for key, value in plain.items() if value not in ({}, None)}

    @property
    def dtypes(self) -> Dtypes:
        """What the parts of a state are held in."""
        whole = Dtypes.of(self.dtype)
        return Dtypes(whole.model, self.kv_dtype or whole.cache, self.state_dtype)

    def capacity(self, kind: str | None) -> tuple[float, float, float]:
        """Lowest, central and highest nats per element of a mixer type."""
        own = kind if kind in self.nats_by_kind else OTHER
        value = self.nats_by_kind.get(own, self.nats_per_element)
        low, high = self.nats_range.get(own, (value, value))
        return low, value, high

    def alike(self, kinds: Iterable[str], kind: str) -> "Terms":
        """The same terms, but that an element of each of these kinds holds what one of `kind` does."""
        low, value, high = self.capacity(kind)
        by_kind = self.nats_by_kind | dict.fromkeys(kinds, value)
        ranges = self.nats_range | dict.fromkeys(kinds, (low, high))
        return self.model_copy(update={"nats_by_kind": by_kind, "nats_range": ranges})


def unknown_kind(kind: str) -> str | None:
    """One sentence about a kind that no layer's state has, naming the nearest that one has."""
    if kind in STATE_KINDS:
        return None
    close = nearest(kind, STATE_KINDS)
    return f"unknown mixer type '{kind}'; " + (
        f"did you mean '{close}'?" if close else f"allowed: {', '.join(STATE_KINDS)}"
    )


def read_capacity(path: str | Path) -> dict[str, Any]:
    """The capacities in the file that `l2m calibrate` wrote, as Terms take them. Raises BadInput when it is none."""
    data = read_mapping(path)
    if "nats_by_kind" not in data or not set(data) <= {"nats_per_element", "nats_by_kind", "nats_range"}:
        raise BadInput(
            f"{path}: not a file that `l2m calibrate` wrote: it must contain nats_by_kind and nothing but capacities"
        )
    Terms.parse(data, str(path))
    return data
