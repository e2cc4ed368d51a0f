"""What a measurement will read: documents, lengths, points, and how many tokens that takes."""

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus import Corpus, Documents
from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.corpus.synthetic import is_exact, knows_information
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.information.division import Division, divided
from l2m_design.information.gaussian import FEWEST_LENGTHS, enough
from l2m_design.information.settings import MeasurementSettings
from l2m_design.information.split_points import SplitPoints, spread_points, whole_points
from l2m_design.settings import Json

HOLDERS = 16  # documents that must hold two of the longest n, where none is given
SHORTEST, LONGEST = 128, 8192
GAUSSIAN_SHORTEST, GAUSSIAN_LONGEST = 4, 512
WINDOWS, GAUSSIAN_WINDOWS = 256, 4096
SPOTS = 8
CODED_WINDOWS, CODED_SPOTS = 128, 4
FEWEST_ROWS = 5


def plan(corpus: Corpus, settings: MeasurementSettings, values: bool = False) -> Json:
    """What `measure` would read, in numbers; values: of the real values of an ArrayCorpus."""
    documents = documents_of(corpus, settings, values)
    lengths = lengths_of(settings, documents, corpus)
    numbers: Json = {
        "corpus": corpus.name,
        "estimator": settings.estimator,
        "documents": len(documents),
        "tokens": documents.size,
        "lengths": lengths.tolist(),
    }
    if settings.estimator == "gaussian":
        return numbers | {"windows": settings.windows or GAUSSIAN_WINDOWS}
    rng = np.random.default_rng(settings.seed)
    if settings.estimator == "compression":
        division, points = divided_points(corpus, settings, documents, lengths, rng)
        numbers |= {"priming_tokens": min(division.priming, division.prime.size), "tuning_tokens": division.tune.size}
    else:
        points = placed(corpus, settings, documents, lengths, rng)
    tokens = planned_tokens(points, settings)
    return numbers | {"windows": points.windows, "points": len(points), "tokens_read": tokens}


def planned_tokens(points: SplitPoints, settings: MeasurementSettings) -> int:
    """Tokens coded or scored: of overlapping segments that start at one position the longest counts."""
    if not settings.needs_scorer:
        return 3 * int(points.n.sum())  # Y, after three pasts
    longest: dict[int, int] = {}
    both = [(0, 2)] + ([(1, 1)] if settings.estimator != "vclub" and settings.pairing != "none" else [])
    for shift, times in both:
        for begin, n in zip((points.begin + shift * points.n).tolist(), (times * points.n).tolist(), strict=True):
            longest[begin] = max(n, longest.get(begin, 0))
    pairs = points.windows // 2
    others = pairs * (int(points.lengths.sum()) + int(points.lengths[-1])) if settings.estimator == "vclub" else 0
    return sum(longest.values()) + others


def documents_of(corpus: Corpus, settings: MeasurementSettings, values: bool = False) -> Documents:
    """The documents to measure, equal ones once; values: the real values of an ArrayCorpus in place of its tokens."""
    if isinstance(corpus, ArrayCorpus) and (values or settings.estimator == "gaussian"):
        return corpus.value_documents(settings.split).once()
    return (corpus.documents(settings.split) if settings.split else corpus.all_documents).once()


def divided_points(
    corpus: Corpus,
    settings: MeasurementSettings,
    documents: Documents,
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Division, SplitPoints]:
    """How compression divides the documents, and where it reads those that it measures."""
    division = divided(documents, int(lengths[-1]), settings.prime, corpus.name, rng, corpus.period)
    if corpus.whole:
        _check_whole(division, lengths, corpus.name)
    return division, placed(corpus, settings, division.measured, lengths, rng)


def _check_whole(division: Division, lengths: NDArray[np.int64], name: str) -> None:
    """Documents that count as wholes cannot be cut into parts, and every length needs two in each part."""
    parts = (division.tune, division.measured)
    counts = [int((part.lengths == 2 * n).sum()) for part in parts for n in lengths.tolist()]
    if division.stretches or min(counts) < 2:
        raise BadInput(
            f"{name}: too few documents of every length to prime a compressor, to tune it and to measure others; give "
            "more documents"
        )


