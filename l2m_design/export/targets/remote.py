"""Any architecture: a folder with the code that runs it, generated from this package's modules."""

from typing import Any

from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.export.bundle import bundle
from l2m_design.export.targets.base import REMOTE, Target
from l2m_design.settings import Json


class Remote(Target):
    """The package's own model; its cache holds exactly the drawn state."""

    name = "remote"
    format = "L2MForCausalLM"
    model_type = "l2m"

    def refusal(self, architecture: Architecture) -> str | None:
        """None: it is the architecture's own model."""
        return None

    def label(self, architecture: Architecture) -> str:
        """See Target."""
        return REMOTE

    def limits(self, architecture: Architecture) -> list[str]:
        """See Target."""
        return [
            "The folder's code must be trusted, or l2m-design installed: `import l2m_design.export.hub` registers the "
            "same code, and no code of the folder runs",
            "It needs numpy, scipy, pydantic and pyyaml besides torch and transformers",
            "It returns logits only (AutoModelForCausalLM): no hidden states, no attention weights",
            "Padded batches are exact but are read in groups of equal length, one pass for each length",
            "No static cache, no torch.compile of decoding, no prefill in chunks; no assisted decoding, since evicted "
            "tokens cannot be restored",
        ]

    def config(self, architecture: Architecture, positions: int = 0) -> Json:
        """See Target: there is no longest position."""
        return {
            "architectures": [self.format],
            "model_type": self.model_type,
            "auto_map": {
                "AutoConfig": "configuration_l2m.L2MConfig",
                "AutoModelForCausalLM": "modeling_l2m.L2MForCausalLM",
            },
            "torch_dtype": "float32",
        } | self.fields(architecture)

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        return {
            "drawing": architecture.plain(),
            "vocab_size": architecture.vocabulary,
            "hidden_size": architecture.width,
            "num_hidden_layers": len(architecture.layers),
            "tie_word_embeddings": architecture.tied_embeddings,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target."""
        return {name: value}

    def weights(self, model: Any) -> dict[str, Tensor]:
        """See Target: under the model's own names."""
        return {f"model.{name}": value for name, value in model.state_dict().items()}

    def files(self) -> dict[str, str]:
        """See Target."""
        return bundle()

    def cache_bytes(self, architecture: Architecture, t: int) -> int:
        """See Target: the law, in float32 but for what the architecture holds otherwise."""
        return architecture.state.bytes(t, "float32")
