"""The architecture of a model: mixers, schedules and whole architectures, judged in integers without torch."""

from l2m_design.architecture.architecture import MLP, Architecture
from l2m_design.architecture.mixers import (
    Attention,
    CheckpointedSSM,
    GatedDeltaNet,
    LatentAttention,
    LogLinear,
    Mamba1,
    Mamba2,
    MixerSpec,
    SparseAttention,
)

__all__ = [
    "MLP",
    "Architecture",
    "Attention",
    "CheckpointedSSM",
    "GatedDeltaNet",
    "LatentAttention",
    "LogLinear",
    "Mamba1",
    "Mamba2",
    "MixerSpec",
    "SparseAttention",
]
