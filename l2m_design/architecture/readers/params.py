"""params.json of mistral-inference: the same facts as a config.json, under names of its own."""

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from l2m_design.architecture.readers.config import DEPTH, FULL, SLIDING, Depth, Lenient, Size
from l2m_design.errors import BadInput
from l2m_design.settings import Json, Values

OTHER_FORMS = {
    "multiple_of": "of Meta's Llama",
    "q_lora_rank": "of latent attention",
    "kv_lora_rank": "of latent attention",
}
Windows = Annotated[list[Size | None], Field(min_length=1, max_length=DEPTH)]


def is_params(data: Json) -> bool:
    """Does a mapping have the names of mistral-inference, which no config.json has?"""
    return {"dim", "n_layers"} <= data.keys() and "hidden_size" not in data


class Moe(Values):
    """moe: experts in every layer."""

    num_experts: Size
    num_experts_per_tok: Size


class Params(Lenient):
    """A decoder of mistral-inference; sliding_window: tokens, of all layers or of each, over and over."""

    dim: Size
    n_layers: Depth
    head_dim: Size
    hidden_dim: Size
    n_heads: Size
    n_kv_heads: Size
    vocab_size: Size
    sliding_window: Size | Windows | None = Field(
        default=None, validation_alias=AliasChoices("sliding_window", "_sliding_window")
    )
    tied_embeddings: bool = False
    max_position_embeddings: Size | None = Field(
        default=None, validation_alias=AliasChoices("max_position_embeddings", "max_seq_len")
    )
    moe: Moe | None = None
    model_type: Literal["transformer"] = "transformer"

    def config(self, where: str) -> Json:
        """The config.json that says the same: mistral, mixtral where there are experts, ministral for mixed windows."""
        common = {
            "model_type": "mistral",
            "hidden_size": self.dim,
            "num_hidden_layers": self.n_layers,
            "head_dim": self.head_dim,
            "intermediate_size": self.hidden_dim,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "vocab_size": self.vocab_size,
            "sliding_window": self.sliding_window,
            "tie_word_embeddings": self.tied_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
        }
        if self.moe is not None:
            common |= {
                "model_type": "mixtral",
                "num_local_experts": self.moe.num_experts,
                "num_experts_per_tok": self.moe.num_experts_per_tok,
            }
        return common | (self._mixed(where, self.sliding_window) if isinstance(self.sliding_window, list) else {})

    def _mixed(self, where: str, windows: list[int | None]) -> Json:
        """Windows of some layers; raises BadInput where the list does not fit or has windows of two sizes."""
        sizes = {size for size in windows if size is not None}
        if self.n_layers % len(windows) or len(sizes) > 1 or self.moe is not None:
            raise BadInput(
                f"{where}: sliding_window: must be a list of one size and null whose length divides the "
                f"{self.n_layers} layers, without moe, found {str(windows)[:60]}"
            )
        kinds = [FULL if size is None else SLIDING for size in windows] * (self.n_layers // len(windows))
        return {"model_type": "ministral", "sliding_window": next(iter(sizes), None), "layer_types": kinds}


def of_params(data: Json, where: str) -> tuple[Json, tuple[str, ...]]:
    """The config.json that says the same as a params.json, and that in a sentence; raises BadInput for other forms."""
    for name, of in OTHER_FORMS.items():
        if data.get(name) is not None:
            raise BadInput(
                f"{where}: {name}: a params.json {of}, which is not supported; give the config.json of the model"
            )
    config = Params.parse(data, where).config(where)
    towers = " Image encoders are not counted." if data.get("vision_encoder") else ""
    return config, (f"A file of mistral-inference: read as {config['model_type']}, which has the same form.{towers}",)
