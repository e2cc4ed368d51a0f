"""Published: what a published model keeps and how large it is, read from its config alone; the table of its types."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from l2m_design.architecture.readers import (
    attention,
    classic,
    experts,
    hybrid,
    latent,
    mamba2_hybrid,
    recurrent,
    shared,
)
from l2m_design.architecture.readers import state_space as spaces
from l2m_design.architecture.readers.config import Block, Config
from l2m_design.architecture.readers.runtimes import convention, law
from l2m_design.errors import BadInput
from l2m_design.laws import StateLaw, StateTerm
from l2m_design.settings import nearest, override, read_text

READERS: dict[str, type[Config]] = {
    "bamba": mamba2_hybrid.Bamba,
    "deepseek_v2": latent.DeepseekV2,
    "deepseek_v3": latent.DeepseekV3,
    "falcon_h1": mamba2_hybrid.FalconH1,
    "falcon_mamba": spaces.FalconMamba,
    "gemma2": attention.Gemma2,
    "gemma3_text": attention.Gemma3,
    "gemma3n_text": shared.Gemma3n,
    "gemma4_text": shared.Gemma4,
    "gpt2": classic.Gpt2,
    "gpt_neox": classic.GptNeoX,
    "gpt_oss": experts.GptOss,
    "granitemoehybrid": mamba2_hybrid.GraniteMoeHybrid,
    "jamba": hybrid.Jamba,
    "kimi_linear": latent.KimiLinear,
    "lfm2": hybrid.Lfm2,
    "llama": attention.Llama,
    "mamba": spaces.Mamba,
    "mamba2": spaces.Mamba2,
    "mamba_ssm": spaces.MambaSsm,
    "ministral": attention.Ministral,
    "mistral": attention.Mistral,
    "mixtral": experts.Mixtral,
    "nemotron_h": mamba2_hybrid.NemotronH,
    "phi3": attention.Phi3,
    "qwen2": attention.Qwen2,
    "qwen3": attention.Qwen3,
    "qwen3_5_text": hybrid.Qwen35,
    "qwen3_moe": experts.Qwen3Moe,
    "qwen3_next": hybrid.Qwen3Next,
    "recurrent_gemma": recurrent.RecurrentGemma,
    "rwkv": recurrent.Rwkv,
    "smollm3": attention.SmolLM3,
    "zamba2": mamba2_hybrid.Zamba2,
}
WRAPPERS = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "qwen3_5": "qwen3_5_text",
}
OWN_RUNTIME = {"mamba_ssm": "mamba-ssm"}
RUN_BY_MAMBA_SSM = ("mamba", "mamba2", "mamba_ssm")
UNKNOWN_TO_VLLM = ("mamba_ssm", "recurrent_gemma", "rwkv")
LONGEST_FILE = 4_000_000
SHOWN_LETTERS, LONGEST_PERIOD = 16, 64


@dataclass(frozen=True)
class Layer:
    """A layer of a published model: what it keeps in the runtime asked for, and its trainable numbers.

    shares: the number of an earlier layer (from 0) whose cache it reads, if it keeps none of its own.
    """

    kind: str
    letter: str
    state: StateLaw
    parameters: int
    active_parameters: int
    shares: int | None = None


@dataclass(frozen=True)
class Published:
    """A published model by its config: state in a runtime's convention, trainable numbers, and what was assumed.

    parameters: all, tied embeddings once. active_parameters: without the experts that a token does not pass.
    positions: tokens that its config speaks of, if it does. notes: sentences.
    """

    model_type: str
    runtime: str
    vocabulary: int
    width: int
    layers: tuple[Layer, ...]
    parameters: int
    active_parameters: int
    positions: int | None
    notes: tuple[str, ...]

    @cached_property
    def state(self) -> StateLaw:
        """History state of one sequence over all layers; terms that grow alike are one."""
        sums: dict[tuple[Any, ...], int] = {}
        for layer in self.layers:
            for term in layer.state.terms:
                key = (term.growth, term.dtype, term.kind)
                sums[key] = sums.get(key, 0) + term.elements
        return StateLaw(tuple(StateTerm(count, *key) for key, count in sums.items()))

    @property
    def picture(self) -> str:
        """One letter a layer, as of a drawing; a long pattern that repeats is written once: 12 x (D D D A)."""
        letters = [layer.letter if layer.shares is None else layer.letter.lower() for layer in self.layers]
        if len(letters) <= SHOWN_LETTERS:
            return " ".join(letters)
        for period in range(1, min(LONGEST_PERIOD, len(letters) // 2) + 1):
            if all(letter == letters[index % period] for index, letter in enumerate(letters)):
                times, rest = divmod(len(letters), period)
                once = " ".join(letters[:period])
                return " ".join([f"{times} x {once if period == 1 else f'({once})'}", *letters[:rest]])
        return " ".join(letters)


def is_published(path: str | Path) -> bool:
    """Is this a published config, or a folder of one, and not a drawing? What cannot be read is by its name."""
    path = Path(path)
    if path.is_dir():
        return (path / "config.json").exists() and not (path / "architecture.yaml").exists()
    if path.suffix != ".json" or not path.is_file():
        return False
    named = path.name == "config.json"
    try:
        data = _mapping(path)
    except BadInput:
        return named
    drawn = {"layers", "architecture"} & data.keys()
    return "model_type" in data or _is_mamba_ssm(data) or (named and not drawn)


def published(path: str | Path, runtime: str | None = None, overrides: Iterable[str] = ()) -> Published:
    """Read a Hugging Face config.json or mamba_ssm's, a file or its folder, without weights and without a network.

    runtime: one of RUNTIMES; by default transformers, mamba-ssm for its own configs. overrides: `key=value` laid over
    the file. Raises BadInput naming file, field, what was found and what is allowed.
    """
    path = Path(path) / "config.json" if Path(path).is_dir() else Path(path)
    data, said = _of_text(override(_mapping(path), overrides), str(path))
    kind = _model_type(data, str(path))
    runtime = _runtime(runtime or OWN_RUNTIME.get(kind, "transformers"), kind)
    config = READERS[kind].parse(data | {"model_type": kind}, str(path))
    try:
        blocks = config.blocks
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    return Published(
        model_type=kind,
        runtime=runtime,
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=tuple(
            Layer(
                block.mixer.kind,
                block.mixer.letter,
                law(block.mixer.parts, runtime),
                block.weights.total,
                block.weights.active,
                block.shares,
            )
            for block in blocks
        ),
        parameters=config.outside + sum(block.weights.total for block in blocks),
        active_parameters=config.outside + sum(block.weights.active for block in blocks),
        positions=config.max_position_embeddings,
        notes=(_convention(runtime, blocks), *_unmeasured(runtime, kind), *said, *config.remarks, *_assumed(config)),
    )


def _mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    if size > LONGEST_FILE:
        raise BadInput(f"{path}: {size:,} bytes are more than a config has (at most {LONGEST_FILE:,})")
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: a JSON object is expected, found {type(data).__name__}")
    return data


def _is_mamba_ssm(data: dict[str, Any]) -> bool:
    return "model_type" not in data and {"d_model", "n_layer"} <= data.keys()


def _of_text(data: dict[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The text model of a config that wraps one, and what that leaves out; other configs as they are."""
    wrapped = data.get("model_type")
    if not isinstance(wrapped, str) or wrapped not in WRAPPERS:
        return data, ()
    text = data.get("text_config")
    if not isinstance(text, dict):
        raise BadInput(f"{where}: text_config: an object is expected, found {type(text).__name__}")
    tied = {key: data[key] for key in ("tie_word_embeddings",) if key in data}
    said = f"Of {wrapped}, its text model alone: towers for images are not counted."
    return text | tied | {"model_type": WRAPPERS[wrapped]}, (said,)


