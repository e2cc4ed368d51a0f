"""Distillation: a model with a bounded cache is fine-tuned to predict what it predicted with the full cache."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.errors import WorkFailed
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.planned import PlannedModel
from l2m_design.model.resumed import decoder_layers, recorded
from l2m_design.training.healing import Healing
from l2m_design.training.lora import low_rank

RATE, WARM, CLIP = 2e-5, 0.1, 1.0
LORA_RATE = 10 * RATE


def distil(
    adopted: AdoptedModel | PlannedModel,
    windows: list[Tensor],
    how: Healing | None = None,
    *,
    rate: float | None = None,
    teacher: Any = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Change weights of the model by one AdamW step a window [t]; answers the loss of each, nats per token.

    The loss is the KL divergence of the model's predictions from the teacher's, by default those of a copy with the
    full cache, and `how.hidden` times the squared difference of the hidden states that enter the layers from the
    teacher's, as a part of the square of these, a token's and layer's mean. Gradients pass through what is read, not
    through which tokens stay. Weights of fewer bits are changed as float32 copies, since a step is smaller than what
    they can tell apart. Raises WorkFailed when a loss is not finite, BadInput where `peft` is wanted and absent.
    """
    how = how or Healing(sum(map(len, windows)))
    rate = rate or (LORA_RATE if how.method == "lora" else RATE)
    teacher = copy.deepcopy(adopted.model).eval() if teacher is None else teacher
    losses = []
    with _trained(adopted.model, how) as weights:
        masters = [weight if weight.dtype == torch.float32 else weight.detach().float() for weight in weights]
        optimiser = torch.optim.AdamW(masters, lr=rate, weight_decay=0.0, betas=(0.9, 0.95))
        for step, window in enumerate(windows):
            done = step / len(windows)
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (done + 1 / len(windows)) / WARM) * (1 - done)
            loss = _loss(adopted, teacher, window, how.hidden)
            if not torch.isfinite(loss.detach()):
                raise WorkFailed(f"distillation: the loss of window {step + 1} is not finite")
            loss.backward()
            _step(optimiser, weights, masters)
            losses.append(loss.item())
            on_step(step + 1, len(windows))
    return losses


def _step(optimiser: torch.optim.Optimizer, weights: list[Tensor], masters: list[Tensor]) -> None:
    """One step on the masters, whose values the weights then have; the gradients of both are gone after it."""
    for weight, master in zip(weights, masters, strict=True):
        if master is not weight and weight.grad is not None:
            master.grad, weight.grad = weight.grad.float(), None
    torch.nn.utils.clip_grad_norm_(masters, CLIP)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for weight, master in zip(weights, masters, strict=True):
            if master is not weight:
                weight.copy_(master)


@contextmanager
def _trained(model: Any, how: Healing) -> Iterator[list[Tensor]]:
    """The weights that are changed meanwhile."""
    if how.method == "lora":
        with low_rank(model, how.rank) as weights:
            yield weights
        return
    weights = [weight.requires_grad_() for weight in model.parameters()]
    yield weights
    for weight in weights:
        weight.requires_grad_(False)


def _loss(adopted: AdoptedModel | PlannedModel, teacher: Any, window: Tensor, hidden: float) -> Tensor:
    """Of a window [t], nats per token; hidden: weight of the hidden states, which are not looked at where it is 0."""
    if not hidden:
        with torch.no_grad():
            wanted = teacher(window[None]).logits
        with torch.enable_grad():
            return _divergence(adopted(window[None]), wanted)
    with torch.no_grad(), recorded(teacher) as theirs:
        wanted = teacher(window[None]).logits
    with torch.enable_grad(), recorded(adopted.model) as ours:
        loss = _divergence(adopted(window[None]), wanted)
        layers = len(decoder_layers(teacher))
        apart = [_apart(torch.cat(ours[layer::layers], 1), theirs[layer]) for layer in range(1, layers)]  # of pieces
        return loss + hidden * torch.stack(apart).mean() if apart else loss


def _divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """KL divergence of predictions, logits [1 t v_], nats per token."""
    ours, theirs = found[0].float().log_softmax(-1), wanted[0].float().log_softmax(-1)
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) / len(ours)


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared difference of hidden states [1 t d] as a part of the square of theirs, a token's mean."""
    a, b = ours.float(), theirs.float()
    return ((a - b).square().sum(-1) / b.square().sum(-1).clamp_min(1e-12)).mean()
