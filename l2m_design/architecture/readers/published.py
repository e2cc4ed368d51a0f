"""Published: what a published model keeps and how large it is, read from its config alone."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from l2m_design.architecture.picture import folded
from l2m_design.architecture.readers import fla_recurrent
from l2m_design.architecture.readers.bounded import bounded
from l2m_design.architecture.readers.config import Block, Config, names
from l2m_design.architecture.readers.earlier import Earlier, earlier
from l2m_design.architecture.readers.files import config_in, mapping, model_type_of, refuse_other_layers, text_of
from l2m_design.architecture.readers.runtimes import Keys, convention, law
from l2m_design.architecture.readers.shared import Gemma4
from l2m_design.architecture.readers.table import READERS
from l2m_design.errors import BadInput
from l2m_design.laws import StateLaw
from l2m_design.settings import Json, nearest, override

TOLD = ("model_type", "text_config", "rope_scaling", "rope_parameters", "quantization_config", "torch_dtype", "dtype")
RUN_BY_MAMBA_SSM = ("mamba", "mamba2", "mamba_ssm")
OF_FLA = tuple(sorted(kind for kind, reader in READERS.items() if reader.own_runtime == "fla"))
UNKNOWN_TO_VLLM = ("mamba_ssm", "recurrent_gemma", "rwkv")
UNKNOWN_TO_LLAMA_CPP = ("mamba_ssm", "recurrent_gemma", "rwkv", "zamba2")
NO_WINDOWS_IN_LLAMA_CPP = ("ministral", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3")


@dataclass(frozen=True)
class Layer:
    """A layer of a published model: what it keeps in the given runtime, and its trainable numbers.

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
    positions: tokens that its config speaks of, if it does. notes: sentences. config: as it was read.
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
    config: Config = field(repr=False)

    @cached_property
    def state(self) -> StateLaw:
        """History state of one sequence over all layers; terms that grow alike are one."""
        return StateLaw(tuple(term for layer in self.layers for term in layer.state.terms)).merged()

    def of_d_state(self, size: int) -> StateLaw:
        """Its law with recurrent memories of another size, where all follow one (`config.d_state`)."""
        blocks = self.config.with_d_state(size).blocks
        return StateLaw(tuple(term for block in blocks for term in law(block.mixer.parts, self.runtime).terms)).merged()

    @property
    def earlier(self) -> Earlier | None:
        """What an earlier version of its runtime holds, where that is known to differ."""
        return earlier(self.config, self.runtime)

    @property
    def picture(self) -> str:
        """One letter per layer, as of an architecture; a long pattern that repeats is written once: 12 x (D D D A)."""
        letters = [layer.letter if layer.shares is None else layer.letter.lower() for layer in self.layers]
        return folded(letters)


def published(path: str | Path, runtime: str | None = None, overrides: Iterable[str] = ()) -> Published:
    """Read a Hugging Face config.json, mamba_ssm's or a params.json, a file or its folder, without weights.

    runtime: one of RUNTIMES; by default transformers, mamba-ssm and fla for their own configs. overrides: `key=value`
    laid over the file. Raises BadInput naming file, field, what was found and what is allowed.
    """
    path = Path(path).expanduser()
    path = config_in(path) if path.is_dir() else path
    overrides = tuple(overrides)
    stored = mapping(path)
    whole = override(stored, overrides)
    refuse_other_layers(whole, path)
    data, notes = text_of(whole, str(path))
    kind = model_type_of(data, str(path))
    reader = fla_recurrent.Mamba2 if kind == "mamba2" and fla_recurrent.is_of_fla(data) else READERS[kind]
    _check_overrides(overrides, stored, reader)
    runtime = _runtime(runtime or reader.own_runtime, kind, reader)
    config = reader.parse(data | {"model_type": kind}, str(path))
    try:
        read, kept = bounded(data, config, config.blocks, runtime)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    dense = runtime == "llama.cpp" and kind in NO_WINDOWS_IN_LLAMA_CPP
    longest = _positions(config, data)
    blocks = tuple(_unbound(block, 0 if dense else longest) for block in read)
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
        positions=longest,
        notes=(
            _convention(runtime, blocks),
            *_unmeasured(runtime, kind, reader),
            *notes,
            *([kept] if kept else ()),
            *config.remarks,
            *_of_dtypes(data),
            *(_never_bind(longest, blocks != read) if not dense else _no_windows(kind, blocks != read)),
            *_passed_over(config),
            *_assumed(config),
        ),
        config=config,
    )


def _check_overrides(overrides: Iterable[str], stored: Json, reader: type[Config]) -> None:
    """Raises BadInput for a key that is neither in the file nor read of its type: a slip would change nothing."""
    known = {name for field, info in reader.model_fields.items() for name in names(field, info)}
    for setting in overrides:
        key = setting.partition("=")[0].partition(".")[0]
        if key not in known and key not in stored and key not in TOLD:
            close = nearest(key, sorted(known))
            hint = f"; did you mean '{close}'?" if close else ""
            raise BadInput(f"`overrides` {key}: not in the file, and not a key of its model type{hint}")


