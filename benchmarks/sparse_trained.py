"""Does a sparse cache that is chosen by use beat a window of the same bytes when both are trained from the start?

Run: python benchmarks/sparse_trained.py [--seeds 2] [--tokens 655360]. Four layers of one kind on the standard library
in byte pairs, windows of 1,024 tokens, the same tokens for all; each run appends a line to
reports/sparse-kv/trained.jsonl, and a line that is there is not run again. About 5 minutes a run on one thread.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

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
CORPUS, WIDTH, LENGTH, OLD, CHUNK = "stdlib:tokenizer=bpe:2048", 96, 1024, 64, 32
DECIDES = 0.05  # nats a token that a window must lose for a choice to be judged
HEADS = {"heads": 4, "kv_heads": 4, "head_dim": 32, "qk_norm": True, "short_conv": 4}
SPARSE = {"kind": "sparse_attention", "schedule": "sinks+window", "window": OLD, "sinks": 4, "chunk": CHUNK} | HEADS
ATTENTION = {"kind": "attention"} | HEADS
ARMS: dict[str, dict[str, Any]] = {
    "full": ATTENTION,
    "window": ATTENTION | {"window": 0, "sinks": 4},  # of as many tokens as have the bytes of `use, layer`
    "use, layer": SPARSE | {"allocate": "layer", "choose": "use"},
    "use, global": SPARSE | {"allocate": "global", "choose": "use"},
    "recency": SPARSE | {"allocate": "global", "choose": "recency"},
}


def architecture(arm: str, vocabulary: int) -> Architecture:
    def of(layer: dict[str, Any]) -> Architecture:
        plain = {"vocabulary": vocabulary, "width": WIDTH, "mlp": {"ratio": 2.75}, "layers": [layer] * 4}
        return Architecture.parse(plain, arm)

    if arm != "window":
        return of(ARMS[arm])
    limit = of(ARMS["use, layer"]).state.bytes(LENGTH)
    windows = (of(ARMS["window"] | {"window": tokens}) for tokens in range(LENGTH, 0, -1))
    return next(each for each in windows if each.state.bytes(LENGTH) <= limit)


def run(arm: str, seed: int, tokens: int) -> dict[str, Any]:
    corpus = open_corpus(CORPUS)
    model = architecture(arm, corpus.vocabulary)
    recipe = Recipe(length=LENGTH, tokens=tokens, batch_tokens=LENGTH, windows=128, rungs=(), seed=seed)
    began = time.perf_counter()

    def on_step(done: int, total: int) -> None:
        if done % 64 == 0:
            print(f"{arm}, seed {seed}: step {done} of {total}, {time.perf_counter() - began:.0f} s", flush=True)

    trained, result = train(model, corpus, recipe, torch.device("cpu"), on_step=on_step)
    return {
        "arm": arm,
        "seed": seed,
        "tokens": tokens,
        "state_bytes": model.state.bytes(LENGTH),
        "parameters": model.parameters,
        "test_late_loss": result.test_late_loss,
        "test_late_by_document": result.test_late_by_document,
        "test_late_by_context": result.test_late_by_context,
        "train_seconds": round(result.train_seconds, 1),
        "read_otherwise": read_otherwise(trained, corpus, recipe) if "use" in arm else {},
    }


def read_otherwise(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> dict[str, float]:
    """Test loss over the second half of the windows when other rules choose for the same weights: is it the choice?"""
    windows = held_out_windows(corpus, "test", recipe.length, recipe.windows)
    first = unigram_nats(corpus.documents("train"), corpus.vocabulary)
    found = {}
    for name, scores in (("without the correction", uncorrected), ("the last tokens", Window.scores)):
        with mock.patch.object(Use, "scores", scores):
            found[name] = evaluate(model, windows, torch.device("cpu"), first).late_loss
    return found


def uncorrected(use: Use, records: Tensor, heads: Tensor, current: int, chunk: int) -> Tensor:
    """Use without the attention received."""
    return records[..., LN_U] - records[..., ALPHA] * (current - records[..., BIRTH]).log() + use.ln_worth[heads]


def table(found: list[dict[str, Any]]) -> None:
    """Full minus window first, then each arm against the window, paired over documents, seed by seed."""
    lines = {(line["arm"], line["seed"], line["tokens"]): line for line in found}
    for arm, seed, tokens in lines:
        if arm != "window" or ("full", seed, tokens) not in lines:
            continue
        window, full = lines[arm, seed, tokens], lines["full", seed, tokens]
        gap = paired_difference(window["test_late_by_document"], full["test_late_by_document"])
        verdict = "decides" if gap.value >= DECIDES else f"below {DECIDES}: nothing may be concluded"
        print(f"\n{tokens:,} tokens, seed {seed}: window minus full {gap}, {verdict}")
        for other in ARMS:
            if (line := lines.get((other, seed, tokens))) is not None:
                difference = paired_difference(line["test_late_by_document"], window["test_late_by_document"])
                print(
                    f"{other:16}{line['test_late_loss']:8.4f} nats{line['state_bytes']:10,} bytes"
                    f"{line['train_seconds']:8.0f} s   minus window {difference}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=655_360)
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(line["arm"], line["seed"], line["tokens"]) for line in found}
    for seed in range(given.seeds):
        for arm in given.arms:
            if (arm, seed, given.tokens) not in done:
                found.append(run(arm, seed, given.tokens))
                with RESULTS.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
                table(found)
    table(found)


if __name__ == "__main__":
    main()
