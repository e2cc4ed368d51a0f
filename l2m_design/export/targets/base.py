"""The interface of export targets: can it represent an architecture; config.json, weights and cache."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from l2m_design.architecture import Architecture, Attention, GatedDeltaNet, LatentAttention, Mamba2
from l2m_design.architecture.readers.runtimes import Columns, Keys, Memory, Part, law
from l2m_design.model import LanguageModel
from l2m_design.model.weights import write_tensors
from l2m_design.settings import Json

NORM_EPS = 1e-5  # of the model's RMSNorm
POSITIONS = 32768

NATIVE = "native"
NOT_LLAMA_CPP = "native (not llama.cpp)"
REMOTE = "remote code"

OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
BLOCK = {
    "mixer_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "mlp.gate.weight": "mlp.gate_proj.weight",
    "mlp.up.weight": "mlp.up_proj.weight",
    "mlp.down.weight": "mlp.down_proj.weight",
}


class Target(ABC):
    """A class of transformers that can hold some architectures.

    name: as `--to` takes it. format: the class. model_type: as config.json names it. reader: which of
    this package's programs loads it for the proof.
    """

    name: str
    format: str
    model_type: str
    reader: str = "loaded.py"

    @abstractmethod
    def refusal(self, architecture: Architecture) -> str | None:
        """The layer and the reason why the architecture would lose something here, if it would."""

    def label(self, architecture: Architecture) -> str:
        """Who can load it: NATIVE, NOT_LLAMA_CPP or REMOTE."""
        return NOT_LLAMA_CPP

    def limits(self, architecture: Architecture) -> list[str]:
        """Sentences for the card: what a user must know of this form."""
        return []

    @abstractmethod
    def fields(self, architecture: Architecture) -> Json:
        """The fields of config.json that are this class's own."""

    def config(self, architecture: Architecture, positions: int = POSITIONS) -> Json:
        """config.json, in names that transformers 4.57 and converters read too."""
        return {
            "architectures": [self.format],
            "model_type": self.model_type,
            "vocab_size": architecture.vocabulary,
            "hidden_size": architecture.width,
            "intermediate_size": architecture.mlp.hidden(architecture.width),
            "num_hidden_layers": len(architecture.layers),
            "hidden_act": "silu",
            "rms_norm_eps": NORM_EPS,
            "max_position_embeddings": positions,
            "tie_word_embeddings": architecture.tied_embeddings,
            "attention_bias": False,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
            "torch_dtype": "float32",
        } | self.fields(architecture)

    def files(self) -> dict[str, str]:
        """Names and texts of files that the folder needs besides."""
        return {}

    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the weights."""
        write_tensors(folder / "model.safetensors", weights, {"format": "pt"})

    def weights(self, model: LanguageModel) -> dict[str, Tensor]:
        """The model's weights under this class's names."""
        state, renamed = model.state_dict(), {}
        for name, value in state.items():
            if name in OUTER:
                renamed[OUTER[name]] = value
                continue
            _, index, inner = name.split(".", 2)
            spec = model.architecture.layers[int(index)]
            for theirs, tensor in self.layer_weights(spec, inner, value).items():
                renamed[f"model.layers.{index}.{theirs}"] = tensor
        return self.finished(renamed)

    def finished(self, renamed: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left to do once all tensors have their names."""
        return renamed

    @abstractmethod
    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """One tensor of a layer, under the names that it has there."""

    def cache_bytes(self, architecture: Architecture, t: int) -> int:
        """Bytes that transformers' cache holds for one sequence after t >= 2 tokens, the last by a step."""
        parts = tuple(part for layer in architecture.layers for part in parts_of(layer, architecture.width))
        return law(parts, "transformers").bytes(t, "float32")


def parts_of(layer: Any, width: int) -> tuple[Part, ...]:
    """What a layer keeps, as the readers of published models count it in a runtime's convention."""
    match layer:
        case Attention():
            return (Keys(layer.slot, layer.state_kind, layer.window),)
        case LatentAttention():
            return (Keys(layer.slot, layer.state_kind),)
        case Mamba2():
            memory, channels = layer.inner(width) * layer.d_state, layer.convolved(width)
        case GatedDeltaNet():
            memory, channels = layer.heads * layer.head_dim * layer.value_dim, layer.convolved
        case _:
            raise ValueError(f"{layer.kind}: transformers has no cache for it")
    return Memory(memory, layer.state_kind), Columns(channels, layer.d_conv, layer.state_kind)


def at_layer(architecture: Architecture, index: int, reason: str) -> str:
    """A refusal that names the layer."""
    return f"layers.{index} ({architecture.layers[index].kind}): {reason}"


def lacks(architecture: Architecture, kinds: tuple[type, ...], owner: str) -> str | None:
    """A refusal where a mixer type is missing altogether."""
    for kind in kinds:
        if not any(isinstance(layer, kind) for layer in architecture.layers):
            return f"layers: {owner} needs at least one layer of {kind.__name__}, found none in {architecture.picture}"
    return None


def first_refusal(architecture: Architecture, reason: Callable[[Any], str | None]) -> str | None:
    """The first layer with a reason."""
    for index, layer in enumerate(architecture.layers):
        if why := reason(layer):
            return at_layer(architecture, index, why)
    return None


def unlike(architecture: Architecture, kind: type, names: Iterable[str], owner: str) -> str | None:
    """The first layer of a kind whose field differs from the first that has a value there; owner has one for all."""
    for name in names:
        first: tuple[int, Any] | None = None
        for index, layer in enumerate(architecture.layers):
            if not isinstance(layer, kind) or (value := getattr(layer, name)) is None:
                continue
            first = first or (index, value)
            if value != first[1]:
                reason = (
                    f"{name} ({value}) differs from that of layer {first[0]} ({first[1]}); {owner} needs the same in "
                    "all layers"
                )
                return at_layer(architecture, index, reason)
    return None


def plain_attention(layer: Any, owner: str, qk_norm: bool) -> str | None:
    """What of an attention layer transformers' attention cannot say."""
    if layer.share is not None:
        return f"a shared cache is not part of {owner}"
    if layer.short_conv is not None:
        return f"short_conv is not part of {owner}"
    if getattr(layer, "sinks", 0):
        return f"sinks are not part of {owner}"
    if layer.qk_norm != qk_norm:
        return f"qk_norm is {'needed by' if qk_norm else 'not part of'} {owner}"
    if getattr(layer, "window", None) == 1:
        return "a window of 1: the cache of transformers would store every token"
    return None


def state_dtype_reason(layer: Any, owner: str) -> str | None:
    """What of a recurrent layer cannot be expressed if states have no dtype of their own: exports are float32."""
    if layer.state_dtype in (None, "float32"):
        return None
    return f"state_dtype ({layer.state_dtype}): {owner} with float32 weights stores recurrent states in float32"


def rope(theta: float) -> Json:
    """Rotary positions, as versions before and after 5 read them."""
    return {"rope_theta": theta, "rope_parameters": rotation(theta)}


def rotation(theta: float) -> Json:
    """The parameters of rotary positions as versions from 5 on name them."""
    return {"rope_type": "default", "rope_theta": theta}
