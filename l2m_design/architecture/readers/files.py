"""Files of published configs: JSON objects of a bearable size, their type, and the text model inside a larger one."""

import json
import re
import stat
from pathlib import Path
from typing import Any

from l2m_design.architecture.readers.config import class_defaults
from l2m_design.architecture.readers.params import is_params, of_params
from l2m_design.architecture.readers.table import ALIASES, FLAT, READERS, WRAPPERS
from l2m_design.errors import BadInput
from l2m_design.settings import misspelt, read_text

LONGEST_FILE = 4_000_000
CONFIGS = ("config.json", "params.json")
CACHE, ADOPTED = "l2m_cache", "adopted_l2m.AdoptedForCausalLM"  # of a folder that `l2m cache --out` wrote
SIDECAR = "mamba_config.json"


def is_published(path: str | Path) -> bool:
    """Is this a published config, or a folder of one, and not an architecture? What cannot be read is by its name."""
    path = Path(path).expanduser()
    if path.is_dir():
        return config_in(path).exists() and not (path / "architecture.yaml").exists()
    if path.suffix != ".json" or not path.is_file():
        return False
    named = path.name in CONFIGS
    try:
        data = mapping(path)
    except BadInput:
        return named
    drawn = {"layers", "architecture"} & data.keys()
    return "model_type" in data or is_mamba_ssm(data) or is_params(data) or (named and not drawn)


def config_in(folder: Path) -> Path:
    """The config of a folder: config.json, or params.json where there is none."""
    return next((folder / name for name in CONFIGS if (folder / name).exists()), folder / CONFIGS[0])


def mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        found = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise BadInput(f"{path}: must be a file, found a pipe, a device or a socket")
    size = found.st_size
    if size > LONGEST_FILE:
        raise BadInput(f"{path}: {size:,} bytes are too many for a config (at most {LONGEST_FILE:,})")
    try:
        data = _whole(json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: must be a JSON object, found {type(data).__name__}")
    return data


def _whole(value: Any) -> Any:
    """Numbers such as 32.0, which some tools write for sizes, as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return {key: _whole(part) for key, part in value.items()} if isinstance(value, dict) else value


def refuse_other_layers(data: dict[str, Any], path: Path) -> None:
    """Raises BadInput where the layers that run are not those that this config tells of.

    A mamba_config.json beside it replaces layers of a Llama that it was made from; code of the model's own (auto_map)
    under the type of a known one may keep whatever it likes, unless it is named after that type.
    """
    if path.name == "config.json" and (path.parent / SIDECAR).exists():
        raise BadInput(
            f"{path}: a {SIDECAR} lies beside it, which replaces layers of this config and is not read: describe "
            "the model as an architecture (YAML) and judge that"
        )
    kind, own = str(data.get("model_type", "")), data.get("auto_map")
    if ALIASES.get(kind, kind) not in READERS:
        return
    mapped = []
    for key, named in own.items() if isinstance(own, dict) else ():
        if key.startswith(("AutoConfig", "AutoModel")) and (
            key != "AutoConfig" or _family(str(named))
        ):  # x.Config: none
            mapped.append(named)
    for named in [*mapped, *(data.get("architectures") or [])]:
        name = named[0] if isinstance(named, list) and named else named
        adopted = name == ADOPTED and CACHE in data
        if isinstance(name, str) and not adopted and _family(name) not in _families(kind):
            where = "architectures" if named not in mapped else "auto_map"
            raise BadInput(
                f"{path}: {where}: its code ({name}) is not that of model_type {kind}, so its state may differ; "
                f"describe the model as an architecture (YAML), or remove {where} if the code is the same"
            )


def _family(name: str) -> str:
    """What a class is named after: llama of configuration_llama.LlamaConfig and LlamaForCausalLM."""
    plain = name.rsplit("--", 1)[-1].rsplit(".", 1)[-1]
    return re.sub(r"(For[A-Z].*|(LMHead|DoubleHeads|PreTrained)?Model|Config)$", "", plain).replace("_", "").lower()


def _families(kind: str) -> set[str]:
    """The names that classes of a type go by."""
    known = {kind, ALIASES.get(kind, kind)}
    squeezed = {name.replace("_", "") for name in known}
    classes = {_family(class_defaults()["classes"][name]) for name in known if name in class_defaults()["classes"]}
    return squeezed | {name.removesuffix("text") for name in squeezed} | classes


def is_mamba_ssm(data: dict[str, Any]) -> bool:
    """Is this a config of mamba_ssm's own? Not one of a Llama of which Mamba replaced some layers."""
    if "model_type" not in data and {"attn_layers", "d_xb"} & data.keys():
        raise BadInput(
            "attn_layers, d_xb: layers of Mamba that replace some of another model's, which is not read; describe the "
            "model as an architecture (YAML) and judge that"
        )
    return "model_type" not in data and {"d_model", "n_layer"} <= data.keys()


def text_of(data: dict[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The text model of a config that wraps one, and what that leaves out; other configs as they are.

    One of mistral-inference is given in the names of the type whose form it has.
    """
    if is_params(data):
        return of_params(data, where)
    wrapped = data.get("model_type")
    if isinstance(wrapped, str) and wrapped in ALIASES:
        return data | {"model_type": ALIASES[wrapped]}, (
            f"Model type {wrapped}: read as {ALIASES[wrapped]}, which has the same form.",
        )
    if not isinstance(wrapped, str) or wrapped not in WRAPPERS:
        return data, ()
    text = data if wrapped in FLAT and "text_config" not in data else data.get("text_config")
    if not isinstance(text, dict):
        raise BadInput(f"{where}: text_config: must be an object, found {type(text).__name__}")
    tied = {key: data[key] for key in ("tie_word_embeddings",) if key in data}
    note = f"Model type {wrapped}: only its text model is counted, without image encoders."
    named = text.get("model_type", wrapped)
    inner = model_type_of({"model_type": WRAPPERS[wrapped] if named == wrapped else named}, f"{where}: text_config")
    return text | tied | {"model_type": inner}, (note,)


def model_type_of(data: dict[str, Any], where: str) -> str:
    """The type that a reader is known for."""
    if is_mamba_ssm(data):
        return "mamba_ssm"
    found = data.get("model_type")
    if isinstance(found, str) and ALIASES.get(found, found) in set(READERS) - {"mamba_ssm"}:
        return ALIASES.get(found, found)
    known = [*sorted({*READERS, *ALIASES} - {"mamba_ssm"}), *WRAPPERS]
    shown = ascii(found[:40]) if isinstance(found, str) else "none" if found is None else type(found).__name__
    close = misspelt(found, known) if isinstance(found, str) and found not in class_defaults()["unread"] else None
    hint = f"did you mean '{close}'? " if close else ""
    raise BadInput(
        f"{where}: model_type: found {shown}; {hint}known: {', '.join(known)}, "
        "and mamba_ssm's own configs (d_model and n_layer, no model_type); any other model can be described as an "
        "architecture (YAML) and judged so"
    )
