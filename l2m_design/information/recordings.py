"""Recordings on one scale: each document's gain, level or whole distribution taken off, and a check for drift.

One covariance for all windows supposes recordings that are alike. A recording with a gain of its own is a mixture, and
the sample covariance of a mixture is off by far more than that of Gaussian rows. Means are harder: those of recordings
differ by their baselines, and also because what is remembered for long wanders. With D(m) the mean square difference of
the means of neighbouring blocks of m steps, and V(m) their variance, D(T/2) = 4 (V(T/2) - V(T)); where V falls as m^s,
so does D, and V(T) = D(T/2) / (4 (2^-s - 1)). Means that vary more than this have baselines.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import FEWEST_DOCUMENTS, Floats

BLOCKS = 2 ** np.arange(1, 5)  # in a recording
SHORTEST = 4 * int(BLOCKS[-1])  # time steps, for block means
PIECES = 100
DRAWS, SURE = 400, 0.01
STEEPEST, FLATTEST = -1.0, -0.05  # of V(m): no memory; the slowest that can be told from a trend
ERRORS = 3.0
REMEMBERED = 0.02  # of the variance


@dataclass(frozen=True)
class Recordings:
    """Documents of values [time · channels] on one scale; drifts: their levels still wander at their own length.

    notes: what was done, and what is doubtful.
    """

    documents: Documents
    notes: list[str]
    drifts: bool = False


def normalised(documents: Documents, channels: int, how: str, name: str) -> Recordings:
    """Each recording's channels normalised: "recording", "copula" or "none". Raises BadInput on a constant channel.

    recording: divided by their standard deviation; the mean is taken off where the recordings' means differ by more
    than their own fluctuations explain, or are fewer than FEWEST_DOCUMENTS. copula: ranks among the time steps of the
    recording, to normal scores, which no increasing function of the values changes (Ince et al. 2017).
    """
    values = [np.asarray(x, dtype=np.float64).reshape(-1, channels) for x in documents]
    spread = np.array([x.std(axis=0) for x in values])
    if how != "none" and not (spread > 0).all():
        document, channel = np.argwhere(~(spread > 0))[0].tolist()
        raise BadInput(
            f"{name}: document {document}, channel {channel} is constant and cannot be scaled; leave it out, or give "
            "`normalise` none"
        )
    if how == "copula":
        scored = [ndtri((rankdata(x, axis=0) - 0.5) / len(x)) for x in values]
        standard, levels = scored, _standard(values, spread)
    else:
        scored, levels = values, _standard(values, np.where(spread > 0, spread, 1.0))
        standard = levels
    drift, enough = _drift(levels), len(levels) >= FEWEST_DOCUMENTS
    notes = [] if drift is None else [drift]
    if how == "none":
        return Recordings(documents, notes, drift is not None and enough)
    offset = how == "copula" or not enough or drift is not None or _have_baselines(levels)
    if how == "recording":
        scored = [x - x.mean(axis=0) for x in standard] if offset else standard
    notes = [_said(how, offset), *notes]
    if offset and drift is None and enough:
        notes += _lost(levels)
    ends = np.cumsum([x.size for x in scored])
    spans = np.stack([ends - [x.size for x in scored], ends], axis=1)
    flat = np.concatenate([x.ravel() for x in scored])
    return Recordings(Documents(flat, spans, documents.families), notes, drift is not None and enough)


def _standard(values: list[Floats], spread: Floats) -> list[Floats]:
    """Values [time, channels] of each recording by its standard deviations, around the mean of all recordings."""
    scaled = [x / s for x, s in zip(values, spread, strict=True)]
    middle = np.mean([x.mean(axis=0) for x in scaled], axis=0)
    return [x - middle for x in scaled]


def _said(how: str, offset: bool) -> str:
    if how == "copula":
        return (
            "values were replaced by the normal scores of their ranks, within each recording (document) and channel: "
            "the amount is that of a Gaussian copula, without the information in differences between recordings"
        )
    level = (
        "mean 0 and variance 1"
        if offset
        else "variance 1; their means were kept, since they differ no more than their fluctuations explain"
    )
    return (
        f"each recording (document) was standardised, channel by channel, to {level}; `normalise` none uses the "
        "original values, copula their ranks"
    )


def _block_means(x: Floats, count: int) -> Floats:
    """[count, channels] means of blocks side by side, of the steps that fill them."""
    used = len(x) // count * count
    means: Floats = x[:used].reshape(count, -1, x.shape[1]).mean(axis=1)
    return means


def _differences(levels: list[Floats]) -> Floats:
    """[recordings, BLOCKS] mean square differences of the means of neighbouring blocks, longest blocks first."""
    return np.array(
        [[np.mean((m[0::2] - m[1::2]) ** 2) for m in (_block_means(x, int(k)) for k in BLOCKS)] for x in levels]
    )


def _draws(rows: int) -> Floats:
    """[DRAWS, rows] weights of a bootstrap over recordings."""
    weights: Floats = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), size=DRAWS) / rows
    return weights


def _fluctuations(differences: Floats) -> Floats:
    """[draws] V(T), the variance of a recording's mean that its own fluctuations explain, from D(m) [draws, BLOCKS]."""
    slope = np.polyfit(-np.log(BLOCKS), np.log(differences).T, 1)[0]
    falls: Floats = 2 ** -np.clip(slope, STEEPEST, FLATTEST) - 1
    return differences[:, 0] / (4 * falls)


def _have_baselines(levels: list[Floats]) -> bool:
    """Do the recordings' means differ by more than their own fluctuations explain, significantly?"""
    if min(map(len, levels)) < SHORTEST:
        return True
    weights = _draws(len(levels))
    means = np.array([x.mean(axis=0) for x in levels])
    between = (weights @ means**2 - (weights @ means) ** 2).mean(axis=1) * len(levels) / (len(levels) - 1)
    own = _fluctuations(weights @ _differences(levels))
    return bool(np.quantile(np.log(between / own), SURE) > 0)


def _lost(levels: list[Floats]) -> list[str]:
    """A warning where the recordings' means hold much of what they remember: without it long memory looks short."""
    if min(map(len, levels)) < SHORTEST:
        return []
    share = float(_fluctuations(_differences(levels).mean(axis=0)[None])[0])
    if share < REMEMBERED:
        return []
    return [
        f"recordings have memory as long as themselves (about {share:.0%} of the variance is that of their means, "
        "without baselines), but their means were removed: the information of this memory is missing in the amount, "
        "which is too small"
    ]


def _drift(levels: list[Floats]) -> str | None:
    """What is said where means of neighbouring blocks differ more the longer the blocks, as in no stationary source.

    Of fewer than FEWEST_DOCUMENTS recordings stretches are compared.
    """
    pieces = levels
    if len(levels) < FEWEST_DOCUMENTS:
        count = -(-PIECES // len(levels))
        pieces = [piece for x in levels for piece in np.array_split(x, count)]
    if min(map(len, pieces)) < SHORTEST:
        return None
    differences = _differences(pieces)
    whole, drawn = np.log(differences.mean(axis=0)), np.log(_draws(len(pieces)) @ differences)
    errors = [float((whole[0] - whole[k]) / (drawn[:, 0] - drawn[:, k]).std()) for k in (1, 2)]
    if errors[0] < ERRORS / 2 or errors[1] < ERRORS:
        return None
    steps = min(map(len, pieces)) // 2
    return (
        f"levels drift: means of neighbouring blocks of {steps} time steps differ by more than those of {steps // 4}, "
        "as in a trend or a random walk, but one covariance for all windows assumes constant levels; remove the trend, "
        "or use differences between steps"
    )
