"""The other side of a proof: an exported folder as a stranger loads it, run as a program of its own.

It imports nothing of this package, and hides it, so that a folder that needs it cannot pass.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

KERNELS = ("mamba_ssm", "causal_conv1d", "fla")  # transformers calls them where they are installed, on a CPU too


def hide(*libraries: str) -> None:
    """Let libraries look as if they were not installed, unless they are in use."""
    for library in libraries:
        sys.modules.setdefault(library, None)  # type: ignore[arg-type]


def examine(folder: str, tokens: Tensor, steps: int, own_code: bool) -> tuple[dict[str, object], Tensor]:
    """What is found in a folder, and logits [b t+steps v_]: of tokens [b t] at once, then of the last ones by steps.

    steps: how many of the tokens are read one by one with a cache, after the others as a prompt.
    own_code: may the code in the folder run?
    """
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=own_code, output_loading_info=True, dtype=torch.float32
    )
    model.eval()
    with torch.inference_mode():
        logits = model(tokens, use_cache=False).logits
        cached, cache = stepped(model, tokens, steps)
        prompt = tokens[:, : min(24, tokens.shape[1])]
        plainly = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
        written, again = (model.generate(prompt, use_cache=use_cache, **plainly) for use_cache in (True, False))
    found = {
        "format": type(model).__name__,
        "missing": sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]),
        "unexpected": sorted(info["unexpected_keys"]),
        "generation_equal": bool((written == again).all()),
        "cache_bytes": sum(z.numel() * z.element_size() for z in tensors(cache)) // len(tokens),
        "seen": int(cache.get_seq_length()),
    }
    return found, torch.cat([logits, cached], dim=1)


def stepped(model: Any, tokens: Tensor, steps: int) -> tuple[Tensor, Any]:
    """Logits [b steps v_] of the last tokens, read one by one, and the cache after them."""
    output = model(tokens[:, :-steps], use_cache=True)
    name = cache_name(output)
    logits = []
    for at in range(tokens.shape[1] - steps, tokens.shape[1]):
        output = model(tokens[:, at : at + 1], use_cache=True, **{name: getattr(output, name)})
        logits.append(output.logits)
    return torch.cat(logits, dim=1), getattr(output, name)


def cache_name(output: Any) -> str:
    """What transformers calls a cache, by an output that holds one: until 5.23, past_key_values."""
    return "cache" if "cache" in output else "past_key_values"


def tensors(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that a cache reaches, once; a constant with no axis is no state."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.ndim:
            yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part, seen)
    elif type(value).__module__.split(".")[0] not in ("torch", "builtins") and not hasattr(value, "model_type"):
        yield from tensors(getattr(value, "__dict__", {}), seen)


def main(folder: str, question: str, answer: str, steps: int, own_code: bool) -> None:
    """Read tokens from question (.npy), write logits to answer (.npy), say what was found as JSON."""
    hide("l2m_design", *KERNELS)
    found, logits = examine(folder, torch.from_numpy(np.load(question)), steps, own_code)
    np.save(answer, logits.numpy())
    Path(answer).with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] == "own-code")
