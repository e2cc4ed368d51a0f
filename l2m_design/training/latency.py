"""Latency: what a decoding step takes once a context was read."""

import time
from typing import NamedTuple

import numpy as np
import torch

from l2m_design.model import LanguageModel
from l2m_design.model.backends import autocast
from l2m_design.model.graphed import Graph, decoder

STEPS, WARM = 24, 4


class Decoding(NamedTuple):
    """Median milliseconds of a step, and whether steps were replayed as a CUDA graph."""

    milliseconds: float
    graph: bool


@torch.inference_mode()
def timed_decoding(model: LanguageModel, length: int, device: torch.device) -> Decoding:
    """Steps of one sequence behind a context of `length` tokens, by a graph where it can be."""
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
    return Decoding(float(np.median(times[WARM:])), isinstance(step, Graph))
