"""An export as a version of a registered model in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

from l2m_design.export.card import known
from l2m_design.search.tracking.registry import register

if TYPE_CHECKING:
    from l2m_design.export.exported import Exported


def registered(folder: Path, name: str, uri: str, result: "Exported") -> dict[str, str]:
    """Store an exported folder as the next version of a model, in the experiment of its study if it has one. Raises
    WorkFailed if the store does not accept it.
    """
    about = known(str(folder)).provenance
    study = about.get("study")
    tags = {"format": result["format"], "study": study, "drawing": about.get("drawing")}
    tags |= {"weights": result.get("weights") or "fresh, untrained"} if "weights" in result else {}
    return register(uri, folder, name, study, {key: str(value) for key, value in tags.items() if value})
