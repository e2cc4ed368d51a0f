"""A measurement as files keep it: the JSON of `l2m estimate --json` and of a study, read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, TypeAdapter, WithJsonSchema

from l2m_design.estimates import Estimate
from l2m_design.information.split_points import STRETCHES
from l2m_design.laws import PowerLaw
from l2m_design.settings import Json


def _law(given: Any) -> PowerLaw:
    try:
        return given if isinstance(given, PowerLaw) else PowerLaw.of_plain(given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no law: {error}") from None


LAW_SCHEMA = {
    "type": "object",
    "description": "prefactor n^exponent + offset, nats (form: logarithm or constant where data have no exponent); "
    "draws: joint bootstrap draws of the three",
    "properties": {
        "form": {"enum": ["power", "logarithm", "constant"]},
        **{name: {"type": "number"} for name in ("prefactor", "exponent", "offset", "level")},
        "draws": {"type": ["array", "null"], "items": {"type": "array", "items": {"type": "number"}}},
    },
    "required": ["prefactor", "exponent", "offset", "level", "draws"],
}  # fmt: skip
Law = Annotated[PowerLaw, PlainValidator(_law), PlainSerializer(PowerLaw.plain), WithJsonSchema(LAW_SCHEMA)]


@dataclass(frozen=True)
class Controls:
    """What the compressor's controls found; estimates in nats by n, as `lengths` of the measurement.

    nats_by_priming: nats at the longest n by the number of priming tokens.
    """

    bits_per_token: float
    nats_by_priming: dict[int, float]
    another_document: list[Estimate]
    shuffled: list[Estimate]
    order: list[Estimate]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """I(n;n) of a corpus by n, its law, and what was read; lengths in `unit`, information in nats.

    resampled: what the intervals resample. See Measurement, whose `plain` has these keys.
    """

    beta: Estimate | None
    prefactor_nats: float
    offset_nats: float
    power_exponent: Estimate
    lengths: list[float]
    mi_nats: list[float]
    mi_low: list[float]
    mi_high: list[float]
    local_slopes: list[Estimate | None]
    estimator: str
    preferred_law: str
    preference: str
    preferred_by_replicates: float
    law: Law
    required: Law | None
    unit: str
    bytes_per_token: float | None
    documents: int
    copies: dict[str, int] | None = None
    vocabulary: int
    resampled: str
    tokens_scored: int
    seconds: float
    corpus_fingerprint: str
    losses_nats: list[float] | None
    control_explained: list[float] | None
    explained_by: str | None
    other_recordings_nats: list[float] | None = None
    compression: Controls | None
    context_used: int | None
    notes: list[str]

    @property
    def few_documents(self) -> bool:
        """Were there too few documents to resample, so that the intervals hold for these documents alone?"""
        return self.resampled == STRETCHES

    @property
    def longest(self) -> float:
        """The longest context that was measured, both sides together."""
        return 2 * self.lengths[-1]

    def plain(self) -> Json:
        """JSON-ready."""
        return _adapter().dump_python(self, mode="json")

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Measured":
        """The measurement that `plain` wrote, or that of a Measurement. Raises ValueError when it is none."""
        return _adapter().validate_python(data)


@cache
def _adapter() -> "TypeAdapter[Measured]":
    return TypeAdapter(Measured)
