"""Latency: what a decoding step takes once a context was read."""

import time

import numpy as np
import torch

from l2m_design.model import LanguageModel
from l2m_design.model.backends import autocast
from l2m_design.model.graphed import decoder

STEPS, WARM = 24, 4


@torch.inference_mode()
def decode_milliseconds(model: LanguageModel, length: int, device: torch.device) -> float:
    """Median milliseconds of a step of one sequence behind a context of `length` tokens, by a graph where it can."""
    model.eval()
    tokens = torch.arange(length, device=device)[None] % model.architecture.vocabulary
    times = []
    with autocast(device):
        step = decoder(model, model.prefill(tokens)[1])
        for _ in range(STEPS):
            began = time.perf_counter()
            step(tokens[:, 0])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(1000 * (time.perf_counter() - began))
    model.train()
    return float(np.median(times[WARM:]))
