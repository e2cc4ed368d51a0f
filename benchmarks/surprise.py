"""What should a sparse cache keep? Trains every choice of the sparse layer where the truth is known.

Run: python benchmarks/surprise.py [--part 0 --parts 2] [--only GROUP ...]. Jobs and their settings
are in benchmarks/surprise.yaml; each appends a line to reports/surprise-kv/trained.jsonl, and a line that is there
is not run again, so a stopped study goes on. One thread a process.
"""

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus, open_corpus
from l2m_design.corpus.base import unigram_nats
from l2m_design.model import LanguageModel
from l2m_design.model.losses import token_nats
from l2m_design.model.mixer import Pass
from l2m_design.training.batches import held_out_windows
from l2m_design.training.evaluate import evaluate
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train

HERE = Path(__file__).parent
RESULTS = HERE.parent / "reports" / "surprise-kv" / "trained.jsonl"
WIDTH, WINDOWS = 64, 128
HEADS = {"heads": 2, "kv_heads": 2, "head_dim": 32, "qk_norm": True, "short_conv": 4}
NOTHING_TO_KEEP = ("full", "mamba2-16", "mamba2-64")


def jobs() -> list[dict[str, Any]]:
    """Every job of the study, in the order of its groups."""
    plan = yaml.safe_load((HERE / "surprise.yaml").read_text())
    found = []
    for group in plan["groups"]:
        one = {"slots": [None], "gamma": [None]} | plan["base"] | group
        one["seed"] = list(range(one.pop("seeds")))
        lists = {name: value if isinstance(value, list) else [value] for name, value in one.items()}
        for values in itertools.product(*lists.values()):
            job = dict(zip(lists, values, strict=True))
            if job["choose"] in NOTHING_TO_KEEP:
                job["slots"] = job["gamma"] = None
            if job not in found:
                found.append(job)
    return found


def corpus_of(job: dict[str, Any]) -> Corpus:
    """Documents as long as a window."""
    return open_corpus(f"santa-fe:{job['source']},pairs={job['tokens'] // 2},documents=8000")


def drawing_of(job: dict[str, Any], corpus: Any) -> Architecture:
    """The layers that a job's letters and choice say."""
    law: dict[str, Any] = {"schedule": "window"}
    if job["gamma"] is not None:
        keep = job["slots"] * corpus.facts(512) / 512 ** job["gamma"]
        law = {"exponent": job["gamma"], "keep": round(keep, 4)}
    elif job["slots"] is not None:
        law["window"] = max(1, round(job["slots"] * corpus.facts(job["tokens"])))
    choose = "surprise" if job["choose"] == "oracle" else job["choose"]
    mamba = {"kind": "mamba2", "d_state": 16, "head_dim": 32}
    kinds: dict[str, dict[str, Any]] = {
        "full": {"kind": "attention", **HEADS},
        "mamba2-16": mamba,
        "mamba2-64": mamba | {"d_state": 64},
    }
    sparse = {
        "kind": "sparse_attention",
        **HEADS,
        "chunk": chunk_of(job),
        "allocate": "global",
        "choose": choose,
        **law,
    }
    letters = {"S": kinds.get(job["choose"], sparse), "M": mamba}
    layers = [letters[letter] for letter in job["layers"]]
    plain = {"vocabulary": corpus.vocabulary, "width": WIDTH, "mlp": {"ratio": 2.0}, "layers": layers}
    return Architecture.parse(plain, job["name"])


def chunk_of(job: dict[str, Any]) -> int:
    """A thirty-second of the context: what is local stays the same share of it."""
    return int(job["tokens"]) // 32


@contextlib.contextmanager
def oracle(corpus: Any) -> Iterator[None]:
    """In the place of surprise: the first showing of a fact is worth its key's frequency, all else nothing."""
    share = torch.from_numpy(corpus.key_probabilities).float()

    def read(model: LanguageModel, tokens: torch.Tensor, given: Pass | None = None) -> torch.Tensor:
        keys = tokens[:, 0::2]
        same = (keys[:, :, None] == keys[:, None]).tril(-1).any(-1)
        known = torch.cat([share, torch.zeros(corpus.vocabulary - len(share))])[keys]
        worth = torch.zeros(tokens.shape)
        facts = tokens.shape[1] // 2
        worth[:, 1::2] = ((~same) * known)[:, :facts]
        return kept(model, tokens, Pass(surprise=worth))

    def nats(model: LanguageModel, tokens: torch.Tensor, first: int = 1) -> torch.Tensor:
        return token_nats(read(model, tokens[:, :-1])[:, first - 1 :], model.table, tokens[:, first:])

    kept = LanguageModel.read
    with mock.patch.multiple(LanguageModel, read=read, nats=nats):
        yield


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train and measure one job."""
    corpus: Any = corpus_of(job)
    drawing = drawing_of(job, corpus)
    length = job["tokens"] - 1
    recipe = Recipe(
        length=length,
        batch_tokens=job["batch_tokens"],
        tokens=job["batch_tokens"] // length * length * job["steps"],
        learning_rate=job["rate"],
        rungs=(),
        windows=16,
        seed=job["seed"],
    )
    device = torch.device("cpu")
    began = time.perf_counter()
    with oracle(corpus) if job["choose"] == "oracle" else contextlib.nullcontext():
        model, _ = train(drawing, corpus, recipe, device)
        seconds = time.perf_counter() - began
        windows = held_out_windows(corpus, "test", length, WINDOWS)
        losses = evaluate(model, windows, device, unigram_nats(corpus.documents("train"), corpus.vocabulary))
    found: dict[str, Any] = {"seconds": round(seconds, 1), "state": drawing.state.elements(job["tokens"])}
    tokens = windows.tokens(slice(0, len(windows)))
    over = (losses.nats - corpus.bayes_nats(tokens))[:, 1::2] / np.log(2)
    known = corpus.bayes_nats(tokens)[:, 1::2] == 0
    late = slice(over.shape[1] // 2, None)
    by_place = over[:, : over.shape[1] // 8 * 8].reshape(len(over), 8, -1).mean((0, 2))
    return found | {
        "facts": round(corpus.facts(job["tokens"]), 2),
        "late_excess": float(over[:, late].mean()),
        "late_excess_known": float(over[:, late][known[:, late]].mean()),
        "late_excess_new": float(over[:, late][~known[:, late]].mean()),
        "by_eighth": [round(float(z), 5) for z in by_place],
    }


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a table of JSON; a last one that was cut off (a full disk, a kill) is taken away."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="groups")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    wanted = [job for job in jobs() if not arguments.only or job["name"] in arguments.only]
    for job in wanted[arguments.part :: arguments.parts]:
        if any(row["job"] == job for row in kept_rows(arguments.results)):
            continue
        found = run(job)
        with arguments.results.open("a") as file:
            file.write(json.dumps({"job": job, "found": found}) + "\n")
        brief = {key: value for key, value in found.items() if not isinstance(value, list)}
        print(job["name"], job["choose"], job["slots"], job["gamma"], job["tokens"], job["layers"], brief, flush=True)


if __name__ == "__main__":
    main()
