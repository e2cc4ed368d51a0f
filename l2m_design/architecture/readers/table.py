"""The table of published types: model_type to reader, and types that wrap another."""

from l2m_design.architecture.readers import (
    attention,
    classic,
    experts,
    hybrid,
    latent,
    mamba2_hybrid,
    recurrent,
    shared,
)
from l2m_design.architecture.readers import state_space as spaces
from l2m_design.architecture.readers.config import Config

READERS: dict[str, type[Config]] = {
    "bamba": mamba2_hybrid.Bamba,
    "deepseek_v2": latent.DeepseekV2,
    "deepseek_v3": latent.DeepseekV3,
    "falcon_h1": mamba2_hybrid.FalconH1,
    "falcon_mamba": spaces.FalconMamba,
    "gemma2": attention.Gemma2,
    "gemma3_text": attention.Gemma3,
    "gemma3n_text": shared.Gemma3n,
    "gemma4_text": shared.Gemma4,
    "gpt2": classic.Gpt2,
    "gpt_neox": classic.GptNeoX,
    "gpt_oss": experts.GptOss,
    "granitemoehybrid": mamba2_hybrid.GraniteMoeHybrid,
    "jamba": hybrid.Jamba,
    "kimi_linear": latent.KimiLinear,
    "lfm2": hybrid.Lfm2,
    "llama": attention.Llama,
    "mamba": spaces.Mamba,
    "mamba2": spaces.Mamba2,
    "mamba_ssm": spaces.MambaSsm,
    "ministral": attention.Grouped,
    "mistral": attention.Grouped,
    "mixtral": experts.Mixtral,
    "nemotron_h": mamba2_hybrid.NemotronH,
    "phi3": attention.Grouped,
    "qwen2": attention.Qwen2,
    "qwen3": attention.Qwen3,
    "qwen3_5_text": hybrid.Qwen35,
    "qwen3_moe": experts.Qwen3Moe,
    "qwen3_next": hybrid.Qwen3Next,
    "recurrent_gemma": recurrent.RecurrentGemma,
    "rwkv": recurrent.Rwkv,
    "smollm3": attention.SmolLM3,
    "zamba2": mamba2_hybrid.Zamba2,
}
ALIASES = {"kimi_k2": "deepseek_v3"}  # types of the same form, without a class of their own in transformers
WRAPPERS = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "kimi_k25": "kimi_k2",
    "lfm2_vl": "lfm2",
    "qwen3_5": "qwen3_5_text",
}
