"""The reference model: trained on the corpus' training split, then used to score its held-out documents."""

from collections.abc import Callable

import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.information.scores.model import ModelScorer
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import context_gains, effective_context
from l2m_design.training.run import train


def reference_drawing(vocabulary: int) -> Architecture:
    """Two Mamba-2 and two full-attention layers, width 128: learns local text fast, can look back at all of it."""
    mamba = {"kind": "mamba2", "d_state": 32, "head_dim": 32}
    attention = {
        "kind": "attention",
        "heads": 4,
        "kv_heads": 4,
        "head_dim": 32,
        "qk_norm": True,
        "short_conv": 4,
    }
    layers = [mamba, attention, mamba, attention]
    return Architecture.parse({"vocabulary": vocabulary, "width": 128, "layers": layers}, "reference model")


def reference_recipe(longest: int, tokens: int, seed: int = 0) -> Recipe:
    """Windows twice the longest n, so that every position of a scored window was trained."""
    return Recipe(
        length=2 * longest,
        tokens=max(tokens, 2 * longest),
        batch_tokens=max(1024, 2 * longest),
        learning_rate=1.2e-2,
        windows=64,
        rungs=(),
        seed=seed,
    )


def train_reference(
    corpus: Corpus,
    recipe: Recipe,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> ModelScorer:
    """A scorer for windows that start anywhere: windows of any offset were its training data.

    The first token of a window, with nothing before it, is scored by the training split's unigram law.
    """
    model, result = train(reference_drawing(corpus.vocabulary), corpus, recipe, device, on_step=on_step)
    reach = effective_context(context_gains(result))
    used = f"uses context beyond {reach:,} tokens" if reach else "does not use any measured context"
    name = f"reference model, {result.parameters:,} parameters, {result.tokens:,} training tokens, {used}"
    return ModelScorer(model, unigram_nats(corpus.documents("train"), corpus.vocabulary), name, device)
