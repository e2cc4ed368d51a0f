"""Scores by a model that was built and trained here."""

import hashlib
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2m_design.estimates import Floats
from l2m_design.information.scores.base import nats_after_plainly

SAMPLED = 64


class Predicts(Protocol):
    """A causal language model, a torch module."""

    def nats(self, tokens: Tensor) -> Tensor:
        """[b t-1] nats of tokens [b t] behind the first."""

    def eval(self) -> Self:
        """Itself, no longer in training."""

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights by name."""


class ModelScorer:
    """A causal language model, and a unigram law for the first token.

    first: [v_] nats of each token where nothing is before it. context: tokens that the model was trained on, if
    more would be asked of it in vain.
    """

    exact = False

    batch_tokens = 32768

    def __init__(
        self, model: Predicts, first: Floats, name: str, device: torch.device, context: int | None = None
    ) -> None:
        self.name = name
        self.context = context
        self.fingerprint = weights_fingerprint(model)
        self._model = model.eval()
        self._first = first
        self._device = device

    @torch.inference_mode()
    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats."""
        result = np.empty(tokens.shape)
        rows = torch.from_numpy(tokens).to(self._device)
        result[:, 0] = self._first[tokens[:, 0]]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            result[:, 1:] = self._model.nats(rows).cpu().numpy()
        return result

    def nats_after(self, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]) -> list[Floats]:
        """[b t] nats behind each cut of the past."""
        return nats_after_plainly(self, past, tokens, cuts)


def token_nats(logits: Tensor, tokens: Tensor) -> Floats:
    """[b t] nats of tokens [b t] under logits [b t v_], in float32."""
    losses = nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
    nats: Floats = losses.view(tokens.shape).cpu().numpy()
    return nats


@torch.inference_mode()
def weights_fingerprint(model: Predicts | nn.Module) -> str:
    """16 hexadecimal digits from every weight's name, shape and SAMPLED of its numbers."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.flatten()
        points = torch.linspace(0, max(0, len(flat) - 1), min(SAMPLED, len(flat)), dtype=torch.float64).long()
        digest.update(f"{name} {tuple(weight.shape)} {flat[points.to(flat.device)].float().tolist()}".encode())
    return digest.hexdigest()[:16]
