"""The default estimator on sources whose answer is known: false betas where none is, and facts of Santa Fe sources.

Run: python benchmarks/known.py nulls [--seeds 20], python benchmarks/known.py santa-fe [--seeds 25]; --processes 2.
santa-fe keeps its estimates in --rows (reports/known/santa-fe.jsonl) and goes on from there.
Nulls: i.i.d. letters of 4, i.i.d. bytes, Markov chains (truth: a constant below half a nat), random bases as text,
and random words of one vocabulary (truth: what the first letters of a word tell of the rest, a constant).
Santa Fe: amount found over the exact I(n;n), beta over that of the exact curve at the same n, and how many intervals of
beta cover what the estimator finds on average, and the truth.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.information import Measurement, MeasurementSettings, measure

NULLS = {
    "i.i.d. letters of 4": "iid:vocabulary=4,length=2048,documents=120,seed={seed}",
    "i.i.d. bytes": "iid:length=2048,documents=120,seed={seed}",
    "Markov, stay 0.9": "markov:stay=0.9,length=2048,documents=120,seed={seed}",
    "bases as text": "",
    "words of one vocabulary": "",
}
KEYS = {0.3: 500, 0.5: 1000, 0.7: 2000, 0.8: 4000}
SANTA_FE = "santa-fe:beta={beta},pairs=1024,keys={keys},documents=240,seed={seed}"


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


def estimated(spec: str, seed: int, name: str = "") -> Measurement:
    """By the default estimator and its defaults; without a spec a null in text files."""
    with TemporaryDirectory() as place:
        os.environ["L2M_CACHE"] = f"{place}/cache"
        (Path(place) / "texts").mkdir()
        spec = spec.format(seed=seed) or written(name, seed, Path(place) / "texts")
        return measure(open_corpus(spec), MeasurementSettings(seed=seed))


def null(name: str, seed: int) -> tuple[str, int, str | None, float | None, float, float]:
    """Name, seed, what explains the curve, beta if one was given, nats at the shortest and at the longest n."""
    found = estimated(NULLS[name], seed, name)
    nats = found.curve.mean()
    return name, seed, found.explained_by, found.beta and found.beta.value, float(nats[0]), float(nats[-1])


def nulls(pool: ProcessPoolExecutor, seeds: int) -> None:
    rows = []
    for row in pool.map(null, *zip(*((name, seed) for seed in range(seeds) for name in NULLS), strict=True)):
        print("{} | seed {} | {} | beta {} | {:.2f} .. {:.2f} nats".format(*row), flush=True)
        rows.append(row)
    print("| source | betas given | explained by nothing | nats at the longest n, mean (largest) |\n|---|---|---|---|")
    for name in NULLS:
        own = [row for row in rows if row[0] == name]
        given, nothing = sum(row[3] is not None for row in own), sum(row[2] == "nothing" for row in own)
        nats = [row[5] for row in own]
        print(f"| {name} | {given} of {len(own)} | {nothing} | {np.mean(nats):.2f} ({max(nats):.2f}) |")


def facts(beta: float, seed: int) -> dict[str, Any]:
    """Amount over the exact one by n; beta with its ends, if one was given; the exponent of the exact curve."""
    spec = SANTA_FE.format(beta=beta, keys=KEYS[beta], seed=seed)
    found, source = estimated(spec, seed), open_corpus(spec)
    lengths = found.curve.lengths
    exact = np.array([source.information(int(n)) for n in lengths])  # type: ignore[attr-defined]
    slope = float(np.polyfit(np.log(lengths), np.log(exact), 1)[0])
    ends = [found.beta.value, found.beta.low, found.beta.high] if found.beta else None
    return {"beta": beta, "seed": seed, "ratio": (found.curve.mean() / exact).tolist(), "ends": ends, "slope": slope}


def santa_fe(pool: ProcessPoolExecutor, seeds: int, place: Path) -> None:
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    there = {(row["beta"], row["seed"]) for row in rows}
    jobs = [(beta, seed) for seed in range(seeds) for beta in KEYS if (beta, seed) not in there]
    with place.open("a") as file:
        for done in as_completed([pool.submit(facts, *job) for job in jobs]):
            rows.append(done.result())
            print(json.dumps(rows[-1]), file=file, flush=True)
    print(
        "| beta | slope of the exact curve | found / exact, by n | betas given | mean | cover their mean | cover beta |"
    )
    print("|---|---|---|---|---|---|---|")
    for beta in KEYS:
        own = [row for row in rows if row["beta"] == beta]
        ratio = " ".join(f"{value:.2f}" for value in np.mean([row["ratio"] for row in own], axis=0))
        ends = np.array([row["ends"] for row in own if row["ends"]]).reshape(-1, 3)
        mean = ends[:, 0].mean() if len(ends) else np.nan
        covered, true = (int(((ends[:, 1] <= at) & (at <= ends[:, 2])).sum()) for at in (mean, beta))
        print(
            f"| {beta} | {own[0]['slope']:.3f} | {ratio} | {len(ends)} of {len(own)} "
            f"| {mean:.3f} | {covered} | {true} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["nulls", "santa-fe"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=Path("reports/known/santa-fe.jsonl"))
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        if options.what == "nulls":
            nulls(pool, options.seeds)
        else:
            santa_fe(pool, options.seeds, options.rows)


if __name__ == "__main__":
    main()
