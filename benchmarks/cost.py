"""Tokens scored for the same standard error of I(n;n): this profile beside the published pipeline, on one real corpus.

Run: python benchmarks/cost.py --corpus SPEC --model MODEL [--tokenizer T] [--shortest N --longest N --windows W]
[--scores TABLE]. Both read the same windows with the same model. Published (arXiv 2503.04725): for each pair of
documents one joint sequence, and for every length Y of the other document alone and the other's X before Y (1 + 2 · 10
sequences for ten lengths; the direct estimator alone needs 1 + 10). Its variance is taken from the same scores:
var(behind) + var(alone), the two documents being independent. Ratio: tokens that the published pipeline needs for the
standard error that the profile reached.
"""

import argparse
from pathlib import Path

import numpy as np

from l2m_design.corpus import open_corpus
from l2m_design.information import MeasurementSettings, measure
from l2m_design.information.plan import lengths_of, placed, planned_tokens
from l2m_design.information.profile import score_points
from l2m_design.measuring.scorer import Scoring, open_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--shortest", type=int, default=16)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument("--spots", type=int)
    parser.add_argument("--scores", type=Path)
    options = parser.parse_args()
    corpus = open_corpus(options.corpus, options.tokenizer)
    settings = MeasurementSettings(
        estimator="profile",
        shortest=options.shortest,
        longest=options.longest,
        windows=options.windows,
        spots=options.spots,
    )
    with open_scores(corpus, settings, options.model, scoring=Scoring(table=options.scores)) as scores:
        found = {
            "profile": measure(corpus, settings.model_copy(update={"control": "none"}), scores).curve,
            "profile, control variate": measure(corpus, settings, scores).curve,
        }
        lengths = lengths_of(settings, scores.documents, corpus)
        places = placed(corpus, settings, scores.documents, lengths, np.random.default_rng(settings.seed))
        kinds = places.window * len(places.lengths) + np.searchsorted(places.lengths, places.n)
        first = places.chosen(np.unique(kinds, return_index=True)[1])
        nats, _ = score_points(first, scores)
    n = places.lengths
    joint = 2 * int(n[-1])
    pipelines = {"with vCLUB": joint + 3 * int(n.sum()), "direct alone": joint + int(n.sum())}
    own_tokens = planned_tokens(places, settings) / places.windows
    sides = (nats.alone, nats.behind)
    variance = np.array([sum(np.var(side[first.n == m], ddof=1) for side in sides) for m in n])
    print(f"{corpus.name}, {scores.scorer.name}, {places.windows} windows; n = {n.tolist()}")
    print(f"tokens a pair of documents, published: {pipelines}; a window of the profile: {own_tokens:,.0f}")
    print("| against | ours | " + " | ".join(f"n = {m}" for m in n) + " | smallest |")
    print("|---" * (len(n) + 3) + "|")
    for name, curve in found.items():
        error = curve.resampled(2000, np.random.default_rng(0)).var(axis=0)
        for pipeline, tokens in pipelines.items():
            ratio = variance / error * tokens / (places.windows * own_tokens)
            print(f"| {pipeline} | {name} | " + " | ".join(f"{r:.1f}" for r in ratio) + f" | {ratio.min():.1f} |")


if __name__ == "__main__":
    main()
