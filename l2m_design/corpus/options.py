"""Options of a corpus as a user writes them: `santa-fe:beta=0.7,keys=64`, `tokens.bin:vocabulary=50257`."""

import re
from typing import TypeVar

from l2m_design.errors import BadInput
from l2m_design.settings import Values, unknown_key

SettingsT = TypeVar("SettingsT", bound=Values)
_TAIL = re.compile(r":(?P<options>[a-z_]+=[^,]*(?:,[a-z_]+=[^,]*)*)$")


def split_options(spec: str) -> tuple[str, str]:
    """(path, options) of `PATH[:key=value,...]`."""
    found = _TAIL.search(spec)
    return (spec[: found.start()], found["options"]) if found else (spec, "")


def parse_options(options: str, settings: type[SettingsT], spec: str) -> SettingsT:
    """The settings of `key=value,...`, numbers read as numbers. Raises BadInput naming the option."""
    values: dict[str, object] = {}
    for option in filter(None, options.split(",")):
        key, _, text = (part.strip() for part in option.partition("="))
        if key in values:
            raise BadInput(f"{spec}: {key}: given twice")
        if key not in settings.model_fields:
            raise BadInput(f"{spec}: {unknown_key(key, settings.model_fields)}")
        kind = settings.model_fields[key].annotation
        try:
            values[key] = float(text) if kind is float else int(text) if kind in (int, int | None) else text
        except ValueError:
            raise BadInput(f"{spec}: {key}: must be a number, found '{text}'") from None
    return settings.parse(values, spec)
