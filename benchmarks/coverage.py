"""How often beta's interval covers the truth: Santa Fe sources with oracle losses, ten seeds an exponent.

Run: python benchmarks/coverage.py [--seeds 10]. Prints the errors of beta, the mean width of its 95% interval, how
many intervals cover, and which law was named.
"""

import argparse
from collections import Counter

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.information import MeasurementSettings, measure
from l2m_design.information.scores import OracleScorer

KEYS = {0.3: 4096, 0.5: 100_000, 0.7: 1_000_000}
SETTINGS = MeasurementSettings(estimator="profile", shortest=128, windows=2048, replicates=400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    for beta, keys in KEYS.items():
        errors, widths, covered, laws = [], [], 0, Counter()
        for seed in seeds:
            corpus = open_corpus(f"santa-fe:beta={beta},pairs=8192,keys={keys},documents=512,seed={seed}")
            found = measure(corpus, SETTINGS, OracleScorer(corpus))
            laws[found.fit.preferred] += 1
            interval = found.fit.law.beta
            errors.append(interval.value - beta)
            widths.append(interval.high - interval.low)
            covered += interval.low <= beta <= interval.high
        print(f"beta {beta}: {covered} of {len(seeds)} covered, mean width {np.mean(widths):.3f}, {dict(laws)}")
        print("  errors " + " ".join(f"{error:+.3f}" for error in errors), flush=True)


if __name__ == "__main__":
    main()
