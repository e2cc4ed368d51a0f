"""Distillation: a model with a bounded cache is fine-tuned to predict what it predicted with the full cache."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.errors import WorkFailed
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.planned import PlannedModel

RATE, WARM, CLIP = 2e-5, 0.1, 1.0


def distil(
    adopted: AdoptedModel | PlannedModel,
    windows: list[Tensor],
    rate: float = RATE,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Change all weights of the model by one AdamW step a window [t]; answers the divergence of each, nats a token.

    The loss is the KL divergence of the model's predictions from those of a copy with the full cache. Gradients pass
    through what is read, not through which tokens stay. Raises WorkFailed when a loss is not finite.
    """
    model = adopted.model
    teacher = copy.deepcopy(model).eval()
    weights = [weight.requires_grad_() for weight in model.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0, betas=(0.9, 0.95))
    losses = []
    for step, window in enumerate(windows):
        done = step / len(windows)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (done + 1 / len(windows)) / WARM) * (1 - done)
        with torch.no_grad():
            wanted = teacher(window[None]).logits[0].float().log_softmax(-1)
        with torch.enable_grad():
            found = adopted(window[None])[0].float().log_softmax(-1)
            loss = F.kl_div(found, wanted, reduction="sum", log_target=True) / len(window)
        if not torch.isfinite(loss.detach()):
            raise WorkFailed(f"distillation: the loss of window {step + 1} is not finite")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        losses.append(loss.item())
        on_step(step + 1, len(windows))
    for weight in weights:
        weight.requires_grad_(False)
    return losses
