"""Evaluation: the loss of a model at every position of held-out windows."""

import numpy as np
import torch

from l2m_design.corpus.windows import Windows
from l2m_design.estimates import Floats
from l2m_design.model import LanguageModel
from l2m_design.model.backends import autocast, on_device
from l2m_design.training.result import Losses

TOKENS_A_BATCH = 16384


@torch.inference_mode()
def evaluate(
    model: LanguageModel, windows: Windows, device: torch.device, first: Floats, count: int | None = None
) -> Losses:
    """Losses [windows, tokens of a window] in nats, of the first `count` windows or of all.

    first: [v_] nats of each token where nothing is before it; a model without a start token cannot say.
    """
    model.eval()
    count = min(count or len(windows), len(windows))
    step = max(1, TOKENS_A_BATCH // windows.length)
    rows = []
    for begin in range(0, count, step):
        tokens = windows.tokens(slice(begin, min(begin + step, count)))
        nats = np.empty(tokens.shape)
        nats[:, 0] = first[tokens[:, 0]]
        given = on_device(tokens, device)
        with autocast(device):
            nats[:, 1:] = model.nats(given).cpu().numpy()
        rows.append(nats)
    model.train()
    return Losses(np.concatenate(rows), windows.cluster[:count])
