"""What `l2m check` judges by: a given exponent, an estimate's file, or the published law of books."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.laws import PowerLaw

PUBLISHED = "PG19 books as published (arXiv 2503.04725: 2.27 L^0.76 nats, LLaMA-3.1-405B, its tokens)"


def demand(
    beta: float | None, prefactor: float | None, estimate: Path | None, eta: Path | None, given: dict[str, Any]
) -> tuple["Demand", str]:
    """The demand under the given terms, and where its law comes from; raises BadInput."""
    from l2m_design.condition import Demand, Terms, read_capacity

    found, has_level, source = law(beta, prefactor, estimate)
    terms = given | (read_capacity(eta) if eta else {}) | {"shortest": min(256, given["length"])}
    return Demand(found, Terms.parse(terms, "check"), has_level), source


def law(beta: float | None, prefactor: float | None, estimate: Path | None) -> tuple["PowerLaw", bool, str]:
    """The law to judge by, whether it has a level, and where it comes from."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.settings import read_text

    if estimate is not None:
        if beta is not None or prefactor is not None:
            raise BadInput("--estimate brings its own beta and prefactor: give one or the other")
        try:
            data = json.loads(read_text(estimate))
            required = data["required"] if "required" in data else data["law"] if data["beta"] else None
            if required is None:
                why = "vocabulary explains it" if data.get("explained_by") else f"law '{data.get('preferred_law')}'"
                raise BadInput(
                    f"{estimate}: has no beta and gives no requirement ({why}); give --beta, or measure again"
                )
            return PowerLaw.of_plain(required), True, str(estimate)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{estimate}: not the output of `l2m estimate --json`") from None
    if beta is None:
        if prefactor is not None:
            raise BadInput("--prefactor needs --beta")
        from l2m_design.information.published import PG19

        return PG19.law, True, PUBLISHED
    if not 0 < beta <= 1:
        raise BadInput(f"--beta: must lie in (0, 1], found {beta}")
    if prefactor is not None and not 0 < prefactor <= 1e12:
        raise BadInput(f"--prefactor: must lie in (0, 1e12], found {prefactor}")
    return PowerLaw(prefactor or 1.0, beta), prefactor is not None, "given"
