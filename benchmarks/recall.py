"""What lets one layer learn recall: excess over the Bayes loss on Santa Fe, in bits a fact, seen and never seen.

Run: python benchmarks/recall.py [--steps 400] [--seeds 2] [--only NAME]. One layer of width 64 and its MLP, beta 0.7,
256 keys, windows of 128 pairs, 8192 tokens a step. Two minutes a row and seed on two cores.
"""

import argparse
import contextlib
import statistics
from collections.abc import Iterator

import numpy as np
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.model.attention import HeadAttention
from l2m_design.training.batches import held_out_windows
from l2m_design.training.evaluate import evaluate
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train

HEADS = {"heads": 2, "kv_heads": 2, "head_dim": 32}
RECALL = {"qk_norm": True, "short_conv": 4}
DRAWINGS = {
    "attention": {"kind": "attention", **HEADS},
    "attention, conv": {"kind": "attention", **HEADS, "short_conv": 4},
    "attention, norm and conv": {"kind": "attention", **HEADS, **RECALL},
    "the same, one kv head": {"kind": "attention", **HEADS, **RECALL, "kv_heads": 1},
    "the same, no positions": {"kind": "attention", **HEADS, **RECALL, "rope_theta": None},
    "the same, neutral start": {"kind": "attention", **HEADS, **RECALL},
    "sparse t^0.7, norm and conv": {"kind": "sparse_attention", **HEADS, **RECALL, "chunk": 16, "exponent": 0.7},
    "mla, norm and conv": {"kind": "mla", "heads": 2, "head_dim": 32, "kv_rank": 64, "rope_dim": 16, **RECALL},
    "mamba2 n=64": {"kind": "mamba2", "d_state": 64, "head_dim": 32},
    "gated_deltanet": {"kind": "gated_deltanet", "heads": 2, "head_dim": 32},
    "log_linear n=32": {"kind": "log_linear", "d_state": 32, "head_dim": 32},
    "checkpointed t^0.7 n=32": {"kind": "checkpointed_ssm", "d_state": 32, "head_dim": 32, "exponent": 0.7},
}


@contextlib.contextmanager
def neutral_start() -> Iterator[None]:
    """Layers from independent queries and keys, the convolution near the identity."""
    kept = HeadAttention._start_near_recall
    HeadAttention._start_near_recall = lambda *arguments: None
    try:
        yield
    finally:
        HeadAttention._start_near_recall = kept


def excess(name: str, seed: int, steps: int, beta: float, pairs: int, rate: float) -> tuple[float, float, float]:
    """Bits a fact over the Bayes loss: of all facts, of keys seen before in the window, of others."""
    corpus = open_corpus(f"santa-fe:beta={beta},keys=256,pairs={pairs},documents=20000")
    drawing = Architecture.parse(
        {"vocabulary": corpus.vocabulary, "width": 64, "mlp": {"ratio": 2.0}, "layers": [DRAWINGS[name]]}, name
    )
    length = 2 * pairs - 1
    settings = {"length": length, "batch_tokens": 8192, "tokens": 8192 // length * length * steps}
    recipe = Recipe(**settings, learning_rate=rate, rungs=(), windows=512, seed=seed)
    device = torch.device("cpu")
    with neutral_start() if "neutral" in name else contextlib.nullcontext():
        model, _ = train(drawing, corpus, recipe, device)
    windows = held_out_windows(corpus, "test", length, 512)
    losses = evaluate(model, windows, device, unigram_nats(corpus.documents("train"), corpus.vocabulary)).nats
    bayes = corpus.bayes_nats(windows.tokens(slice(0, 512)))
    facts = slice(1, None, 2)
    over, new = (losses - bayes)[:, facts] / np.log(2), bayes[:, facts] > 0
    return float(over.mean()), float(over[~new].mean()), float(over[new].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--beta", type=float, default=0.7)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--only", nargs="*", default=list(DRAWINGS))
    arguments = parser.parse_args()
    print(f"{'layer':30}{'all':>9}{'seen':>9}{'never':>9}   by seed")
    for name in arguments.only:
        rows = [
            excess(name, seed, arguments.steps, arguments.beta, arguments.pairs, arguments.rate)
            for seed in range(arguments.seeds)
        ]
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        seeds = " ".join(f"{row[0]:.4f}" for row in rows)
        print(f"{name:30}" + "".join(f"{mean:9.4f}" for mean in means) + f"   {seeds}", flush=True)


if __name__ == "__main__":
    main()
