"""How often a source without memory beyond a few tokens is given a beta by the default estimator: 100 sources.

Run: python benchmarks/nulls.py [--seeds 20] [--processes 2]. Sources: i.i.d. letters of 4, i.i.d. bytes, Markov chains
(truth: a constant below half a nat), random bases in text files, and random words of one vocabulary (truth: what the
first letters of a word tell of the rest, a constant).
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.information import MeasurementSettings, measure

SOURCES = {
    "i.i.d. letters of 4": "iid:vocabulary=4,length=2048,documents=120,seed={seed}",
    "i.i.d. bytes": "iid:length=2048,documents=120,seed={seed}",
    "Markov, stay 0.9": "markov:stay=0.9,length=2048,documents=120,seed={seed}",
    "bases as text": "",
    "words of one vocabulary": "",
}


def written(name: str, seed: int, folder: Path) -> str:
    """A folder of 120 text files of about 2 kB each."""
    rng = np.random.default_rng([seed, 7])
    words = ["".join(chr(97 + letter) for letter in rng.integers(0, 26, rng.integers(2, 9))) for _ in range(2000)]
    share = 1 / np.arange(1, len(words) + 1)
    for number in range(120):
        if name == "bases as text":
            text = bytes(b"ACGT"[base] for base in rng.integers(0, 4, 2048))
        else:
            text = " ".join(rng.choice(words, 350, p=share / share.sum())).encode()
        (folder / f"{number}.txt").write_bytes(text)
    return str(folder)


def estimated(name: str, seed: int) -> tuple[str, int, str | None, float | None, float, float]:
    """Name, seed, what explains the curve, beta if one was given, nats at the shortest and at the longest n."""
    with TemporaryDirectory() as place:
        os.environ["L2M_CACHE"] = f"{place}/cache"
        (Path(place) / "texts").mkdir()
        spec = SOURCES[name].format(seed=seed) or written(name, seed, Path(place) / "texts")
        found = measure(open_corpus(spec), MeasurementSettings(replicates=1000, seed=seed))
    nats = found.curve.mean()
    return name, seed, found.explained_by, found.beta and found.beta.value, float(nats[0]), float(nats[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    jobs = [(name, seed) for seed in range(options.seeds) for name in SOURCES]
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        for row in pool.map(estimated, *zip(*jobs, strict=True)):
            print("{} | seed {} | {} | beta {} | {:.2f} .. {:.2f} nats".format(*row), flush=True)
            rows.append(row)
    print("| source | betas given | explained by nothing | nats at the longest n, mean (largest) |\n|---|---|---|---|")
    for name in SOURCES:
        own = [row for row in rows if row[0] == name]
        given, nothing = sum(row[3] is not None for row in own), sum(row[2] == "nothing" for row in own)
        nats = [row[5] for row in own]
        print(f"| {name} | {given} of {len(own)} | {nothing} | {np.mean(nats):.2f} ({max(nats):.2f}) |")


if __name__ == "__main__":
    main()
