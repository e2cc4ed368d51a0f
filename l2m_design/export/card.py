"""The card of an architecture: its layers, laws, verdict and provenance, as YAML and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from l2m_design import __version__
from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Judgement
from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes
from l2m_design.settings import Json, read_mapping, to_json, to_yaml, write_atomically
from l2m_design.terms import Terms

CARD_FILES = ("architecture.yaml", "card.json")
WEIGHTS = ("*.safetensors", "*.bin")
LENGTHS = (1024, 4096, 16384, 65536, 262144, 1048576)


Loss = float | dict[str, float] | None  # nats per token, alone or with its interval


class Losses(TypedDict, total=False):
    """What a model was measured to lose, nats per token."""

    loss: Loss
    test_loss: Loss
    difference: Loss
    mi_captured_nats: Loss


class Provenance(Losses, total=False):
    """Where an architecture comes from, as JSON: the study, trial and corpus, or the training run (result: its file);
    other_weights: losses of the design under weights that are not the card's.
    """

    l2m_design: str
    drawing: str
    source: str
    scaled_from: str
    study: str
    corpus: Json | str
    recipe: Json
    reference: str | None
    verdict: str | None
    trial: int | None
    design: str | None
    rate: float
    seeds: int
    effective_context: int | None
    result: str
    other_weights: Losses


@dataclass(frozen=True)
class Judged:
    """A verdict, and the terms that it was judged under; cards of the first version have none."""

    judgement: Judgement
    terms: Terms | None

    @classmethod
    def by(cls, demand: Demand, architecture: Architecture) -> "Judged":
        """An architecture held against a demand."""
        return cls(demand.judge(architecture.state).judgement, demand.terms)

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Judged":
        """The verdict of a card."""
        terms = data.get("terms")
        return cls(Judgement.of_plain(data), Terms.parse(terms, "card") if terms else None)

    def plain(self) -> Json:
        """JSON-ready."""
        return self.judgement.plain() | ({"terms": self.terms.plain()} if self.terms else {})


@dataclass(frozen=True)
class Known:
    """What a card already holds for an architecture."""

    judged: Judged | None = None
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True)
class Card:
    """Everything that is known of an architecture. proven: what the proof of an export found, JSON-ready."""

    architecture: Architecture
    judged: Judged | None
    provenance: Provenance
    proven: Json | None = None

    def knowing(self, known: Known) -> "Card":
        """With what another card says in place of its own."""
        return replace(self, judged=known.judged or self.judged, provenance=known.provenance or self.provenance)

    def plain(self) -> Json:
        """JSON-ready: the laws are given in the dtypes of the terms, bfloat16 where there are none."""
        architecture, state = self.architecture, self.architecture.state
        terms = self.judged.terms if self.judged else None
        dtypes = terms.dtypes if terms else Dtypes()
        laws = {
            "picture": architecture.picture,
            "parameters": architecture.parameters,
            "growth_exponent": state.exponent,
            "dtype": terms.dtype if terms else "bfloat16",
            "state_elements": {str(length): state.elements(length) for length in LENGTHS},
            "state_bytes": {str(length): state.bytes(length, dtypes) for length in LENGTHS},
            "forward_flops": {str(length): architecture.flops(length) for length in LENGTHS},
        }
        found: Json = {
            "architecture": architecture.plain(),
            "laws": laws,
            "verdict": self.judged.plain() if self.judged else None,
            "provenance": self.provenance,
        }
        return found | ({"export": self.proven} if self.proven else {})


def card(architecture: Architecture, demand: Demand | None, provenance: Provenance) -> Card:
    """The card of an architecture.

    provenance: where it comes from, as the caller knows it.
    """
    own: Provenance = {"l2m_design": __version__, "drawing": architecture.fingerprint}
    return Card(architecture, Judged.by(demand, architecture) if demand else None, {**own, **provenance})


def known(source: str | Path) -> Known:
    """What a card, or the folder of one, already holds. Raises BadInput on a card whose verdict is none."""
    path = Path(source) / "card.json" if Path(source).is_dir() else Path(source)
    data = read_mapping(path) if path.exists() else {}
    if "architecture" not in data:
        return Known()
    try:
        judged = Judged.of_plain(data["verdict"]) if data.get("verdict") else None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{path}: its verdict cannot be read: {type(error).__name__}: {error}") from None
    return Known(judged, data["provenance"]) if data.get("provenance") else Known(judged)


def holds_weights(folder: Path) -> bool:
    """Do weights lie in a folder?"""
    return any(next(folder.glob(pattern), None) for pattern in WEIGHTS)


def check_neighbours(architecture: Architecture, folder: Path) -> None:
    """Raises BadInput where a card would stand beside the weights of another architecture."""
    if not holds_weights(folder):
        return
    try:
        same = Architecture.load(folder) == architecture
    except BadInput:
        same = False
    if not same:
        raise BadInput(f"{folder}: contains the weights of another architecture; give another --out")


def write_card(content: Card, folder: Path, formats: tuple[str, ...] = ("yaml", "json")) -> list[str]:
    """Write architecture.yaml (the architecture alone) and card.json; answers the files. Each is loaded back.

    Raises RuntimeError when a file does not give the same architecture again.
    """
    architecture = content.architecture
    files = []
    if "yaml" in formats:
        files.append(folder / "architecture.yaml")
        comment = (
            f"# {architecture.picture}: {architecture.parameters:,} parameters, state grows as "
            f"t^{architecture.state.exponent:.2f}\n"
        )
        write_atomically(files[-1], comment + to_yaml(architecture.plain()))
    if "json" in formats:
        files.append(folder / "card.json")
        write_atomically(files[-1], to_json(content.plain()))
    for file in files:
        if Architecture.load(file) != architecture:
            raise RuntimeError(f"{file}: does not load back as the same architecture")
    return [str(file) for file in files]
