"""What a measurement will read: documents, lengths, places, and how many tokens that takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus import Corpus, Documents
from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.information.places import Places, spread_places, whole_places
from l2m_design.information.settings import MeasurementSettings

FEWEST_DOCUMENTS = 16
SHORTEST, LONGEST = 128, 8192
GAUSSIAN_SHORTEST, GAUSSIAN_LONGEST = 4, 512
WINDOWS, GAUSSIAN_WINDOWS = 256, 4096
SPOTS = 8


def plan(corpus: Corpus, settings: MeasurementSettings, values: bool = False) -> dict[str, Any]:
    """What `measure` would read, in numbers; values: of the real values of an ArrayCorpus."""
    documents = documents_of(corpus, settings, values)
    places = placed(corpus, settings, documents, np.random.default_rng(settings.seed))
    return {
        "corpus": corpus.name,
        "estimator": settings.estimator,
        "documents": len(documents),
        "tokens": documents.size,
        "lengths": places.lengths.tolist(),
        "windows": places.windows,
        "places": len(places),
        "tokens_read": planned_tokens(places, settings),
    }


def planned_tokens(places: Places, settings: MeasurementSettings) -> int:
    """Tokens coded, read or scored: of overlapping segments that start in one place the longest counts."""
    if not settings.needs_scorer:
        return (4 if settings.estimator == "compression" else 2) * int(places.n.sum())
    longest: dict[int, int] = {}
    both = [(0, 2)] + ([(1, 1)] if settings.estimator != "vclub" and settings.pairing != "none" else [])
    for shift, times in both:
        for begin, n in zip((places.begin + shift * places.n).tolist(), (times * places.n).tolist(), strict=True):
            longest[begin] = max(n, longest.get(begin, 0))
    others = int(places.n.sum()) + int(places.lengths[-1]) * places.windows // 2
    return sum(longest.values()) + (others // 2 if settings.estimator == "vclub" else 0)


def documents_of(corpus: Corpus, settings: MeasurementSettings, values: bool = False) -> Documents:
    """The documents to measure; values: the real values of an ArrayCorpus in place of its tokens."""
    if isinstance(corpus, ArrayCorpus) and (values or settings.estimator == "gaussian"):
        return corpus.value_documents(settings.split)
    return corpus.documents(settings.split) if settings.split else corpus.all_documents


def placed(
    corpus: Corpus,
    settings: MeasurementSettings,
    documents: Documents,
    rng: np.random.Generator,
    windows: int | None = None,
) -> Places:
    """Where to read: whole documents cut in their middle where the source says so, else `windows`, if given."""
    if corpus.whole:
        shortest = settings.shortest or 1
        places = whole_places(documents, shortest, settings.longest, corpus.name)
        if len(places.lengths) < 5:
            raise BadInput(f"{corpus.name}: {len(places.lengths)} lengths of documents, a law needs 5")
        return places
    lengths = doubling_lengths(settings, documents, corpus)
    gaussian = settings.estimator == "gaussian"
    count = windows or settings.windows or (GAUSSIAN_WINDOWS if gaussian else WINDOWS)
    spots = settings.spots or SPOTS
    if settings.estimator in ("direct", "vclub") or settings.pairing == "none":
        spots = 1
    read = spread_windows(documents, 2 * int(lengths[-1]), count, rng, corpus.name, corpus.period)
    return spread_places(read, lengths, spots)


def doubling_lengths(settings: MeasurementSettings, documents: Documents, corpus: Corpus) -> NDArray[np.int64]:
    """n = shortest, 2 · shortest, ... up to `longest`, multiples of the corpus' period. Raises BadInput.

    For the gaussian estimator lengths are given in time steps and returned in values.
    """
    gaussian = settings.estimator == "gaussian"
    unit = corpus.period if gaussian else 1
    shortest = (settings.shortest or (GAUSSIAN_SHORTEST if gaussian else SHORTEST)) * unit
    longest = settings.longest * unit if settings.longest else None
    if shortest % corpus.period:
        raise BadInput(f"shortest: {shortest} must be a multiple of {corpus.period} for {corpus.name}")
    if longest is None:
        lengths = np.sort(documents.lengths)[::-1]
        enough = int(lengths[min(FEWEST_DOCUMENTS, len(lengths)) - 1]) if len(lengths) else 0
        longest = min(GAUSSIAN_LONGEST if gaussian else LONGEST, enough // 2)
    doublings = int(np.log2(longest / shortest)) if longest >= shortest else -1
    if doublings < 4:
        raise BadInput(
            f"{corpus.name}: between {shortest} and {longest} lie {doublings + 1} lengths that double, a law needs 5; "
            f"give a smaller --shortest, a larger --longest, or documents of {32 * shortest} tokens and more"
        )
    return shortest * 2 ** np.arange(doublings + 1)
