"""Readers of published models: a Hugging Face or mamba_ssm config.json to state law and parameters, as plain JSON."""

from l2m_design.architecture.readers.files import is_published
from l2m_design.architecture.readers.published import Layer, Published, published
from l2m_design.architecture.readers.runtimes import RUNTIMES
from l2m_design.architecture.readers.servers import Allotment, llama_cpp, vllm
from l2m_design.architecture.readers.table import READERS, WRAPPERS

__all__ = [
    "READERS",
    "RUNTIMES",
    "WRAPPERS",
    "Allotment",
    "Layer",
    "Published",
    "is_published",
    "llama_cpp",
    "published",
    "vllm",
]
