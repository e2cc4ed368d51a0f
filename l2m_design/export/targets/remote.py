"""Any drawing: a folder with the code that runs it, generated from this package's modules."""

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

    def refusal(self, drawing: Architecture) -> str | None:
        """None: it is the drawing's own model."""
        return None

    def label(self, drawing: Architecture) -> str:
        """See Target."""
        return REMOTE

    def limits(self, drawing: Architecture) -> list[str]:
        """See Target."""
        return [
            "The folder's code must be trusted, or l2m-design installed: `import l2m_design.export.hub` registers the "
            "same code, and nothing of the folder runs",
            "It needs numpy, scipy, pydantic and pyyaml besides torch and transformers",
            "It gives logits alone (AutoModelForCausalLM): no hidden states, no attention weights",
            "Sequences of a padded batch are exact but read in groups of equal length: as many passes as lengths",
            "No static cache, no torch.compile of decoding, no prefill in chunks; no assisted decoding, since what was "
            "let go does not come back",
        ]

    def config(self, drawing: Architecture, positions: int = 0) -> Json:
        """See Target: there is no longest position."""
        return {
            "architectures": [self.format],
            "model_type": self.model_type,
            "auto_map": {
                "AutoConfig": "configuration_l2m.L2MConfig",
                "AutoModelForCausalLM": "modeling_l2m.L2MForCausalLM",
            },
            "torch_dtype": "float32",
        } | self.fields(drawing)

    def fields(self, drawing: Architecture) -> Json:
        """See Target."""
        return {
            "drawing": drawing.plain(),
            "vocab_size": drawing.vocabulary,
            "hidden_size": drawing.width,
            "num_hidden_layers": len(drawing.layers),
            "tie_word_embeddings": drawing.tied_embeddings,
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

    def cache_bytes(self, drawing: Architecture, t: int) -> int:
        """See Target: the law, in float32 but for what the drawing holds otherwise."""
        return drawing.state.bytes(t, "float32")
