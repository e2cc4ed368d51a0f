"""Does a sparse cache that is chosen by use beat a window of the same bytes when both are trained from the start?

Run: python benchmarks/sparse_trained.py [--seeds 3] [--corpus FOLDER] [--device cuda]. Four layers on the standard
library (or another corpus) in byte pairs, windows of 1,024 tokens, the same tokens for all: full attention, and, at
equal state bytes, W W W W, S S S S, M S M W and M W M W (their windows take what the others leave). Each run appends a
line to reports/sparse-kv/trained.jsonl, and a line that is there is not run again. 3 to 11 minutes a run on one thread.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.model import LanguageModel
from l2m_design.model.backends import keep_freed_memory
from l2m_design.model.rules import BIRTH, Window
from l2m_design.model.use import ALPHA, LN_U, Use
from l2m_design.training.batches import held_out_windows
from l2m_design.training.evaluate import evaluate
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import paired_difference
from l2m_design.training.run import train

RESULTS = Path(__file__).parents[1] / "reports" / "sparse-kv" / "trained.jsonl"
STDLIB, TOKENIZER, WIDTH, LENGTH, OLD, CHUNK = "stdlib", "tokenizer=bpe:2048", 96, 1024, 64, 32
SIZES = range(LENGTH, 0, -1)  # of windows, in tokens
MOST_SEEDS = 3
DECIDES = 0.05  # nats a token that a window must lose for a choice to be judged
HEADS = {"heads": 4, "kv_heads": 4, "head_dim": 32, "qk_norm": True, "short_conv": 4}
SPARSE = {"kind": "sparse_attention", "schedule": "sinks+window", "window": OLD, "sinks": 4, "chunk": CHUNK} | HEADS
ATTENTION = {"kind": "attention"} | HEADS
WINDOW = ATTENTION | {"window": 0, "sinks": 4}  # of as many tokens as fill the bytes of `use, layer`
USE = SPARSE | {"allocate": "layer", "choose": "use"}
MAMBA2 = {"kind": "mamba2", "d_state": 64, "head_dim": 16, "state_dtype": "float32"}
ARMS: dict[str, list[dict[str, Any]]] = {
    "full": [ATTENTION] * 4,
    "window": [WINDOW] * 4,
    "use, layer": [USE] * 4,
    "M S M W": [MAMBA2, USE, MAMBA2, WINDOW],
    "M W M W": [MAMBA2, WINDOW, MAMBA2, WINDOW],
    "use, global": [SPARSE | {"allocate": "global", "choose": "use"}] * 4,
    "recency": [SPARSE | {"allocate": "global", "choose": "recency"}] * 4,
}

CONTROL = "M S M W", "M W M W"  # is it the sparse layer that gains, or Mamba-2?
LETTERS = {
    "full": "A A A A",
    "use, layer": "S S S S",
    "use, global": "S S S S, one set",
    "recency": "S S S S, last tokens",
}


def architecture(arm: str, vocabulary: int) -> Architecture:
    def of(layers: list[dict[str, Any]]) -> Architecture:
        plain = {"vocabulary": vocabulary, "width": WIDTH, "mlp": {"ratio": 2.75}, "layers": layers}
        return Architecture.parse(plain, arm)

    if WINDOW not in ARMS[arm]:
        return of(ARMS[arm])
    limit = of(ARMS["use, layer"]).state.bytes(LENGTH)
    sized = ([layer | {"window": tokens} if layer is WINDOW else layer for layer in ARMS[arm]] for tokens in SIZES)
    return next(found for layers in sized if (found := of(layers)).state.bytes(LENGTH) <= limit)


def run(arm: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    corpus, tokens, device = open_corpus(f"{given.corpus}:{TOKENIZER}"), given.tokens, torch.device(given.device)
    model = architecture(arm, corpus.vocabulary)
    recipe = Recipe(length=LENGTH, tokens=tokens, batch_tokens=LENGTH, windows=128, rungs=(), seed=seed)
    began = time.perf_counter()

    def on_step(done: int, total: int) -> None:
        if done % 64 == 0:
            print(f"{arm}, seed {seed}: step {done} of {total}, {time.perf_counter() - began:.0f} s", flush=True)

    trained, result = train(model, corpus, recipe, device, on_step=on_step)
    return {
        "arm": arm,
        **({} if given.corpus == STDLIB else {"corpus": Path(given.corpus).name}),
        "seed": seed,
        "tokens": tokens,
        "state_bytes": model.state.bytes(LENGTH),
        "parameters": model.parameters,
        "test_late_loss": result.test_late_loss,
        "test_late_by_document": result.test_late_by_document,
        "test_late_by_context": result.test_late_by_context,
        "train_seconds": round(result.train_seconds, 1),
        "read_otherwise": read_otherwise(trained, corpus, recipe, device) if USE in ARMS[arm] else {},
    }


def read_otherwise(model: LanguageModel, corpus: Corpus, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Test loss over the second half of the windows when other rules choose for the same weights: is it the choice?"""
    windows = held_out_windows(corpus, "test", recipe.length, recipe.windows)
    first = unigram_nats(corpus.documents("train"), corpus.vocabulary)
    found = {}
    for name, scores in (("without the correction", uncorrected), ("the last tokens", Window.scores)):
        with mock.patch.object(Use, "scores", scores):
            found[name] = evaluate(model, windows, device, first).late_loss
    return found


