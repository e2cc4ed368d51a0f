"""The catalogue of token mixers: each says its state law, parameters and flops for a model width, without torch."""

from typing import Annotated

from pydantic import Field

from l2m_design.architecture.mixers.attention import Attention, HeadMixer, KeyValueMixer, LatentAttention
from l2m_design.architecture.mixers.base import MixerBase
from l2m_design.architecture.mixers.growing import CheckpointedSSM, LogLinear
from l2m_design.architecture.mixers.recurrent import GatedDeltaNet, Mamba1, Mamba2, StateSpace
from l2m_design.architecture.mixers.sparse import SparseAttention

MixerSpec = Annotated[
    Attention | LatentAttention | SparseAttention | Mamba1 | Mamba2 | GatedDeltaNet | LogLinear | CheckpointedSSM,
    Field(discriminator="kind"),
]

__all__ = [
    "Attention",
    "CheckpointedSSM",
    "GatedDeltaNet",
    "HeadMixer",
    "KeyValueMixer",
    "LatentAttention",
    "LogLinear",
    "Mamba1",
    "Mamba2",
    "MixerBase",
    "MixerSpec",
    "SparseAttention",
    "StateSpace",
]
