"""The requirement of `l2m check`: a given exponent, the file of an estimate, or the published law of books."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.information import Measurement
    from l2m_design.laws import PowerLaw
    from l2m_design.settings import Json

PUBLISHED = "PG19 books, published (arXiv 2503.04725: 2.27 L^0.76 nats by LLaMA-3.1-405B, in its tokens)"
GIVEN = "given"
BYTES = 256  # the vocabulary of models that read bytes
PADDING = 1024  # rows of a model's table of embeddings beyond its tokenizer's tokens, at most


@dataclass(frozen=True)
class Requirement:
    """The law to judge by. has_level: is its amount known? source: where it comes from, in words.

    unit: what n counts, bytes or tokens. bytes_per_token: average size of these tokens, if they are text. vocabulary:
    its size, if it is known.
    """

    law: "PowerLaw"
    has_level: bool
    source: str
    unit: str = "tokens"
    bytes_per_token: float | None = None
    vocabulary: int | None = None

    def for_models(self, vocabularies: dict[str, int], bytes_per_token: float | None) -> "Requirement":
        """Return the requirement in the tokens of the models, which are given by name with the sizes of their
        vocabularies.

        bytes_per_token: average size of the tokens of the models. Raises BadInput if the requirement cannot be
        converted to the tokens of the models.
        """
        from l2m_design.errors import BadInput

        bytes_read = [name for name, size in vocabularies.items() if size == BYTES]
        if bytes_per_token is not None:
            if not 0 < bytes_per_token <= 1000:
                raise BadInput(f"`bytes_per_token`: must lie in (0, 1000], found {bytes_per_token:g}")
            if bytes_read and len(bytes_read) < len(vocabularies):
                raise BadInput(
                    f"`bytes_per_token`: {bytes_read[0]} reads bytes, the other models read tokens; check them in "
                    "separate commands"
                )
            return self._counted_in(bytes_per_token)
        if not self.has_level:
            return self
        if self.unit == "bytes":
            return self._of_bytes(vocabularies)
        if self.bytes_per_token is None or self.vocabulary is None:
            return self  # of models' own tokens, or of no text
        if bytes_read == list(vocabularies) and self.vocabulary != BYTES:
            return replace(self._counted_in(1.0), unit="bytes")
        for name, size in vocabularies.items():
            if not self.vocabulary <= size <= self.vocabulary + PADDING:
                raise BadInput(
                    f"{self.source} counts tokens of {self.bytes_per_token:.3g} bytes (vocabulary "
                    f"{self.vocabulary:,}), but {name} reads other tokens (vocabulary {size:,}): give the "
                    "`bytes_per_token` of its tokens, or estimate with its `tokenizer`"
                )
        return self

    def _of_bytes(self, vocabularies: dict[str, int]) -> "Requirement":
        """Check that all models read bytes, as the requirement does. Raises BadInput for others."""
        from l2m_design.errors import BadInput

        for name, size in vocabularies.items():
            if size != BYTES:
                raise BadInput(
                    f"{self.source} counts bytes, but {name} reads tokens (vocabulary {size:,}): give "
                    "`bytes_per_token`, about 4 for English text and 3 for code with such a vocabulary, or estimate "
                    "with its `tokenizer`"
                )
        return self

    def _counted_in(self, bytes_per_token: float) -> "Requirement":
        """Convert to tokens of this size. Raises BadInput if the requirement counts tokens of unknown size."""
        from l2m_design.errors import BadInput

        own = 1.0 if self.unit == "bytes" else self.bytes_per_token
        if own is None and self.has_level and self.source != GIVEN:
            raise BadInput(
                "`bytes_per_token`: works only if the requirement counts bytes, or tokens of known size; "
                f"{self.source} does not"
            )
        law = self.law.counted_in(bytes_per_token / (own or 1.0))
        source = f"{GIVEN}, in bytes" if self.source == GIVEN and self.has_level else self.source
        return replace(self, law=law, unit="tokens", bytes_per_token=bytes_per_token, source=source)


def demand_under(requirement: Requirement, eta: Path | None, given: "Json") -> "Demand":
    """Return the requirement with the given terms. Raises BadInput."""
    from l2m_design.condition import Demand
    from l2m_design.errors import BadInput
    from l2m_design.terms import Terms, read_capacity

    if eta and "nats_per_element" in given:
        raise BadInput("`eta` and `nats_per_element` both set the capacity per element: give only one of them")
    terms = given | (read_capacity(eta) if eta else {})
    return Demand(requirement.law, Terms.parse(terms, "check"), requirement.has_level)


def read(beta: float | None, prefactor: float | None, estimate: Path | None) -> Requirement:
    """Return the given, the measured or the published law. Raises BadInput."""
    from l2m_design.errors import BadInput

    if estimate is not None:
        if beta is not None or prefactor is not None:
            raise BadInput("`estimate` has its own beta and prefactor: leave `beta` and `prefactor` out")
        return estimated(estimate)
    if beta is None:
        if prefactor is not None:
            raise BadInput("`prefactor`: needs `beta` too")
        return published()
    return with_beta(beta, prefactor)


def published() -> Requirement:
    """Return the published law of PG19 books."""
    from l2m_design.published import PG19

    return Requirement(PG19.law, True, PUBLISHED)


def with_beta(beta: float, prefactor: float | None = None) -> Requirement:
    """Return the law of a given exponent, and of A in I(n;n) = A n^beta, in nats, if given. Raises BadInput."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw

    if not 0 < beta <= 1:
        raise BadInput(f"`beta`: must lie in (0, 1], found {beta}")
    if prefactor is not None and not 0 < prefactor <= 1e12:
        raise BadInput(f"`prefactor`: must lie in (0, 1e12], found {prefactor}")
    return Requirement(PowerLaw(prefactor or 1.0, beta), prefactor is not None, GIVEN)


def estimated(found: "str | Path | Measurement") -> Requirement:
    """Return the requirement of a measurement, or of the file that `l2m estimate --json` wrote. Raises BadInput."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.settings import read_text

    source = str(found) if isinstance(found, str | Path) else "the measurement"
    try:
        data: Mapping[str, Any] = json.loads(read_text(found)) if isinstance(found, str | Path) else found.plain()
        required = data["required"] if "required" in data else data["law"] if data["beta"] else None
        if required is None:
            explained = data.get("explained_by")
            why = f"explained by: {explained}" if explained else f"law '{data.get('preferred_law')}'"
            raise BadInput(f"{source}: contains no beta and no requirement ({why}); give `beta`, or measure again")
        law = PowerLaw.of_plain(required)
        unit = str(data.get("unit") or ("bytes" if data.get("vocabulary") == BYTES else "tokens"))  # earlier files
        return Requirement(law, True, source, unit, data.get("bytes_per_token"), data.get("vocabulary"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{source}: not the output of `l2m estimate --json`") from None
