"""What the recurrent layers of a published model keep, as parts of a cache plan."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l2m_design.architecture.plans import RECURRENT, Kept
from l2m_design.architecture.readers.published import published
from l2m_design.laws import StateLaw


def recurrent_states(config: Mapping[str, Any], types: Sequence[str]) -> tuple[Kept, ...]:
    """Of each recurrent layer of a Hugging Face config, in the order of layers, as transformers holds it.

    types: of all layers, as transformers names them. Raises BadInput where the type of the model is not known.
    """
    if not set(types) & set(RECURRENT):
        return ()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.json"
        path.write_text(json.dumps(config))
        layers = published(path, "transformers").layers
    return tuple(_kept(layer.state) for layer, kind in zip(layers, types, strict=True) if kind in RECURRENT)


def _kept(state: StateLaw) -> Kept:
    floats = sum(term.elements for term in state.terms if term.dtype == "float32")
    own = sum(term.elements for term in state.terms if term.dtype is None)
    kinds = [term.kind for term in state.terms if term.kind]
    return Kept("recurrent", elements=own, floats=floats, kind=kinds[0] if kinds else "")
