"""Scores of segments: what an estimator asks for is looked up, and scored once where it is missing.

A segment is a run of tokens scored with nothing before it, or behind a past that stood elsewhere. Any beginning of
a scored segment is scored too, so of the segments that start at one position only the longest is sent to the model.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.information.scores.segments import Key, Segments

if TYPE_CHECKING:
    from l2m_design.information.scores.table import ScoreTable


ROUNDING = 1e-3


class Scorer(Protocol):
    """-ln q(token | the tokens before it), natural logarithms.

    fingerprint: changes with anything that changes a score. context: most tokens of a window, None without a limit.
    batch_tokens: tokens worth sending at once. exact: the source's own law, no model of it.
    """

    name: str
    exact: bool
    fingerprint: str
    context: int | None
    batch_tokens: int

    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats of tokens [b t]; the first column is scored without any past."""
        ...

    def nats_after(self, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]) -> list[Floats]:
        """For each cut the nats [b t] of tokens [b t] that follow the first `cut` columns of past [b p]."""
        ...


@dataclass
class Scores:
    """The scores of one scorer on one corpus' tokens, from a table where there is one.

    numbered: all documents of the corpus, by whose numbers one is named. tokens_asked: in the segments asked for so
    far, pasts included once each; tokens_scored: those of them that the table did not hold.
    """

    documents: Documents
    scorer: Scorer
    table: "ScoreTable | None" = None
    numbered: Documents | None = None
    tokens_asked: int = 0
    tokens_scored: int = 0

    def of(self, segments: Segments, on_batch: Callable[[int], None] = lambda tokens: None) -> dict[Key, Floats]:
        """Nats of segments by key, each at least as long as required. on_batch: called with the number of tokens."""
        wanted: dict[Key, int] = {}
        for key, length in zip(segments.keys(), segments.length.tolist(), strict=True):
            wanted[key] = max(length, wanted.get(key, 0))
        self.tokens_asked += _size(wanted.items())
        found = {key: row for key in wanted if (row := self._kept(key)) is not None}
        missing = {key: n for key, n in wanted.items() if key not in found or len(found[key]) < n}
        for batch in self._batches(missing):
            scored = self._score_or_halve(batch)
            found.update(scored)
            if self.table is not None:
                self.table.add(scored)
            sent = _size(batch)
            self.tokens_scored += sent
            on_batch(sent)
        return found

    def _kept(self, key: Key) -> Floats | None:
        return self.table.row(key) if self.table is not None else None

    def check_context(self, longest: int) -> None:
        """Raises BadInput when windows of `longest` tokens do not fit the model."""
        limit = self.scorer.context
        if limit is not None and longest > limit:
            raise BadInput(
                f"{self.scorer.name}: its context is {limit} tokens, but {longest} are required (2 x the longest n); "
                f"give `longest` {2 ** int(np.log2(max(2, limit // 2)))} or less"
            )

    def _batches(self, missing: dict[Key, int]) -> Iterable[list[tuple[Key, int]]]:
        """Requests of equal shape together, up to the scorer's batch; all that hang on one past together."""
        alike: defaultdict[tuple[object, ...], list[tuple[Key, int]]] = defaultdict(list)
        pasts: defaultdict[int, list[tuple[Key, int]]] = defaultdict(list)
        for key, length in missing.items():
            (pasts[key[0]] if key[1] else alike[(length,)]).append((key, length))
        for requests in pasts.values():
            requests.sort(key=lambda request: (request[0][1], request[1]))
            alike[tuple((key[1], length) for key, length in requests)] += requests
        for shape, requests in alike.items():
            together = 1 if isinstance(shape[0], int) else len(shape)
            size = sum(length for _, length in requests[:together]) + requests[together - 1][0][1]
            step = together * max(1, self.scorer.batch_tokens // size)
            yield from (requests[i : i + step] for i in range(0, len(requests), step))

    def _score_or_halve(self, batch: list[tuple[Key, int]]) -> dict[Key, Floats]:
        """The batch's scores, in halves where it does not fit the device's memory."""
        try:
            return self._score(batch)
        except RuntimeError as error:
            if "out of memory" not in str(error).lower() or len(batch) == 1 or batch[0][0][1]:
                raise
        middle = len(batch) // 2
        return self._score_or_halve(batch[:middle]) | self._score_or_halve(batch[middle:])

    def _score(self, batch: list[tuple[Key, int]]) -> dict[Key, Floats]:
        if not batch[0][0][1]:
            length = batch[0][1]
            rows = self.scorer.nats(self._read([key[2] for key, _ in batch], length))
            scored = {key: row for (key, _), row in zip(batch, rows, strict=True)}
        else:
            scored = self._score_after(batch)
        for key, row in scored.items():
            self._check(key, row)
        return scored

    def _score_after(self, batch: list[tuple[Key, int]]) -> dict[Key, Floats]:
        """The batch holds, for each past, the same cuts and lengths in the same order."""
        pasts = list(dict.fromkeys(key[0] for key, _ in batch))
        shape = [(key[1], length) for key, length in batch if key[0] == pasts[0]]
        mine = {past: [key for key, _ in batch if key[0] == past] for past in pasts}
        past = self._read(pasts, shape[-1][0])
        tokens = [self._read([mine[p][i][2] for p in pasts], length) for i, (_, length) in enumerate(shape)]
        rows = self.scorer.nats_after(past, tokens, [cut for cut, _ in shape])
        return {mine[p][i]: rows[i][j] for j, p in enumerate(pasts) for i in range(len(shape))}

    def _read(self, begins: list[int], length: int) -> NDArray[np.int64]:
        values = self.documents.tokens[np.array(begins)[:, None] + np.arange(length)]
        return np.asarray(values, dtype=np.float64 if values.dtype.kind == "f" else np.int64)

    def _check(self, key: Key, row: Floats) -> None:
        """Raises BadInput naming the first log-probability that is none: not finite, or of tokens and above 0."""
        is_density = self.documents.tokens.dtype.kind == "f"
        good = np.isfinite(row) & (is_density | (row > -ROUNDING))
        if not good.all():
            place = int(np.argmin(good))
            spans = (self.numbered or self.documents).spans
            document = int(np.searchsorted(spans[:, 0], key[2], side="right")) - 1
            offset = key[2] + place - int(spans[document, 0])
            raise BadInput(
                f"{self.scorer.name}: the log-probability of document {document}, position {offset} is {-row[place]}"
            )


def _size(requests: Iterable[tuple[Key, int]]) -> int:
    """Tokens of segments; of the pasts that start at one position the longest counts, once."""
    pasts: dict[int, int] = {}
    total = 0
    for (past_begin, past_length, _), length in requests:
        total += length
        pasts[past_begin] = max(past_length, pasts.get(past_begin, 0))
    return total + sum(pasts.values())


def nats_after_plainly(
    scorer: Scorer, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]
) -> list[Floats]:
    """`nats_after` for a model whose state cannot be reused: every past is scored again."""
    return [
        scorer.nats(np.concatenate([past[:, :cut], rows], axis=1))[:, cut:]
        for rows, cut in zip(tokens, cuts, strict=True)
    ]
