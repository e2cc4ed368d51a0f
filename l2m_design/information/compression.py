"""Compression estimator: how much shorter Y's code is after X of its own document than without it.

Without it: after X of another document, or after none, whichever code is shorter at that n.

The coder (coder.py) has read other documents of the corpus, so what is counted is not the cost of learning the
language. Two controls stand beside the curve: what another document's X saves, which should be next to nothing, and
the same estimate with the words of X and of Y shuffled, which is what vocabulary tells without order. No model but
n-grams is behind it: order of other kinds stays unseen.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.estimates import Curve, Floats
from l2m_design.information.coder import THREADS, CodeLengths, DocumentCoder
from l2m_design.information.division import Division, texts
from l2m_design.information.profile import Advance
from l2m_design.information.shuffling import shuffled, shuffled_points
from l2m_design.information.split_points import SplitPoints, spread_points, whole_points
from l2m_design.settings import Json

TUNED = 1 << 18  # positions on which weights are fitted
CONTROL_WINDOWS = 64
PLATEAU = (0.25, 0.5)  # of the priming tokens: does the amount still depend on them?
REPLICATES = 1000

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Compression:
    """What the estimator found; curves in nats by n, row by row as `curve`.

    learnt: what an X of another document saves. words: the same estimate of shuffled halves, in fewer windows; ordered:
    the estimate less that, in those. bits: of a token of Y after X at the longest n. plateau: nats at the longest n by
    the number of priming tokens.
    """

    curve: Curve
    learnt: Curve
    words: Curve
    ordered: Curve
    bits: float
    plateau: dict[int, float] = field(default_factory=dict)

    def plain(self, level: float) -> Json:
        """JSON-ready: the controls by length with intervals."""
        rng = np.random.default_rng(0)
        shown = {"another_document": self.learnt, "shuffled": self.words, "order": self.ordered}
        curves = {
            name: [estimate.plain() for estimate in curve.interval(REPLICATES, level, rng)]
            for name, curve in shown.items()
        }
        return {"bits_per_token": round(self.bits, 4), "nats_by_priming": self.plateau, **curves}


def compression(
    corpus: Corpus,
    division: Division,
    points: SplitPoints,
    rng: np.random.Generator,
    advance: Advance = lambda rows: None,
) -> Compression:
    """Measure at points of the measured documents; advance is called with the number of coded points."""
    prime, tuning = texts(division.prime, division.priming), _tuning_points(corpus, division, points, rng)
    control = _control_rows(points)
    few = points.chosen(control)
    coder = _coder(prime, tuning, corpus.vocabulary, rng)
    found = coded(coder, points, rng, advance)
    amount = _information(found, points)
    without_order = _coder(
        [shuffled(text, corpus.spaces, rng) for text in prime],
        shuffled_points(tuning, corpus.spaces, rng),
        corpus.vocabulary,
        rng,
    )
    words = _information(coded(without_order, shuffled_points(few, corpus.spaces, rng), rng), few)
    longest = few.n == few.lengths[-1]
    return Compression(
        curve=points.curve(amount, "compression"),
        learnt=points.curve(found.alone - found.other, "another document"),
        words=few.curve(words, "words shuffled"),
        ordered=few.curve(amount[control] - words, "order"),
        bits=float(found.same[points.n == points.lengths[-1]].mean() / points.lengths[-1] / np.log(2)),
        plateau=_plateau(prime, tuning, few, corpus.vocabulary, rng)
        | {coder.counts.tokens: float(amount[control][longest].mean())},
    )


def _control_rows(points: SplitPoints) -> NDArray[np.int64]:
    """SplitPoints of the first CONTROL_WINDOWS windows of each length."""
    kept = np.zeros(len(points), dtype=bool)
    for n in np.unique(points.n):
        windows = np.unique(points.window[points.n == n])[:CONTROL_WINDOWS]
        kept |= (points.n == n) & np.isin(points.window, windows)
    return np.flatnonzero(kept)


def _information(found: CodeLengths, points: SplitPoints) -> Floats:
    """[points] nats that X of the same document saves, beside the better code of Y that does not know it.

    With X of another document or with none, both bound the entropy of Y from above: at each n the shorter is taken.
    """
    nats = np.empty(len(points))
    for n in np.unique(points.n):
        rows = points.n == n
        codes = (found.other[rows], found.alone[rows])
        nats[rows] = min(codes, key=lambda code: float(code.mean())) - found.same[rows]
    return nats


def _plateau(
    prime: list[Tokens], tuning: SplitPoints, few: SplitPoints, vocabulary: int, rng: np.random.Generator
) -> dict[int, float]:
    """Nats at the longest n with fewer priming tokens."""
    longest = few.chosen(np.flatnonzero(few.n == few.lengths[-1]))
    found = {}
    for share in PLATEAU:
        part = [text[: max(1, int(share * len(text)))] for text in prime]
        coder = _coder(part, tuning, vocabulary, rng)
        found[coder.counts.tokens] = float(_information(coded(coder, longest, rng), longest).mean())
    return found


def _tuning_points(corpus: Corpus, division: Division, points: SplitPoints, rng: np.random.Generator) -> SplitPoints:
    """Where the weights are fitted: in tuning documents, at every length, about TUNED positions of Y in all."""
    if corpus.whole:
        return whole_points(division.tune, points.lengths)
    parts, lengths = [], points.lengths
    for n in lengths.tolist():
        count = max(2, min(TUNED // len(lengths), division.tune.size // 2) // n)
        windows = spread_windows(division.tune, 2 * n, count, rng, corpus.name, corpus.period)
        parts.append(spread_points(windows, lengths[lengths == n], 1))
    first = np.cumsum([0, *(part.windows for part in parts[:-1])])
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("document", "window", "begin", "n")]
    columns[1] += np.repeat(first, [len(part) for part in parts])
    return SplitPoints(division.tune, lengths, *columns)


def _coder(prime: list[Tokens], tuning: SplitPoints, vocabulary: int, rng: np.random.Generator) -> DocumentCoder:
    pairs = [(tuning.tokens(n), _others(tuning, n, rng)) for n in np.unique(tuning.n).tolist()]
    repeats = max(1.0, int(tuning.n.sum()) / tuning.documents.size)
    return DocumentCoder.primed(prime, pairs, vocabulary, repeats)


def coded(
    coder: DocumentCoder, points: SplitPoints, rng: np.random.Generator, advance: Advance = lambda windows: None
) -> CodeLengths:
    """Code lengths [points] of the second half at every split point."""
    jobs = []
    for n in np.unique(points.n).tolist():
        rows = np.flatnonzero(points.n == n)
        xy, other = points.tokens(n), _others(points, n, rng)
        size = max(1, (1 << 18) // (2 * n))
        jobs += [(rows[i : i + size], xy[i : i + size], other[i : i + size]) for i in range(0, len(rows), size)]
    nats: list[Floats] = [np.empty(len(points)) for _ in CodeLengths._fields]
    with ThreadPoolExecutor(THREADS) as pool:
        for (rows, _, _), found in zip(jobs, pool.map(lambda job: coder.code(job[1], job[2]), jobs), strict=True):
            for column, values in zip(nats, found, strict=True):
                column[rows] = values
            advance(len(rows))
    return CodeLengths(*nats)


def _others(points: SplitPoints, n: int, rng: np.random.Generator) -> Tokens:
    """Return [points of length n, n] the X of another group of documents; if there is only one group, a distant X."""
    rows = np.flatnonzero(points.n == n)
    families = points.documents.families
    family = points.document[rows] if families is None else families[points.document[rows]]
    order = np.argsort(family, kind="stable")
    begins = np.searchsorted(family[order], family)
    sizes = np.searchsorted(family[order], family, side="right") - begins
    rest = len(rows) - sizes
    if (rest > 0).all():
        partner = order[(begins + sizes + rng.integers(0, rest)) % len(rows)]
    else:
        order = np.argsort(points.begin[rows])
        partner = np.empty_like(order)
        partner[order] = np.roll(order, len(order) // 2)
    return np.asarray(points.documents.tokens[points.begin[rows[partner]][:, None] + np.arange(n)], dtype=np.int64)
