"""Weights on disk: safetensors that name their architecture by its fingerprint."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.model.language import LanguageModel, build
from l2m_design.settings import write_atomically


def save_weights(model: LanguageModel, path: Path) -> None:
    """Write a model's weights atomically, with the fingerprint of its architecture."""
    write_tensors(path, model.state_dict(), {"drawing": model.architecture.fingerprint})


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write named tensors whole or not at all, with notes beside them. Raises OSError when the disk refuses."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(plain, metadata=notes))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes that `write_tensors` wrote. Raises BadInput when the file is broken or not there."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own type for every broken file
        raise BadInput(f"{path}: cannot be read: {error}") from None


def read_notes(path: Path) -> dict[str, str]:
    """The notes that `write_tensors` wrote, without the tensors; none where the file is broken."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception:  # safetensors raises its own type for every broken file
        return {}


def load_weights(architecture: Architecture, path: Path) -> LanguageModel:
    """Build the model of an architecture with saved weights. Raises BadInput if they belong to another architecture."""
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get("drawing")
    except Exception as error:  # safetensors raises its own type for every broken file
        raise BadInput(f"{path}: not a weights file: {error}") from None
    if written is None:
        raise BadInput(f"{path}: does not name the architecture of its weights; give a file that `l2m train` wrote")
    if written != architecture.fingerprint:
        raise BadInput(
            f"{path}: contains the weights of architecture {written}, not of {architecture.fingerprint}; give the "
            "architecture beside them"
        )
    tensors = load_file(path)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise BadInput(f"{path}: the weights {name} contain NaN or infinities")
    model = build(architecture)
    model.load_state_dict(tensors)
    return model
