"""How long a decoding step takes when its cache grows in place (model/growing.py), beside a step that copies its cache.

Run: python benchmarks/growing.py [--length 16384]. Four layers of width 256, one thread, one sequence; in turn, CPU
time, the same logits. It prints the median of each and the ratio of medians.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build
from l2m_design.model.growing import with_room

HEADS = {"kind": "attention", "heads": 8, "kv_heads": 4, "head_dim": 32}
LAYERS = {"attention": HEADS, "window of 1,024": HEADS | {"window": 1024}}
ROUNDS, STEPS = 4, 50


def steps(model: LanguageModel, state: Any, tokens: Tensor) -> tuple[list[float], Tensor]:
    """Milliseconds of a step for each token [t], and the last logits; `state` is left as it was."""
    taken, logits = [], torch.empty(0)
    for token in tokens:
        began = time.process_time()
        logits, state = model.step(token[None], state)
        taken.append(1000 * (time.process_time() - began))
    return taken, logits


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=16_384)
    length = parser.parse_args().length
    torch.set_num_threads(1)
    for name, layer in LAYERS.items():
        torch.manual_seed(0)
        model = build(Architecture.parse({"vocabulary": 256, "width": 256, "layers": [layer] * 4}, name)).eval()
        tokens = torch.randint(0, 256, (length + STEPS,))
        _, state = model.prefill(tokens[None, :length], last=True)
        _, roomy = model.step(tokens[length - 1 : length], with_room(state))  # the first step makes the room
        _, plain = model.step(tokens[length - 1 : length], state)
        found: dict[str, list[float]] = {"copied": [], "in place": []}
        for _ in range(ROUNDS):
            took, copied = steps(model, plain, tokens[length:])
            found["copied"] += took
            took, grown = steps(model, roomy, tokens[length:])
            found["in place"] += took
            assert torch.equal(copied, grown)
        copied_ms, grown_ms = (float(np.median(taken)) for taken in found.values())
        found_ms = f"copied {copied_ms:6.1f} ms  in place {grown_ms:6.1f}"
        print(f"{name:16}{length:8,} tokens  {found_ms}  {grown_ms / copied_ms:.2f}")


if __name__ == "__main__":
    main()
