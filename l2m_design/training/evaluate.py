"""Evaluation: the loss of a model at every position of held-out windows."""

import torch
from torch import nn

from l2m_design.corpus.windows import Windows
from l2m_design.model.backends import autocast
from l2m_design.training.result import Losses

TOKENS_A_BATCH = 16384


@torch.inference_mode()
def evaluate(model: nn.Module, windows: Windows, device: torch.device, first: int | None = None) -> Losses:
    """Losses [windows, length] in nats of the tokens after the first of each window (of the first `first`)."""
    model.eval()
    count = min(first or len(windows), len(windows))
    step = max(1, TOKENS_A_BATCH // windows.length)
    rows = []
    for begin in range(0, count, step):
        tokens = torch.from_numpy(windows.tokens(slice(begin, min(begin + step, count)))).to(device)
        with autocast(device):
            logits = model(tokens[:, :-1])
        losses = nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        rows.append(losses.view(len(tokens), -1).double().cpu())
    model.train()
    return Losses(torch.cat(rows).numpy(), windows.document[:count])
