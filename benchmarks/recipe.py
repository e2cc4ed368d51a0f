"""Training tokens and seconds that the recipe saves: Muon in steps of one window beside AdamW in steps of four.

Run: python benchmarks/recipe.py [--designs AAAA MMMM] [--tokens 393216] [--workers 2] [--corpus
stdlib:tokenizer=bpe:2048]. Each of four designs is trained by the former recipe on all tokens and by the new one on
half of them, with three seeds, at rates tuned before (docs/lab-book.md); a run is a process with one thread. Rows go to
reports/recipe/runs.jsonl, and what is there is not run again. Losses are those of the second half of held-out windows
of 1,024 tokens, seconds those of training.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROWS = Path(__file__).parent.parent / "reports" / "recipe" / "runs.jsonl"
CORPUS = "stdlib:tokenizer=bpe:2048"
WIDTH, LENGTH = 96, 1024
MAMBA = {"kind": "mamba2", "d_state": 64, "head_dim": 16, "state_dtype": "float32"}
ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 32, "qk_norm": True, "short_conv": 4}
SPARSE = ATTENTION | {"kind": "sparse_attention", "chunk": 32, "exponent": 0.65}
LAYERS = {"A": ATTENTION, "M": MAMBA, "S": SPARSE, "W": ATTENTION | {"window": 64}}
DESIGNS = ("AAAA", "MMAM", "MMMM", "SSSS")
RECIPES: dict[str, dict[str, Any]] = {
    "former": {"share": 1.0, "batch_tokens": 4 * LENGTH, "rate": 8e-3, "rates": {"MMMM": 1.6e-2}},
    "new": {"share": 0.5, "batch_tokens": LENGTH, "rate": 1.2e-2, "rates": {"MMMM": 8e-3}},
}
SEEDS = (0, 1, 2)


def former(model: Any, recipe: Any) -> Any:
    """AdamW at one rate for everything, as it was."""
    from torch import nn

    from l2m_design.training.optimiser import Optimiser, _adamw, _group

    matrices = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)}
    others = [p for p in model.parameters() if id(p) not in matrices]
    return Optimiser(
        [_adamw([_group([*matrices.values()], recipe.weight_decay, 1.0), _group(others, 0.0, 1.0)], recipe)]
    )


def one(job: dict[str, Any]) -> None:
    """Train one job and print its row."""
    import torch

    from l2m_design.architecture import Architecture
    from l2m_design.corpus import open_corpus
    from l2m_design.training import run
    from l2m_design.training.recipe import Recipe

    torch.set_num_threads(1)
    corpus = open_corpus(job["corpus"])
    layers = [LAYERS[letter] for letter in job["design"]]
    drawing = Architecture.parse({"vocabulary": corpus.vocabulary, "width": WIDTH, "layers": layers}, job["design"])
    recipe = Recipe.parse(
        {"length": LENGTH, "windows": 96, "rungs": [], "contexts": [], "kernels": "torch"}
        | {key: job[key] for key in ("tokens", "batch_tokens", "learning_rate", "seed")},
        "recipe",
    )
    if job["recipe"] == "former":
        run.optimiser_of = former
    _, result = run.train(drawing, corpus, recipe, torch.device("cpu"))
    found = {"late_loss": result.late_loss, "test_late_loss": result.test_late_loss, "seconds": result.train_seconds}
    print(json.dumps(job | found | {"spent": result.tokens, "curve": result.curve}))


def jobs(tokens: int, corpus: str, designs: list[str]) -> list[dict[str, Any]]:
    """Design by design, the longer runs first."""
    found = [
        {
            "recipe": name, "design": design, "seed": seed, "tokens": int(tokens * asked["share"]), "corpus": corpus,
            "batch_tokens": asked["batch_tokens"], "learning_rate": asked["rates"].get(design, asked["rate"]),
        }
        for name, asked in RECIPES.items()
        for design in designs
        for seed in SEEDS
    ]  # fmt: skip
    return sorted(found, key=lambda job: (designs.index(job["design"]), -job["tokens"]))


def work_off(wanted: list[dict[str, Any]], workers: int) -> None:
    """Run what is not there yet."""
    there = read()
    left: queue.Queue[dict[str, Any]] = queue.Queue()
    for job in wanted:
        if not any(job.items() <= row.items() for row in there):
            left.put(job)
    print(f"{left.qsize()} of {len(wanted)} runs to do", file=sys.stderr)
    lock = threading.Lock()

    def work() -> None:
        while True:
            try:
                job = left.get_nowait()
            except queue.Empty:
                return
            command = [sys.executable, __file__, "--one", json.dumps(job)]
            ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            with lock:
                if ended.returncode:
                    print(ended.stderr[-500:], file=sys.stderr)
                    continue
                ROWS.parent.mkdir(parents=True, exist_ok=True)
                with ROWS.open("a") as file:
                    file.write(ended.stdout.strip().splitlines()[-1] + "\n")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def table(rows: list[dict[str, Any]]) -> None:
    """By design: both losses, their difference over seeds with its 95% interval, and seconds a token as a ratio."""
    print("| design | former: tokens | rate | loss | new: tokens | rate | loss | new - former | seconds a token |")
    print("|---|---|---|---|---|---|---|---|---|")
    for design in DESIGNS:
        own = [sorted((r for r in rows if (r["recipe"], r["design"]) == (name, design)), key=lambda r: r["seed"])
               for name in RECIPES]  # fmt: skip
        if [row["seed"] for row in own[0]] != [row["seed"] for row in own[1]] or len(own[0]) < 2:
            print(f"| {' '.join(design)} | not all runs are there |")
            continue
        losses = [np.array([row["late_loss"] for row in side]) for side in own]
        change = losses[1] - losses[0]
        half = stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change))
        speed = [float(np.median([row["seconds"] / row["spent"] for row in side])) for side in own]
        sides = " | ".join(
            f"{side[0]['spent']:,} | {side[0]['learning_rate']:g} | {loss.mean():.3f}"
            for side, loss in zip(own, losses, strict=True)
        )
        interval = f"{change.mean():+.3f} [{change.mean() - half:+.3f}, {change.mean() + half:+.3f}]"
        print(f"| {' '.join(design)} | {sides} | {interval} | {speed[1] / speed[0]:.2f} |")


def reached(row: dict[str, Any], loss: float) -> float:
    """Tokens after which the mean training loss over an eighth of the run is down to `loss`; infinite where never."""
    tokens, losses = (np.array(column) for column in zip(*row["curve"], strict=True))
    span = max(1, len(losses) // 8)
    smooth = np.convolve(losses, np.ones(span) / span, "valid")
    below = np.nonzero(smooth <= loss)[0]
    return float(tokens[span - 1 + below[0]]) if below.size else np.inf


def reaching(rows: list[dict[str, Any]]) -> None:
    """Tokens and seconds to the training losses that the former recipe ends with, and has after half of its tokens.

    No run reads a text twice, so training losses are of unseen windows; medians over seeds, `-` where never reached.
    """
    print("\n| design | loss | former: tokens | seconds | new: tokens | seconds | share of tokens |")
    print("|---|---|---|---|---|---|---|")
    for design in DESIGNS:
        own = {name: [r for r in rows if (r["recipe"], r["design"]) == (name, design)] for name in RECIPES}
        if not all(own.values()):
            continue
        curves = np.array([[loss for _, loss in row["curve"]] for row in own["former"]])
        points = curves.shape[1]
        for end in (points // 2, points):
            loss = float(curves[:, end - points // 8 : end].mean())
            tokens = {name: float(np.median([reached(row, loss) for row in side])) for name, side in own.items()}
            each = {name: np.median([row["seconds"] / row["spent"] for row in side]) for name, side in own.items()}
            cells = " | ".join(
                f"{tokens[name]:,.0f} | {tokens[name] * each[name]:.0f}" if np.isfinite(tokens[name]) else "- | -"
                for name in RECIPES
            )
            print(f"| {' '.join(design)} | {loss:.2f} | {cells} | {tokens['new'] / tokens['former']:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=393_216)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    parser.add_argument("--one", type=json.loads)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one)
    else:
        work_off(jobs(asked.tokens, asked.corpus, asked.designs), asked.workers)
        found = [row for row in read() if row["corpus"] == asked.corpus]
        table(found)
        reaching(found)