def _runtime(runtime: str, kind: str, reader: type[Config]) -> str:
    convention(runtime)
    runs = {
        "mamba-ssm": () if reader.own_runtime == "fla" else RUN_BY_MAMBA_SSM,
        "fla": (kind,) if reader.own_runtime == "fla" else OF_FLA,
    }.get(runtime, (kind,))
    if kind not in runs:
        name = "fla's mamba2" if reader.own_runtime == "fla" and kind == "mamba2" else kind
        of = ", ".join({"mamba-ssm": RUN_BY_MAMBA_SSM, "fla": (*OF_FLA, "its mamba2")}[runtime])
        raise BadInput(f"`runtime` {runtime}: supports {of}, not {name}")
    return runtime


def _convention(runtime: str, blocks: tuple[Block, ...]) -> str:
    """Whose convention the numbers follow."""
    return convention(runtime).sentence(runtime, tuple(part for block in blocks for part in block.mixer.parts))


def _unmeasured(runtime: str, kind: str, reader: type[Config]) -> tuple[str, ...]:
    """Where the convention is carried over to a type that its runtime does not know."""
    foreign = reader.own_runtime == "fla"
    if runtime == "vllm" and (foreign or kind in UNKNOWN_TO_VLLM):
        name = "fla's mamba2" if foreign and kind == "mamba2" else kind
        return (f"vLLM is not known to support {name}: the numbers are those of its similar layers.",)
    if runtime == "llama.cpp" and (foreign or kind in UNKNOWN_TO_LLAMA_CPP):
        return (f"llama.cpp is not known to support {kind}: the numbers are those of its similar layers.",)
    if runtime == "transformers" and kind == "mamba_ssm":
        return ("transformers does not read configs of mamba_ssm: the numbers are those of its similar layers.",)
    if runtime == "transformers" and foreign:
        return (f"transformers has no class for {kind} of fla: the numbers are those of its similar layers.",)
    return ()


def _unbound(block: Block, positions: int | None) -> Block:
    """A window as long as all positions that the model has leaves nothing out: full attention."""
    longest = math.inf if positions is None else positions
    parts = tuple(
        replace(part, kind="attention", window=None)
        if isinstance(part, Keys) and part.window is not None and part.window >= longest
        else part
        for part in block.mixer.parts
    )
    if parts == block.mixer.parts:
        return block
    mixer = replace(block.mixer, parts=parts)
    return replace(block, mixer=replace(mixer, kind="attention", letter="A") if mixer.kind == "window" else mixer)


def _never_bind(positions: int | None, any_: bool) -> tuple[str, ...]:
    """Windows that are as long as the model's positions."""
    return (f"Its windows are as long as its {positions:,} positions, so it stores all tokens.",) if any_ else ()


def _positions(config: Config, data: Json) -> int | None:
    """The positions that a config speaks of: stretched ones too, as yarn's factor times the original ones."""
    stated, rope = config.max_position_embeddings, data.get("rope_scaling") or data.get("rope_parameters")
    if stated is None or not isinstance(rope, dict):
        return stated
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings")
    if isinstance(factor, int | float) and isinstance(original, int) and 1 <= factor <= 1024:
        return max(stated, int(factor * original))
    return stated


def _of_dtypes(data: Json) -> tuple[str, ...]:
    """What the file says of data types, which options set."""
    notes, quantised = [], data.get("quantization_config")
    if data.get("torch_dtype", data.get("dtype")) == "float32":
        notes.append("Its config says float32; bytes are counted in `dtype`, by default bfloat16.")
    if isinstance(quantised, dict) and (quantised.get("kv_cache_scheme") or quantised.get("kv_cache_quant_algo")):
        notes.append("Its config requires a quantised KV cache; give `kv_dtype` float8 to count it so.")
    return tuple(notes)


def _no_windows(kind: str, any_: bool) -> tuple[str, ...]:
    """Windows that llama.cpp does not know."""
    return (f"llama.cpp ignores the windows of {kind}: all its layers store all tokens.",) if any_ else ()


def _passed_over(config: Config) -> tuple[str, ...]:
    """What the file says and its reader does not hear."""
    if not config.per_layer_config or isinstance(config, Gemma4):
        return ()
    return ("Its per_layer_config is ignored, since few classes read it.",)


def _assumed(config: Config) -> tuple[str, ...]:
    """Which values the file does not give."""
    taken = [f"{name} {json.dumps(value)}" for name, value in config.assumed.items()]
    return (f"Not in the file, so the defaults of its class are used: {', '.join(taken)}.",) if taken else ()
