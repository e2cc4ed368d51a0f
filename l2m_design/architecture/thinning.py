"""A bounded cache for a model that was trained with full attention, with the same settings in all layers."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture.architecture import Architecture
from l2m_design.architecture.mixers import Attention, SparseAttention
from l2m_design.architecture.mixers.sparse import Choice
from l2m_design.errors import BadInput
from l2m_design.settings import Values

TRAINING_FREE = ("surprise", "spread", "key_norm", "attention_mass", "recency")


class Thinning(Values):
    """A cache of `slots` tokens: the current and the previous chunk, the first `sinks` tokens, and tokens by the rule
    `choose`.

    recency with sinks caches the same tokens as StreamingLLM (arXiv 2309.17453); with positions: cache, which count
    from the first slot of the cache and not of the text, it is StreamingLLM. attention_mass is H2O. The score of
    `value` must be trained first.
    """

    choose: Choice
    slots: Annotated[int, Field(ge=1)]
    chunk: Annotated[int, Field(ge=2, le=65536)] = 64
    sinks: Annotated[int, Field(ge=0, le=65536)] = 4
    positions: Literal["text", "cache"] = "text"

    @model_validator(mode="after")
    def _slots_suffice(self) -> Self:
        if self.choose in ("learned", "use"):
            offered = ", ".join((*TRAINING_FREE, "value"))
            raise ValueError(f"choose ({self.choose}): needs to be trained with the model; allowed here: {offered}")
        if self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk ({self.chunk}) must be a power of two")
        if self.positions == "cache" and self.choose != "recency":
            raise ValueError(f"positions (cache): needs choose: recency, found {self.choose}")
        always = 2 * self.chunk + self.sinks
        if self.slots <= always:
            raise ValueError(
                f"slots ({self.slots}): two chunks of {self.chunk} tokens and {self.sinks} sinks are always cached; "
                f"give more than {always} slots, or a smaller chunk"
            )
        return self

    def layer(self, heads: int, kv_heads: int, head_dim: int, **fields: Any) -> SparseAttention:
        """The sparse layer of these heads."""
        plain = {
            "chunk": self.chunk,
            "schedule": "sinks+window" if self.sinks else "window",
            "window": self.slots - 2 * self.chunk,
            "sinks": self.sinks,
            "allocate": "global",
            "choose": self.choose,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
        }
        return SparseAttention.parse({"kind": "sparse_attention"} | plain | fields, "thinning")

    def bounded(self, architecture: Architecture) -> Architecture:
        """The architecture with sparse layers in the place of full attention. Raises BadInput where there is none."""
        if self.positions == "cache":
            raise BadInput("positions (cache): works for Hugging Face models only; export this one first")
        layers = [self._thinned(layer) for layer in architecture.layers]
        if tuple(layers) == architecture.layers:
            raise BadInput(f"{architecture.picture}: has no layer of full attention whose cache could be bounded")
        plain = architecture.plain() | {"layers": [layer.plain() for layer in layers]}
        return Architecture.parse(plain, "thinning")

    def _thinned(self, layer: Any) -> Any:
        if not isinstance(layer, Attention) or layer.window is not None:
            return layer
        kept = {name: getattr(layer, name) for name in ("rope_theta", "qk_norm", "short_conv", "share")}
        return self.layer(layer.heads, layer.kv_heads, layer.head_dim, **kept)
