"""What `l2m check` judges by: a given exponent, an estimate's file, or the published law of books."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.information import Measurement
    from l2m_design.laws import PowerLaw

PUBLISHED = "PG19 books as published (arXiv 2503.04725: 2.27 L^0.76 nats, LLaMA-3.1-405B, its tokens)"
BYTES = 256  # the vocabulary of models that read bytes


@dataclass(frozen=True)
class Asked:
    """The law to judge by, whether it has an amount, and where it comes from.

    unit: what its n counts, bytes or tokens; bytes_per_token: of those tokens, where they are text; vocabulary: theirs,
    where it is known.
    """

    law: "PowerLaw"
    has_level: bool
    source: str
    unit: str = "tokens"
    bytes_per_token: float | None = None
    vocabulary: int | None = None

    def for_models(self, vocabularies: dict[str, int], bytes_per_token: float | None) -> "Asked":
        """The same in the models' tokens, of which each holds so many bytes.

        Raises BadInput where the demand counts bytes, a model reads tokens, and what a token holds is not said.
        """
        from l2m_design.errors import BadInput

        if bytes_per_token is not None:
            if not 0 < bytes_per_token <= 1000:
                raise BadInput(f"--bytes-per-token: must lie in (0, 1000], found {bytes_per_token:g}")
            own = 1.0 if self.unit == "bytes" or self.bytes_per_token is None else self.bytes_per_token
            law = self.law.counted_in(bytes_per_token / own)
            return replace(self, law=law, unit="tokens", bytes_per_token=bytes_per_token)
        others = {name: size for name, size in vocabularies.items() if size != BYTES}
        if self.unit == "bytes" and others and self.has_level:
            name, size = next(iter(others.items()))
            raise BadInput(
                f"{self.source} counts bytes, and {name} reads tokens (vocabulary {size:,}): give --bytes-per-token, "
                "about 4 for English text and 3 for code with such a vocabulary, or estimate with its --tokenizer"
            )
        return self


def demand_under(asked: Asked, eta: Path | None, given: dict[str, Any]) -> "Demand":
    """The demand under the given terms; raises BadInput."""
    from l2m_design.condition import Demand
    from l2m_design.errors import BadInput
    from l2m_design.terms import Terms, read_capacity

    if eta and "nats_per_element" in given:
        raise BadInput("--eta brings capacities by kind, --nats-per-element one for all: give one or the other")
    terms = given | (read_capacity(eta) if eta else {}) | {"shortest": min(256, given["length"])}
    return Demand(asked.law, Terms.parse(terms, "check"), asked.has_level)


def read(beta: float | None, prefactor: float | None, estimate: Path | None) -> Asked:
    """The law that was given, measured, or published. Raises BadInput."""
    from l2m_design.errors import BadInput

    if estimate is not None:
        if beta is not None or prefactor is not None:
            raise BadInput("--estimate brings its own beta and prefactor: give one or the other")
        return estimated(estimate)
    if beta is None:
        if prefactor is not None:
            raise BadInput("--prefactor needs --beta")
        return published()
    return with_beta(beta, prefactor)


def published() -> Asked:
    """The law of PG19 books."""
    from l2m_design.published import PG19

    return Asked(PG19.law, True, PUBLISHED)


def with_beta(beta: float, prefactor: float | None = None) -> Asked:
    """A given exponent, and A of I(n;n) = A n^beta in nats, if it is given. Raises BadInput."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw

    if not 0 < beta <= 1:
        raise BadInput(f"--beta: must lie in (0, 1], found {beta}")
    if prefactor is not None and not 0 < prefactor <= 1e12:
        raise BadInput(f"--prefactor: must lie in (0, 1e12], found {prefactor}")
    return Asked(PowerLaw(prefactor or 1.0, beta), prefactor is not None, "given")


def estimated(found: "str | Path | Measurement") -> Asked:
    """What a measurement requires, or the file that `l2m estimate --json` wrote of one. Raises BadInput."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.settings import read_text

    source = str(found) if isinstance(found, str | Path) else "the measurement"
    try:
        data = json.loads(read_text(found)) if isinstance(found, str | Path) else found.plain()
        required = data["required"] if "required" in data else data["law"] if data["beta"] else None
        if required is None:
            explained = data.get("explained_by")
            why = f"explained by: {explained}" if explained else f"law '{data.get('preferred_law')}'"
            raise BadInput(f"{source}: has no beta and gives no requirement ({why}); give --beta, or measure again")
        law, unit = PowerLaw.of_plain(required), str(data.get("unit", "tokens"))
        return Asked(law, True, source, unit, data.get("bytes_per_token"), data.get("vocabulary"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{source}: not the output of `l2m estimate --json`") from None
