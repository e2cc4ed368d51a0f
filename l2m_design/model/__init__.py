"""Models: an architecture built in torch. The tensors of its state have exactly the sizes of the state law."""

from l2m_design.model.language import LanguageModel, build, state_elements

__all__ = ["LanguageModel", "build", "state_elements"]