def _model_type(data: dict[str, Any], where: str) -> str:
    """The type that a reader is known for."""
    if _is_mamba_ssm(data):
        return "mamba_ssm"
    found = data.get("model_type")
    if isinstance(found, str) and found in READERS and found != "mamba_ssm":
        return found
    known = [name for name in sorted((*READERS, *WRAPPERS)) if name != "mamba_ssm"]
    close = nearest(found, known) if isinstance(found, str) else None
    told = "none" if found is None else repr(found)[:60]
    hint = f"did you mean '{close}'? " if close else ""
    raise BadInput(
        f"{where}: model_type: found {told}; {hint}known: {', '.join(known)}, "
        "and mamba_ssm's own configs (d_model and n_layer, no model_type)"
    )


def _runtime(runtime: str, kind: str) -> str:
    convention(runtime)
    if runtime == "mamba-ssm" and kind not in RUN_BY_MAMBA_SSM:
        raise BadInput(f"--runtime mamba-ssm: runs {', '.join(RUN_BY_MAMBA_SSM)}, not {kind}")
    return runtime


def _convention(runtime: str, blocks: tuple[Block, ...]) -> str:
    """Whose convention the numbers follow."""
    return convention(runtime).sentence(tuple(part for block in blocks for part in block.mixer.parts))


def _unmeasured(runtime: str, kind: str) -> tuple[str, ...]:
    """Where the convention is carried over to a type that its runtime does not know."""
    if runtime == "vllm" and kind in UNKNOWN_TO_VLLM:
        return (f"vLLM is not known to run {kind}: the numbers are what its shapes for like layers would give.",)
    if runtime == "transformers" and kind == "mamba_ssm":
        return ("transformers does not read mamba_ssm's configs: the numbers are those of its like layers.",)
    return ()


def _assumed(config: Config) -> tuple[str, ...]:
    """Which values the file does not give."""
    taken = [f"{name} {json.dumps(value)}" for name, value in config.assumed.items()]
    return (f"Not in the file, taken as its class takes them: {', '.join(taken)}.",) if taken else ()