def uncorrected(use: Use, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
    """Use without the attention received."""
    return records[..., LN_U] - records[..., ALPHA] * (current - records[..., BIRTH]).log() + use.ln_worth[heads]


def table(found: list[dict[str, Any]]) -> None:
    """Full minus window first, then each arm against the window, paired over documents, seed by seed."""
    lines = {key(line): line for line in found}
    for arm, corpus, seed, tokens in lines:
        if arm != "window" or ("full", corpus, seed, tokens) not in lines:
            continue
        window, full = (lines[each, corpus, seed, tokens] for each in ("window", "full"))
        gap = paired_difference(window["test_late_by_document"], full["test_late_by_document"])
        verdict = "decides" if gap.value >= DECIDES else f"below {DECIDES}: nothing may be concluded"
        print(f"\n{corpus}, {tokens:,} tokens, seed {seed}: window minus full {gap}, {verdict}")
        for other in ARMS:
            if (line := lines.get((other, corpus, seed, tokens))) is not None:
                difference = paired_difference(line["test_late_by_document"], window["test_late_by_document"])
                print(
                    f"{other:16}{line['test_late_loss']:8.4f} nats{line['state_bytes']:10,} bytes"
                    f"{line['train_seconds']:8.0f} s   minus window {difference}"
                )


def pooled(found: list[dict[str, Any]]) -> list[str]:
    """By corpus, each arm minus the window, and the control: paired over documents, whose differences are averaged over
    the seeds that both were trained with.
    """
    lines = {key(line): line["test_late_by_document"] for line in found}
    rows = []
    for corpus, tokens in dict.fromkeys((corpus, tokens) for _, corpus, _, tokens in lines):
        rows += ["", f"{corpus}, {tokens:,} tokens, minus the window of equal bytes, nats a token"]
        for arm, other in [*((arm, "window") for arm in ARMS if arm != "window"), CONTROL]:
            both = [
                (lines[arm, corpus, seed, tokens], lines[other, corpus, seed, tokens])
                for seed in range(MOST_SEEDS)
                if {(arm, corpus, seed, tokens), (other, corpus, seed, tokens)} <= lines.keys()
            ]
            if both:
                ours, theirs = (np.mean(side, axis=0).tolist() for side in zip(*both, strict=True))
                name = LETTERS.get(arm, arm) if other == "window" else f"{arm} minus {other}"
                each = ", ".join(f"{np.mean(np.subtract(*pair)):+.3f}" for pair in both)
                gap = paired_difference(ours, theirs)
                rows.append(f"{name:24}{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]   by seed {each}")
    return rows[1:]


def key(line: dict[str, Any]) -> tuple[str, str, int, int]:
    """What tells a run from others."""
    return line["arm"], line.get("corpus", STDLIB), line["seed"], line["tokens"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=655_360)
    parser.add_argument("--corpus", default=STDLIB, help="as l2m estimate takes it, without a tokenizer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = set(map(key, found))
    for seed in range(given.seeds):
        for arm in given.arms:
            if (arm, Path(given.corpus).name, seed, given.tokens) not in done:
                found.append(run(arm, seed, given))
                with RESULTS.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
                table(found)
    table(found)
    print("\n".join(["", *pooled(found)]))


if __name__ == "__main__":
    main()
