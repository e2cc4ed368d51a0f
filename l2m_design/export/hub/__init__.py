"""Any architecture as a transformers model. Importing this registers the class, so that no code of a folder runs."""

from transformers import AutoConfig, AutoModelForCausalLM

from l2m_design.export.hub.configuration import L2MConfig
from l2m_design.export.hub.modeling import L2MForCausalLM

__all__ = ["L2MConfig", "L2MForCausalLM"]

AutoConfig.register(L2MConfig.model_type, L2MConfig, exist_ok=True)
AutoModelForCausalLM.register(L2MConfig, L2MForCausalLM, exist_ok=True)
