"""What the transformers classes take for what a config leaves out: `make defaults` writes it into the readers' file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from l2m_design.architecture.readers import READERS, WRAPPERS
from l2m_design.architecture.readers.config import names
from l2m_design.architecture.readers.table import ALIASES

FILE = Path(__file__).parents[2] / "l2m_design" / "architecture" / "readers" / "defaults.json"
STATED = ("max_position_embeddings", "layer_types", "per_layer_config", "num_nextn_predict_layers")


def of_class(model_type: str) -> dict[str, Any]:
    """The values of its config class by the names of its reader's fields, without those that mean "derived" (None).

    What only a file can say (STATED) is left out.
    """
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]
    values = {field.name: _value(field) for field in dataclasses.fields(config)}
    found = {
        name: next((values[key] for key in _keys(config, names(name, field)) if key in values), None)
        for name, field in READERS[model_type].model_fields.items()
        if name not in STATED
    }
    return {name: value for name, value in sorted(found.items()) if value is not None and value != "auto"}


def _value(field: "dataclasses.Field[Any]") -> Any:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return None if value is dataclasses.MISSING else list(value) if isinstance(value, tuple) else value


def _keys(config: Any, given: tuple[str, ...]) -> list[str]:
    return [*(config.attribute_map.get(name, name) for name in given), *given]


def of_all() -> dict[str, Any]:
    """Those of every type that has a class and a reader; under "unread", the types that have no reader; under
    "classes", what models of a type are called.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    unread = sorted(set(CONFIG_MAPPING_NAMES) - set(READERS) - set(ALIASES) - set(WRAPPERS))
    with_class = sorted(name for name, reader in READERS.items() if reader.own_runtime == "transformers")
    classes = {name: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(name) for name in with_class}
    named = {"classes": {name: made for name, made in classes.items() if made}}
    return {name: of_class(name) for name in with_class} | {"unread": unread} | named


if __name__ == "__main__":
    rows = [f" {json.dumps(name)}: {json.dumps(values)}" for name, values in of_all().items()]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
