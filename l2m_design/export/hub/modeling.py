"""L2MForCausalLM: a drawn model under transformers' hood, with generate() over a cache that holds the drawn state."""

from torch import nn
from transformers import GenerationMixin, PreTrainedModel

from l2m_design.architecture import Architecture
from l2m_design.export.hub.bounded import Bounded
from l2m_design.export.hub.configuration import L2MConfig
from l2m_design.model.language import LanguageModel


class L2MForCausalLM(Bounded, PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Weights are those of LanguageModel, under `model.`."""

    config_class = L2MConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _no_split_modules = ["Block"]  # noqa: RUF012 - the base class's own way

    def __init__(self, config: L2MConfig) -> None:
        super().__init__(config)
        self.model = LanguageModel(Architecture.parse(config.drawing, "config.json: drawing"))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """The modules start as they were built: a rule for all would spoil the steps and decays of state spaces."""

    def get_input_embeddings(self) -> nn.Module:
        """Of tokens."""
        return self.model.embedding

    def get_output_embeddings(self) -> nn.Module | None:
        """The head, none where it is the embedding."""
        return self.model.head

    def reader(self) -> LanguageModel:
        """See Bounded."""
        return self.model
