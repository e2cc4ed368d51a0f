"""The building: a drawing as a torch model, whose real state is the drawn state."""

from l2m_design.model.language import LanguageModel, build, state_elements

__all__ = ["LanguageModel", "build", "state_elements"]
