"""Where to score: the variance of I(n;n) that a scored token buys, schedule by schedule.

Run: python benchmarks/schedules.py [--corpus SPEC] [--model oracle] [--longest N] [--shortest N] [--windows W]
[--scores TABLE]. Printed for every n: variance of the mean x tokens scored, relative to the direct estimator paired in
one document. Smaller is cheaper. Last columns: the same for beta (power+constant), and the geometric mean over n. All
schedules read the same windows with one model, so the ratios are paired.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import Windows, spread_windows
from l2m_design.estimates import Curve
from l2m_design.information import MeasurementSettings
from l2m_design.information.direct import other_documents
from l2m_design.information.plan import planned_tokens
from l2m_design.information.profile import score_points
from l2m_design.information.regression import fit_power
from l2m_design.information.split_points import SplitPoints, spread_points
from l2m_design.measuring.scorer import Scoring, open_scores, planned

PAIRED = MeasurementSettings(estimator="profile")
PLAIN = MeasurementSettings(estimator="profile", pairing="none")


def chain(windows: Windows, lengths: np.ndarray, links: int) -> SplitPoints:
    """Windows of 2N that overlap by half: `links` starts, N apart, each read at every n."""
    longest = int(lengths[-1])
    begins, sizes = [], []
    for n in lengths.tolist():
        count = links - 1 if n == longest else links
        begins += [k * longest for k in range(count)]
        sizes += [n] * count
    start = windows.documents.spans[windows.document, 0] + windows.start
    return SplitPoints(
        windows.documents,
        lengths,
        document=np.repeat(windows.document, len(sizes)),
        window=np.repeat(np.arange(len(windows)), len(sizes)),
        begin=(start[:, None] + np.array(begins)).ravel(),
        n=np.tile(np.array(sizes), len(windows)),
    )


def variance(points: SplitPoints, values: np.ndarray) -> np.ndarray:
    """[lengths + 1] variance of the mean over windows (each in a document of its own, or nearly), and of beta."""
    by_window = np.empty((points.windows, len(points.lengths)))
    for column, n in enumerate(points.lengths.tolist()):
        rows = points.n == n
        counts = np.bincount(points.window[rows], minlength=points.windows)
        by_window[:, column] = np.bincount(points.window[rows], values[rows], points.windows) / counts
    curve = Curve(points.lengths, by_window, "", "windows")
    draws = curve.resampled(400, np.random.default_rng(0))
    lengths, covariance = points.lengths.astype(float), np.cov(draws.T)
    beta = fit_power(lengths, draws, covariance, offset=True)[:, 1]
    return np.append(by_window.var(axis=0, ddof=1) / points.windows, beta.var())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="santa-fe:beta=0.7,pairs=8192,keys=1000000,documents=512")
    parser.add_argument("--tokenizer")
    parser.add_argument("--model", default="oracle")
    parser.add_argument("--shortest", type=int, default=128)
    parser.add_argument("--longest", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=512)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--no-chain", action="store_true", help="documents hold one window and no chain of them")
    options = parser.parse_args()
    corpus = open_corpus(options.corpus, options.tokenizer)
    settings = planned(
        MeasurementSettings(estimator="profile", shortest=options.shortest, longest=options.longest), options.model
    )
    lengths = options.shortest * 2 ** np.arange(int(np.log2(options.longest / options.shortest)) + 1)
    with ExitStack() as stack:
        scores = stack.enter_context(
            open_scores(corpus, settings, options.model, scoring=Scoring(table=options.scores))
        )
        rng = np.random.default_rng(0)
        size = 2 * options.longest if options.no_chain else 4 * options.longest
        windows = spread_windows(scores.documents, size, options.windows, rng, corpus.name, corpus.period)
        inner = Windows(windows.documents, 2 * options.longest, windows.document, windows.start)
        one = spread_points(inner, lengths, 1)
        nats, _ = score_points(one, scores)
        mine, other = other_documents(one)
        pairs = one.chosen(mine)
        pairs = SplitPoints(pairs.documents, lengths, pairs.document, pairs.window // 2, pairs.begin, pairs.n)
        found = {
            "plain profile": (planned_tokens(one, PLAIN), variance(one, nats.plain)),
            "direct, other document": (
                planned_tokens(one, PAIRED) // len(one) * len(pairs),
                variance(pairs, nats.alone[other] - nats.behind[mine]),
            ),
            "direct, same document": (planned_tokens(one, PAIRED), variance(one, nats.alone - nats.behind)),
        }
        for spots in (2, 4, 8, 16, 32, 64):
            points = spread_points(inner, lengths, spots)
            nats, _ = score_points(points, scores)
            found[f"overlapping, {spots} points"] = (
                planned_tokens(points, PAIRED),
                variance(points, nats.alone - nats.behind),
            )
        for links in () if options.no_chain else (2, 3):
            points = chain(windows, lengths, links)
            nats, _ = score_points(points, scores)
            found[f"chain of {links} half-overlapping"] = (
                planned_tokens(points, PAIRED),
                variance(points, nats.alone - nats.behind),
            )
    tokens, base = found["direct, same document"]
    print(f"{corpus.name}, {scores.scorer.name}, {options.windows} windows")
    print("variance x tokens, over that of direct, same document")
    print("| schedule | tokens a window | " + " | ".join(f"n = {n}" for n in lengths) + " | beta | mean |")
    print("|---" * (len(lengths) + 4) + "|")
    for name, (cost, var) in found.items():
        ratio = var * cost / (base * tokens)
        mean = np.exp(np.log(ratio[:-1]).mean())
        cells = " | ".join(f"{r:.3g}" for r in ratio)
        print(f"| {name} | {cost / options.windows:,.0f} | {cells} | {mean:.3g} |")


if __name__ == "__main__":
    main()
