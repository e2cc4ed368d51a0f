"""How often beta's interval covers the truth, and which law is named: exact sources scored by their exact predictors.

Run: python benchmarks/coverage.py [--seeds 100] [--processes 2] [--keep FOLDER]. Measured curves are kept in FOLDER, so
a stopped run goes on. Santa Fe: 512 documents of 8192 pairs, 2048 windows, n = 128..8192 tokens, tolerance 0.02 and
90 to 99 of 100 intervals. Tree Gaussian: 4096 trees of each level, tolerance 0.01. ARFIMA must be a
logarithm, Markov a constant within two standard errors of the exact value.
"""

import argparse
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.estimates import Curve
from l2m_design.information import MeasurementSettings, fit_curve, measure
from l2m_design.information.plan import documents_of
from l2m_design.information.scores import OracleScorer, Scores

KEYS = {0.3: 4096, 0.42: 100_000, 0.5: 100_000, 0.63: 1_000_000, 0.7: 1_000_000, 0.8: 4_000_000}
SANTA_FE = {beta: f"santa-fe:beta={beta},pairs=8192,keys={keys},documents=512" for beta, keys in KEYS.items()}
LOGARITHMS = [f"arfima:d={d}" for d in (0.2, 0.3, 0.4)]
CONSTANTS = [f"markov:stay={stay}" for stay in (0.75, 0.9)]
TREE = "tree-gaussian:documents=4096"


def settings_of(spec: str) -> MeasurementSettings:
    shortest, windows = (128, 2048) if spec.startswith("santa-fe") else (16, 512)
    if spec.startswith("tree"):
        return MeasurementSettings(estimator="profile", replicates=100)
    return MeasurementSettings(estimator="profile", shortest=shortest, windows=windows, spots=8, replicates=100)


def curve(spec: str, seed: int, keep: Path) -> Curve:
    """The measured curve of one seed, from the folder or measured now."""
    path = keep / f"{spec.replace(':', '-')},seed={seed},{settings_of(spec).fingerprint}.npz"
    if path.exists():
        kept = np.load(path)
        return Curve(kept["lengths"], kept["nats"], "kept")
    with TemporaryDirectory() as tokens:
        os.environ["L2M_CACHE"] = tokens
        corpus, settings = open_corpus(f"{spec},seed={seed}"), settings_of(spec)
        scores = Scores(documents_of(corpus, settings, values=True), OracleScorer(corpus))
        found = measure(corpus, settings, scores).curve
    np.savez(path, lengths=found.lengths, nats=found.nats)
    return found


def fit(spec: str, seed: int, keep: Path) -> tuple[str, float, float, float, float, float]:
    """Preferred law, beta with its ends, and how far the mean of all lengths lies from the exact value, in errors."""
    found = curve(spec, seed, keep)
    fitted = fit_curve(found, 1000, 0.95, np.random.default_rng(seed))
    beta, level = fitted.law.beta, found.nats.mean(axis=1)
    exact = open_corpus(spec).information(int(found.lengths[0])) if spec in CONSTANTS else np.nan
    off = (level.mean() - exact) / (level.std(ddof=1) / np.sqrt(len(level)))
    return fitted.preferred, beta.value, beta.low, beta.high, float(off), float(found.nats.shape[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/coverage"))
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    print("source | truth | mean of beta | largest error | mean width | covered | laws named")
    with ProcessPoolExecutor(options.processes) as pool:
        for spec in [*SANTA_FE.values(), TREE, *LOGARITHMS, *CONSTANTS]:
            seeds = range(options.seeds if spec != TREE else min(20, options.seeds))
            count = len(seeds)
            rows = list(pool.map(fit, [spec] * count, seeds, [options.keep] * count))
            laws = dict(Counter(row[0] for row in rows))
            if spec in SANTA_FE.values() or spec == TREE:
                truth = next((b for b, s in SANTA_FE.items() if s == spec), np.log(3) / np.log(4))
                values, low, high = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
                covered = int(((low <= truth) & (truth <= high)).sum())
                print(
                    f"{spec} | {truth:.4f} | {values.mean():.4f} | {np.abs(values - truth).max():.4f} | "
                    f"{(high - low).mean():.3f} | {covered} of {count} | {laws}",
                    flush=True,
                )
            else:
                near = sum(abs(row[4]) <= 2 for row in rows) if spec in CONSTANTS else "-"
                print(f"{spec} | - | - | - | - | within 2 errors: {near} of {count} | {laws}", flush=True)


if __name__ == "__main__":
    main()
