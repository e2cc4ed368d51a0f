"""Weights on disk: safetensors, bound to their drawing by its fingerprint."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.model.language import LanguageModel, build
from l2m_design.settings import write_atomically


def save_weights(model: LanguageModel, path: Path) -> None:
    """Write a model's weights whole, with the fingerprint of its drawing."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(path, save(tensors, metadata={"drawing": model.architecture.fingerprint}))


def load_weights(architecture: Architecture, path: Path) -> LanguageModel:
    """The drawn model with saved weights. Raises BadInput when they are another drawing's."""
    try:
        with safe_open(path, framework="pt") as file:
            drawing = (file.metadata() or {}).get("drawing")
    except Exception as error:  # safetensors raises its own type for every broken file
        raise BadInput(f"{path}: not a weights file: {error}") from None
    if drawing != architecture.fingerprint:
        raise BadInput(f"{path}: holds the weights of drawing {drawing}, not of {architecture.fingerprint}")
    tensors = load_file(path)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise BadInput(f"{path}: {name} holds NaN or infinities")
    model = build(architecture)
    model.load_state_dict(tensors)
    return model