def placed(
    corpus: Corpus,
    settings: MeasurementSettings,
    documents: Documents,
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
    windows: int | None = None,
) -> SplitPoints:
    """Where to read: whole documents cut in their middle where the source says so, else `windows`, if given."""
    if corpus.whole:
        return whole_points(documents, lengths)
    coded = settings.estimator == "compression"
    spots = settings.spots or (CODED_SPOTS if coded else SPOTS)
    if settings.estimator in ("direct", "vclub") or settings.pairing == "none":
        spots = 1
    count = windows or settings.windows or (CODED_WINDOWS if coded else WINDOWS)
    read = spread_windows(documents, 2 * int(lengths[-1]), count, rng, corpus.name, corpus.period)
    points = spread_points(read, lengths, spots)
    if (rows := points.rows()) < FEWEST_ROWS:
        raise BadInput(
            f"{corpus.name}: {rows} windows of {2 * int(lengths[-1])} tokens fit in the documents without overlap, "
            f"an interval needs {FEWEST_ROWS}; give a smaller `longest` or more text"
        )
    return points


def lengths_of(
    settings: MeasurementSettings, documents: Documents, corpus: Corpus, context: int | None = None
) -> NDArray[np.int64]:
    """n of I(n;n): shortest, 2 · shortest, ... longest, or halves of whole documents. Raises BadInput below 5 lengths.

    context: tokens that a model's window may have, a limit where `longest` is not given. For the gaussian estimator
    lengths are given in time steps and returned in values; without `longest` they end where windows become too few.
    """
    if corpus.whole:
        halves = np.unique(documents.lengths[documents.lengths % 2 == 0] // 2)
        lengths = halves[(halves >= (settings.shortest or 1)) & (halves <= (settings.longest or LONGEST))]
        if len(lengths) < FEWEST_LENGTHS:
            raise BadInput(
                f"{corpus.name}: the documents have {len(lengths)} different lengths, a law needs {FEWEST_LENGTHS}"
            )
        return lengths
    if is_exact(corpus) and not knows_information(corpus):
        raise BadInput(
            f"{corpus.name}: this source is not stationary, so I(n;n) is not defined; use it for training, and "
            "estimate a stationary source such as santa-fe:beta=0.7"
        )
    gaussian = settings.estimator == "gaussian"
    unit = corpus.period if gaussian else 1
    longest = settings.longest * unit if settings.longest else _longest(documents, context, gaussian)
    usual = GAUSSIAN_SHORTEST * unit if gaussian else -(-SHORTEST // corpus.period) * corpus.period
    shortest = settings.shortest * unit if settings.shortest else usual
    if settings.shortest is None:
        while shortest * 2 ** (FEWEST_LENGTHS - 1) > longest and shortest % (2 * corpus.period) == 0 and shortest > 4:
            shortest //= 2
    if shortest % corpus.period:
        raise BadInput(f"shortest: {shortest} must be a multiple of {corpus.period} for {corpus.name}")
    count = int(np.log2(longest / shortest)) + 1 if longest >= shortest else 0
    lengths = shortest * 2 ** np.arange(count)
    if gaussian and not settings.longest:
        lengths = lengths[[enough(documents, n) for n in lengths.tolist()]]
    if len(lengths) < FEWEST_LENGTHS:
        raise BadInput(
            f"{corpus.name}: between {shortest} and {longest} there are {len(lengths)} doubling lengths, a law needs "
            f"{FEWEST_LENGTHS}; give a smaller `shortest`, a larger `longest`, or documents of {32 * shortest} tokens"
        )
    return lengths


def _longest(documents: Documents, context: int | None, gaussian: bool) -> int:
    """What at least 16 documents hold, or half of them where there are few, and 16 windows without overlap in all.

    No more than a model's context.
    """
    lengths = np.sort(documents.lengths)[::-1]
    held = int(lengths[min(HOLDERS, (len(lengths) + 1) // 2) - 1]) // 2 if len(lengths) else 0
    held = min(held, documents.size // (2 * HOLDERS))
    return min(GAUSSIAN_LONGEST if gaussian else LONGEST, held, context // 2 if context else held)
