"""Split points: the positions between X and Y at which I(n;n) is measured; estimators give nats for each of them.

A window of 2 N tokens has one split point for n = N and up to `spots` for shorter n, evenly spread at multiples of 2n:
with a single one, short lengths would be the noisiest. Because they start where the second half of a longer length
starts, a model that scored that half alone has scored their joint sequence as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.corpus.windows import Windows
from l2m_design.estimates import FEWEST_DOCUMENTS, Curve, Floats

Ints = NDArray[np.int64]
STRETCHES = "stretches of documents"  # what rows are where there are too few documents to resample


@dataclass(frozen=True)
class SplitPoints:
    """Blocks X = tokens [begin, begin + n) and Y = [begin + n, begin + 2n) of one array of tokens, each inside one
    document.

    documents: the documents. lengths: [lengths] the different n. document, window, begin, n: [points]. Windows are
    numbered in the order of the points.
    """

    documents: Documents
    lengths: Ints
    document: Ints
    window: Ints
    begin: Ints
    n: Ints

    def __len__(self) -> int:
        return len(self.n)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return int(self.window[-1]) + 1 if len(self) else 0

    def of_windows(self, first: int, last: int) -> "SplitPoints":
        """Return the split points in windows first .. last - 1."""
        return self.chosen(slice(*np.searchsorted(self.window, [first, last])))

    def chosen(self, rows: slice | Ints) -> "SplitPoints":
        """Return some of the split points."""
        columns = (column[rows] for column in (self.document, self.window, self.begin, self.n))
        return SplitPoints(self.documents, self.lengths, *columns)

    def tokens(self, n: int) -> NDArray[np.int64]:
        """Return [points, 2n] the tokens of X and Y at the split points of length n."""
        index = self.begin[self.n == n][:, None] + np.arange(2 * n)
        return np.asarray(self.documents.tokens[index], dtype=np.int64)

    def curve(self, nats: Floats, estimator: str) -> Curve:
        """The curve of nats [points], averaged by row and length; NaN where a row has no such place.

        Rows are families of documents (most often single ones), the units of resampling. With fewer than
        FEWEST_DOCUMENTS of them, stretches as long as a window are: the interval is then one for these documents.
        """
        row, unit = self._rows()
        column = np.searchsorted(self.lengths, self.n)
        shape = (int(row.max()) + 1, len(self.lengths))
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, (row, column), nats)
        np.add.at(counts, (row, column), 1)
        with np.errstate(invalid="ignore"):
            means = sums / counts
        return Curve(self.lengths, means, estimator, unit)

    def rows(self) -> int:
        """How many units there are to resample."""
        return int(self._rows()[0].max()) + 1

    def _rows(self) -> tuple[Ints, str]:
        """[points] the row of each, and what rows are."""
        families = self.documents.families
        units = self.document if families is None else families[self.document]
        names, row = np.unique(units, return_inverse=True)
        if len(names) >= FEWEST_DOCUMENTS:
            return row, "documents" if families is None else "families of documents"
        starts = np.full(self.windows, np.iinfo(np.int64).max)
        np.minimum.at(starts, self.window, self.begin)
        stretch = starts // (2 * int(self.lengths[-1]))
        keys = np.stack([self.document, stretch[self.window]], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].ravel(), STRETCHES


def spread_points(windows: Windows, lengths: Ints, spots: int) -> SplitPoints:
    """SplitPoints in windows of 2 · max(lengths) tokens, `spots` at most of each length, at multiples of 2n."""
    offsets, sizes = [], []
    for n in lengths.tolist():
        most = windows.length // (2 * n)
        count = min(spots, most)
        offsets += [k * most // count * 2 * n for k in range(count)]
        sizes += [n] * count
    start = windows.documents.spans[windows.document, 0] + windows.start
    each = len(sizes)
    return SplitPoints(
        windows.documents,
        lengths,
        document=np.repeat(windows.document, each),
        window=np.repeat(np.arange(len(windows)), each),
        begin=(start[:, None] + np.array(offsets, dtype=np.int64)).ravel(),
        n=np.tile(np.array(sizes, dtype=np.int64), len(windows)),
    )


def whole_points(documents: Documents, lengths: Ints) -> SplitPoints:
    """Documents cut in their middle: each whose half is one of the lengths has one split point."""
    halves = documents.lengths // 2
    rows = np.nonzero(np.isin(halves, lengths) & (documents.lengths % 2 == 0))[0]
    return SplitPoints(documents, lengths, rows, np.arange(len(rows)), documents.spans[rows, 0], halves[rows])
