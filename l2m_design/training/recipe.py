"""Recipe: all settings of a training run except the architecture and the corpus."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l2m_design.settings import Values


class Recipe(Values):
    """Budget, optimiser, lengths and seed of a training run.

    length: training context length in tokens. tokens: number of training tokens. batch_tokens: tokens in each optimiser
    step. optimiser: muon (for the matrices of layers, AdamW for the rest) or adamw. learning_rate: peak of a schedule
    with warm-up and cosine decay, for a model of width 128; it is scaled for other widths (see
    l2m_design.training.optimiser). final_share: learning rate at the end, as a share of the peak. warmup: share of the
    steps in which the learning rate rises. weight_decay: weight decay of matrices. clip: maximum norm of the gradient.
    windows: number of held-out windows scored at the end; a quarter of them is scored at the rungs. rungs: shares of
    the budget at which a search may prune a trial. contexts: context lengths in tokens to which the past is cut at the
    end, to measure the gain from far context; by default a 64th, a 16th, a quarter and a half of the window; an empty
    list for none. kernels: auto uses faster kernels that agree with torch on the device, torch uses none. compile: use
    torch.compile for training, on a GPU only; for a CPU it takes minutes and saves hardly any time. recompute: store
    only the inputs of each layer for the gradient, which needs less memory and a third more time. micro_batch: windows
    of a batch that pass through the model at once, which changes memory and time only; auto is all of them, halved
    whenever GPU memory runs out. matmul_precision: precision of products of float32 matrices, which on a GPU are those
    of states and decays: highest is float32, high TF32, medium bfloat16. seed: random seed of weights and batches.

    Examples:
        >>> recipe = Recipe(tokens=100_000, length=256, batch_tokens=512)
        >>> recipe.steps, recipe.spent
        (195, 99840)
    """

    length: Annotated[int, Field(ge=16, le=2**22)] = 512
    tokens: Annotated[int, Field(ge=1)] = 250_000
    batch_tokens: Annotated[int, Field(ge=16)] = 512
    optimiser: Literal["muon", "adamw"] = "muon"
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.2e-2
    final_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    clip: Annotated[float, Field(gt=0.0)] = 1.0
    windows: Annotated[int, Field(ge=8, le=10**5)] = 96
    rungs: Annotated[tuple[float, ...], Field(strict=False)] = (0.33, 0.66)
    contexts: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] | None = None
    kernels: Literal["auto", "torch"] = "auto"
    compile: bool = False
    recompute: bool = False
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_tokens < self.length:
            raise ValueError(f"batch_tokens ({self.batch_tokens}) must be at least length ({self.length}), one window")
        if self.tokens < self.batch_tokens:
            raise ValueError(f"tokens ({self.tokens}) must be at least batch_tokens ({self.batch_tokens}), one step")
        if any(not 0 < rung < 1 for rung in self.rungs):
            raise ValueError(f"rungs {list(self.rungs)} must lie between 0 and 1")
        if too_long := [c for c in self.contexts or () if c > self.length // 2]:
            raise ValueError(f"contexts: {too_long[0]} is longer than half of the windows (length: {self.length})")
        return self

    @property
    def batch(self) -> int:
        """Windows in each step."""
        return self.batch_tokens // self.length

    @property
    def steps(self) -> int:
        """Optimiser steps in the budget."""
        return max(1, self.tokens // (self.batch * self.length))

    @property
    def spent(self) -> int:
        """Tokens that the steps read."""
        return self.steps * self.batch * self.length

    @property
    def rung_steps(self) -> list[int]:
        """Steps after which a run is looked at before its end."""
        return sorted({max(1, int(rung * self.steps)) for rung in self.rungs} - {self.steps})

    def rate(self, step: int) -> float:
        """Learning rate of step 0..steps-1."""
        warm = max(1, int(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        share = self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * along))
        return self.learning_rate * share
