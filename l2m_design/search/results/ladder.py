"""The fidelity ladder: what each rung of a search costs, and how well it ranks candidates as the next one does."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from l2m_design.architecture import Architecture
from l2m_design.estimates import Estimate, Floats
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.values import Rung

REPLICATES = 1000
FEWEST = 4
Scores = dict[str, float]  # by drawing and learning rate, small is good


def spearman(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Estimate | None:
    """Rank correlation with the interval of resampled candidates; none for fewer than FEWEST."""
    if len(ours) < FEWEST:
        return None
    table = np.array([ours, theirs])
    value = _rank_correlation(table)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, table.shape[1], size=(REPLICATES, table.shape[1]))
    draws = np.array([_rank_correlation(table[:, row]) for row in rows])
    draws = draws[np.isfinite(draws)]
    return Estimate.of_draws(value, draws, level) if math.isfinite(value) and len(draws) > REPLICATES // 2 else None


def _rank_correlation(table: Floats) -> float:
    ranks = stats.rankdata(table, axis=1)
    spread = ranks.std(axis=1).prod()
    if spread == 0:
        return math.nan
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / spread)


def ladder(records: list[Record], finals: list[FinalRun], length: int | None) -> list[Rung]:
    """The rungs from cheap to dear.

    Candidates that were stopped at a rung are missing on the next: its correlation is that of those which went on.
    """
    rungs = [rung for rung in _rungs(records, finals, length) if rung[1]]
    found = []
    for index, (name, scores, seconds) in enumerate(rungs):
        then = rungs[index + 1][1] if index + 1 < len(rungs) else {}
        both = [key for key in scores if key in then]
        correlation = spearman([scores[key] for key in both], [then[key] for key in both])
        found.append(Rung(name, len(scores), round(seconds, 4), len(both), correlation))
    return found


def _rungs(records: list[Record], finals: list[FinalRun], length: int | None) -> list[tuple[str, Scores, float]]:
    own = [r for r in records if r.copy_of is None and r.state in ("complete", "pruned")]
    done = [r for r in own if r.state == "complete"]
    sizes = {_key(r): -math.log2(max(1, r.state_bytes)) for r in own}
    rungs = [("architecture only: the larger state first", sizes, _mean(r.drawing_seconds for r in own))]
    recalled = {_key(r): r.recall for r in own if r.recall is not None}
    seconds = _mean(r.recall_seconds for r in own if r.recall is not None)
    rungs.append(("recall of a Santa Fe source", recalled, seconds))
    whole = _mean(r.outcome.train_seconds + r.outcome.evaluate_seconds for r in done if r.outcome)
    tokens = next((r.outcome.tokens for r in done if r.outcome), 0)
    looks = sorted({seen for r in own for seen, _ in r.rungs})
    for seen in looks:
        scores = {_key(r): loss for r in own for at, loss in r.rungs if at == seen}
        rungs.append((f"the corpus, {seen:,} tokens", scores, whole * seen / tokens if tokens else 0.0))
    rungs.append((f"the corpus, {tokens:,} tokens", {_key(r): r.late_loss or 0.0 for r in done}, whole))
    runs = [run for run in finals if run.result and run.job.length == length]
    by_drawing: dict[str, list[FinalRun]] = {}
    for run in runs:
        by_drawing.setdefault(_architecture_key(run), []).append(run)
    best = _best_rate_keys(done)
    means = {
        best[key]: _mean(run.result.late_loss for run in group if run.result)
        for key, group in by_drawing.items()
        if key in best
    }
    spent = _mean(sum(run.result.train_seconds for run in group if run.result) for group in by_drawing.values())
    rungs.append((f"finalists, {length or 0:,} tokens of context", means, spent))
    return rungs


def _key(record: Record) -> str:
    return f"{record.fingerprint} {record.rate:g}"


def _architecture_key(run: FinalRun) -> str:
    return Architecture.parse(run.job.architecture, run.job.name).fingerprint


def _best_rate_keys(done: list[Record]) -> dict[str, str]:
    """By architecture, the key of its trial with the least loss."""
    found: dict[str, Record] = {}
    for record in done:
        if record.fingerprint not in found or (record.late_loss or 0) < (found[record.fingerprint].late_loss or 0):
            found[record.fingerprint] = record
    return {fingerprint: _key(record) for fingerprint, record in found.items()}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0
