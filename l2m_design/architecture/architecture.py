"""Architecture: a decoder; its state and parameters in exact integers, its flops approximately."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from l2m_design.architecture.mixers import KeyValueMixer, MixerSpec, SparseAttention
from l2m_design.errors import BadInput
from l2m_design.laws import Fixed, StateLaw, StateTerm
from l2m_design.settings import Values, override, read_mapping


class MLP(Values):
    """The gated SiLU block after every mixer; hidden = ratio x width, rounded up to a multiple of 8."""

    ratio: Annotated[float, Field(gt=0.0, le=1e6)] = 2.75

    def hidden(self, width: int) -> int:
        """Hidden channels at this width."""
        return -(-int(self.ratio * width + 0.999) // 8) * 8

    @classmethod
    def of_hidden(cls, hidden: int, width: int) -> "MLP":
        """The MLP whose hidden size at `width` is `hidden` (a multiple of 8)."""
        return cls(ratio=int(hidden / width * 10_000) / 10_000)


class Architecture(Values):
    """A decoder: in each layer a mixer and an MLP, both with RMSNorm before and a residual connection; a final RMSNorm.

    vocabulary: number of tokens. width: model width, even. tied_embeddings: use one matrix for input and output
    embeddings. mlp: the MLP of every layer. layers: specifications of the mixers, as MixerSpec or mappings with `kind`.
    Raises BadInput from `parse` and `load`, ValidationError (a ValueError) from the constructor, naming the layer.

    Examples:
        >>> window = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16, "window": 64}
        >>> mamba = {"kind": "mamba2", "d_state": 8, "head_dim": 16}
        >>> hybrid = Architecture(vocabulary=256, width=32, layers=[mamba, window])
        >>> hybrid.picture, hybrid.parameters
        ('M W', 35580)
        >>> hybrid.state.elements(1000), hybrid.state.exponent
        (2800, 0.0)
    """

    vocabulary: Annotated[int, Field(ge=2, le=10_000_000)]
    width: Annotated[int, Field(ge=8, le=1_000_000, multiple_of=2)]
    tied_embeddings: bool = True
    mlp: MLP = MLP()
    layers: Annotated[tuple[MixerSpec, ...], Field(strict=False, min_length=1, max_length=1024)]

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        for index, layer in enumerate(self.layers):
            if misfit := layer.misfit(self.width) or shared_misfit(self.layers, index):
                raise ValueError(f"layers.{index} ({layer.kind}): {misfit}")
        return self

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read an architecture from a YAML or JSON file, a card, or a folder with an architecture.yaml. Raises
        BadInput.

        overrides: KEY=VALUE with dotted keys.
        """
        if Path(path).expanduser().is_dir():
            path = Path(path) / "architecture.yaml"
        data = read_mapping(path)
        if "model_type" in data:
            raise BadInput(
                f"{path}: is the config of a published model, which only `l2m check` reads; must be an architecture"
            )
        architecture = data.get("architecture", data)
        if not isinstance(architecture, dict):
            raise BadInput(f"{path}: architecture: must be a mapping, found {type(architecture).__name__}")
        return cls.parse(override(architecture, overrides), str(path))

    @cached_property
    def state(self) -> StateLaw:
        """History state of one sequence: of all layers, and outside of them."""
        return StateLaw((*self.outside.terms, *(term for law in self.laws for term in law.terms)))

    @cached_property
    def laws(self) -> tuple[StateLaw, ...]:
        """History state of each layer."""
        return tuple(layer.state_law(self.width).of_kind(layer.state_kind) for layer in self.layers)

    @property
    def outside(self) -> StateLaw:
        """History state outside of the layers: the last hidden vector, if a layer chooses tokens by the loss."""
        return StateLaw((StateTerm(self.width, Fixed()),)) if self.surprised else StateLaw()

    @cached_property
    def surprised(self) -> bool:
        """True if a layer chooses cached tokens by the loss of the model on each token."""
        return any(isinstance(layer, SparseAttention) and layer.surprised for layer in self.layers)

    def too_short(self, length: int) -> str | None:
        """The first layer that a context of `length` tokens does not suit, and why, if there is one."""
        for index, layer in enumerate(self.layers):
            if why := layer.too_short(length):
                return f"layers.{index} ({layer.kind}): {why}"
        return None

    def check_context(self, length: int, where: str) -> None:
        """Raises BadInput when a context of `length` tokens does not suit a layer."""
        if why := self.too_short(length):
            raise BadInput(f"{where}: {why}")

    @property
    def parameters(self) -> int:
        """Trainable numbers: embeddings, mixers, MLPs, norms."""
        embeddings = self.vocabulary * self.width * (1 if self.tied_embeddings else 2)
        block = 3 * self.width * self.mlp.hidden(self.width) + 2 * self.width
        mixers = sum(layer.parameters(self.width) for layer in self.layers)
        return embeddings + mixers + len(self.layers) * block + self.width

    def flops(self, length: int) -> int:
        """Floating-point operations of one forward pass over one sequence of `length` tokens."""
        mlp = 6 * length * self.width * self.mlp.hidden(self.width)
        mixers = sum(layer.flops(self.width, length) for layer in self.layers)
        return mixers + len(self.layers) * mlp + 2 * length * self.width * self.vocabulary

    @property
    def picture(self) -> str:
        """One letter per layer, a small one where it reads another layer's cache.

        A full attention, W window, L latent attention, S sparse keys, M Mamba-2, 1 Mamba-1, D gated DeltaNet,
        F log-linear (Fenwick tree), C checkpointed state space.
        """
        shares = [isinstance(layer, KeyValueMixer) and layer.share is not None for layer in self.layers]
        letters = [layer.letter for layer in self.layers]
        return " ".join(a.lower() if shared else a for a, shared in zip(letters, shares, strict=True))


def shared_misfit(layers: tuple[MixerSpec, ...], index: int) -> str | None:
    """Why a layer cannot read the cache that it names, if it names one and cannot."""
    layer = layers[index]
    if not isinstance(layer, KeyValueMixer) or layer.share is None:
        return None
    if layer.share >= index:
        return f"share ({layer.share}) must be the number of an earlier layer (from 0)"
    source = layers[layer.share]
    if not isinstance(source, KeyValueMixer) or source.share is not None:
        return f"share: layer {layer.share} ({source.kind}) has no cache of its own"
    if not source.lends:
        chosen = getattr(source, "choose", "")
        return f"share: layer {layer.share} evicts by its own queries (choose: {chosen}); use another `choose` there"
    theirs = source.cache
    for name, value in layer.cache.items():
        if theirs.get(name) != value:
            return f"share: {name} ({value}) must equal that of layer {layer.share} ({theirs.get(name)})"
    return None
