"""The card of an architecture: its drawing, laws, verdict and provenance, as YAML and JSON."""

from pathlib import Path
from typing import Any

from l2m_design import __version__
from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes
from l2m_design.settings import read_mapping, to_json, to_yaml, write_atomically

CARD_FILES = ("architecture.yaml", "card.json")
WEIGHTS = ("*.safetensors", "*.bin")
LENGTHS = (1024, 4096, 16384, 65536, 262144, 1048576)


def card(architecture: Architecture, demand: Demand | None, provenance: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known of a drawing, JSON-ready.

    provenance: where the drawing comes from (study, trial, corpus, losses), as the caller knows it.
    """
    state = architecture.state
    dtype = demand.terms.dtype if demand else "bfloat16"
    dtypes = demand.terms.dtypes if demand else Dtypes()
    return {
        "architecture": architecture.plain(),
        "laws": {
            "picture": architecture.picture,
            "parameters": architecture.parameters,
            "growth_exponent": state.exponent,
            "dtype": dtype,
            "state_elements": {str(length): state.elements(length) for length in LENGTHS},
            "state_bytes": {str(length): state.bytes(length, dtypes) for length in LENGTHS},
            "forward_flops": {str(length): architecture.flops(length) for length in LENGTHS},
        },
        "verdict": demand.judge(state).plain() | {"terms": demand.terms.plain()} if demand else None,
        "provenance": {"l2m_design": __version__, "drawing": architecture.fingerprint} | provenance,
    }


def known(source: str | Path) -> dict[str, Any]:
    """Verdict and provenance that a card, or the folder of one, already holds for its drawing."""
    path = Path(source) / "card.json" if Path(source).is_dir() else Path(source)
    data = read_mapping(path) if path.exists() else {}
    return {key: data[key] for key in ("verdict", "provenance") if "architecture" in data and data.get(key)}


def holds_weights(folder: Path) -> bool:
    """Do weights lie in a folder?"""
    return any(next(folder.glob(pattern), None) for pattern in WEIGHTS)


def check_neighbours(drawing: Architecture, folder: Path) -> None:
    """Raises BadInput where a card would stand beside the weights of another drawing."""
    if not holds_weights(folder):
        return
    try:
        same = Architecture.load(folder) == drawing
    except BadInput:
        same = False
    if not same:
        raise BadInput(f"{folder}: holds weights that are not of this drawing, and a card has none; give another --out")


def write_card(content: dict[str, Any], folder: Path, formats: tuple[str, ...] = ("yaml", "json")) -> list[str]:
    """Write architecture.yaml (the drawing alone) and card.json; answers the files. Each is loaded back.

    Raises RuntimeError when a file does not give the same drawing again.
    """
    drawing = Architecture.parse(content["architecture"], "card")
    files = []
    if "yaml" in formats:
        files.append(folder / "architecture.yaml")
        comment = (
            f"# {drawing.picture}: {drawing.parameters:,} parameters, state grows as t^{drawing.state.exponent:.2f}\n"
        )
        write_atomically(files[-1], comment + to_yaml(content["architecture"]))
    if "json" in formats:
        files.append(folder / "card.json")
        write_atomically(files[-1], to_json(content))
    for file in files:
        if Architecture.load(file) != drawing:
            raise RuntimeError(f"{file}: does not load back as the same drawing")
    return [str(file) for file in files]
