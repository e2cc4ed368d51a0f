"""The torch module of every mixer type: one closed table from spec to module."""

from l2m_design.architecture import (
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
from l2m_design.model.attention import FullAttention, WindowAttention
from l2m_design.model.checkpointed import CheckpointedMixer
from l2m_design.model.delta import DeltaMixer
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.latent import LatentMixer
from l2m_design.model.log_linear import LogLinearMixer
from l2m_design.model.mamba1 import Mamba1Mixer
from l2m_design.model.mixer import Mixer
from l2m_design.model.sparse import SparseMixer
from l2m_design.model.sparse_use import UseMixer
from l2m_design.model.ssm import Mamba2Mixer


def build_mixer(spec: MixerSpec, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> Mixer:
    """The torch module of one mixer; out_scale multiplies the initial output projection."""
    match spec:
        case Attention(window=None):
            return FullAttention(spec, width, out_scale, kernels)
        case Attention():
            return WindowAttention(spec, width, out_scale, kernels)
        case LatentAttention():
            return LatentMixer(spec, width, out_scale, kernels)
        case SparseAttention(choose="use"):
            return UseMixer(spec, width, out_scale, kernels)
        case SparseAttention():
            return SparseMixer(spec, width, out_scale, kernels)
        case Mamba1():
            return Mamba1Mixer(spec, width, out_scale, kernels)
        case Mamba2():
            return Mamba2Mixer(spec, width, out_scale, kernels)
        case GatedDeltaNet():
            return DeltaMixer(spec, width, out_scale, kernels)
        case LogLinear():
            return LogLinearMixer(spec, width, out_scale, kernels)
        case CheckpointedSSM():
            return CheckpointedMixer(spec, width, out_scale, kernels)
