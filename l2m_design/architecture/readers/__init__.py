"""Readers of published models: a Hugging Face or mamba_ssm config.json to state law and parameters, as plain JSON."""

from l2m_design.architecture.readers.published import READERS, WRAPPERS, Layer, Published, is_published, published
from l2m_design.architecture.readers.runtimes import RUNTIMES

__all__ = ["READERS", "RUNTIMES", "WRAPPERS", "Layer", "Published", "is_published", "published"]
