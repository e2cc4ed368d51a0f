"""A program of its own: what flash-linear-attention's classes hold after a decoding step, on a CPU.

It reads configs by name from stdin (JSON) and writes [parameters, elements, bytes] of each, and by type the parameters
of a model with all defaults. Kernels run in Triton's
interpreter; flash-attention's kernel, which a CPU has not, is replaced by one that returns the queries: no cache
depends on what it computes.
"""

import json
import os
import sys
import warnings
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import fla
import fla.layers.attn
import torch
import triton
from fla.models import Mamba2Config, Mamba2ForCausalLM
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = 9


class NoDevice:
    """A driver of Triton without a device: every configuration of a kernel is run once and called equally fast."""

    def get_benchmarker(self) -> Any:
        """What the autotuner asks."""

        def timed(call: Any, quantiles: Any = None, **_: Any) -> list[float]:
            call()
            return [1.0] * len(quantiles or [0])

        return timed


def instance(config: dict[str, Any]) -> Any:
    """The class of a config with random weights in bfloat16."""
    plain = {"fuse_norm": False, "fuse_cross_entropy": False}
    if config["model_type"] == "mamba2":
        fields = {key: value for key, value in config.items() if key != "model_type"}
        return Mamba2ForCausalLM(Mamba2Config(**(fields | plain))).to(torch.bfloat16).eval()
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**(config | plain)), dtype=torch.bfloat16).eval()


def tensors(value: Any) -> list[torch.Tensor]:
    """The tensors that a layer's state reaches."""
    if isinstance(value, torch.Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [one for part in inside for one in tensors(part)]


def held(config: dict[str, Any]) -> list[int]:
    """Parameters, and elements and bytes of the cache of one sequence."""
    parameters = sum(one.numel() for one in instance(config).parameters())
    cached = {key: value for key, value in config.items() if key != "attnres_block_size"}  # mixes layers, no tokens
    model, tokens = instance(cached), torch.randint(1, 40, (1, TOKENS))
    with torch.no_grad():
        cache = model(tokens[:, :-1], use_cache=True).past_key_values
        cache = model(tokens[:, -1:], use_cache=True, past_key_values=cache).past_key_values
    kept = [one for layer in cache.layers for one in tensors(layer.state)]
    return [parameters, sum(one.numel() for one in kept), sum(one.numel() * one.element_size() for one in kept)]


def defaults(model_type: str) -> int:
    """Parameters of a type whose config gives nothing."""
    with torch.device("meta"):
        of_mamba2 = model_type == "mamba2"
        config = Mamba2Config() if of_mamba2 else AutoConfig.for_model(model_type)
        model = Mamba2ForCausalLM(config) if of_mamba2 else AutoModelForCausalLM.from_config(config)
    return sum(one.numel() for one in model.parameters())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    triton.runtime.driver.set_active(NoDevice())
    fla.layers.attn.flash_attn_func = lambda queries, *_, **__: queries
    configs = json.load(sys.stdin)
    types = sorted({config["model_type"] for config in configs.values()})
    answer = {name: held(config) for name, config in configs.items()}
    print(json.dumps({"held": answer, "defaults": {name: defaults(name) for name in types}}))
