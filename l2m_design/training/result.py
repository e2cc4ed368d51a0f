"""Result: what a training run found, how sure it is, and what it cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.estimates import FEWEST_DOCUMENTS, Estimate, Floats

REPLICATES = 1000
WEIGHTS, RESULT = "weights.safetensors", "result.json"  # what a trained folder holds, and export reads


def by_document(values: Floats, document: NDArray[np.int64]) -> Floats:
    """[documents] means of values [windows], in the order of the documents' numbers [windows].

    Documents that are akin (see Windows.cluster) have one number: they count as one. Fewer than FEWEST_DOCUMENTS say
    nothing of how documents vary: then each window stands for itself, [windows].
    """
    names, which = np.unique(document, return_inverse=True)
    if len(names) < FEWEST_DOCUMENTS:
        return values.copy()
    means: Floats = np.bincount(which, values) / np.bincount(which)
    return means


@dataclass(frozen=True)
class Losses:
    """nats: [windows, length + 1] loss of every token of held-out windows. document: [windows], see Windows.cluster."""

    nats: Floats
    document: NDArray[np.int64]

    def by_position(self) -> Floats:
        """[length + 1] h_t: mean loss in nats of the token number t = 1.., given the t - 1 before it."""
        mean: Floats = self.nats.mean(axis=0)
        return mean

    def late(self) -> Floats:
        """[windows] mean loss given at least half of `length` past tokens, nats per token."""
        late: Floats = self.nats[:, self.nats.shape[1] // 2 + 1 :].mean(axis=1)
        return late

    def late_by_document(self) -> Floats:
        """[documents] late loss, in the order of the documents' numbers."""
        return by_document(self.late(), self.document)

    @property
    def late_loss(self) -> float:
        """Late loss in nats per token, every document counting alike."""
        return float(self.late_by_document().mean())

    def captured(self) -> float:
        """I_q(n;n) in nats, n half the window: early minus late losses, summed (profile, plain form)."""
        mean = self.by_position()
        n = len(mean) // 2
        return float(mean[:n].sum() - mean[n : 2 * n].sum())


@dataclass(frozen=True)
class Result:
    """One trained candidate.

    late_loss: nats per token over positions L/2..L of held-out validation windows; test_late_loss the same on
    test documents, which no search decision has seen. *_by_document: for paired differences.
    loss_by_position: h_t for t = 1 .. L + 1. curve: (tokens, training loss in nats). seconds: wall
    time spent training and evaluating, compiling apart from both. kernels: which faster ones computed, and why others
    that are installed did not; probes: what each of them did on this GPU at the sizes of this model. *excess*: where
    the source knows its exact Bayes loss, losses above it in nats per judged token (a fact), over the second half of
    windows, and over the eighths of a window (see l2m_design.training.excess).
    mi_captured_nats: early minus late losses; of recall tasks, whose law changes along a document, no information.
    decode_ms: of a decoding step, if it was measured; decode_graph: were its steps replayed as a CUDA graph?
    test_late_by_context: by context c in tokens, late losses of the same test tokens with the past cut to c, as
    test_late_by_document; context_seconds: that this took (counted in evaluate_seconds too). micro_batch: windows that
    passed through the model at once, in each process, at the end. matmul_precision: the recipe's.
    """

    late_loss: float
    late_by_document: list[float]
    test_late_loss: float
    test_late_by_document: list[float]
    loss_by_position: list[float]
    mi_captured_nats: float
    curve: list[tuple[int, float]]
    parameters: int
    tokens: int
    train_seconds: float
    evaluate_seconds: float
    peak_memory_bytes: int
    device: str
    seed: int
    kernels: list[str] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    compile_seconds: float = 0.0
    late_excess_nats: float | None = None
    test_late_excess_by_document: list[float] | None = None
    test_excess_by_position: list[float] | None = None
    decode_ms: float | None = None
    decode_graph: bool | None = None
    test_late_by_context: dict[str, list[float]] = field(default_factory=dict)
    context_seconds: float = 0.0
    micro_batch: int | None = None
    matmul_precision: str = "highest"

    def plain(self) -> dict[str, Any]:
        """JSON-ready, floats rounded to 5 digits behind the point."""
        return {key: _rounded(value) for key, value in asdict(self).items()}

    @classmethod
    def of_plain(cls, data: dict[str, Any]) -> "Result":
        """The result that `plain` wrote."""
        return cls(**{**data, "curve": [(tokens, loss) for tokens, loss in data["curve"]]})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value


def context_gains(result: Result) -> dict[int, Estimate]:
    """By context c in tokens, what the past beyond c gains on the test tokens, nats per token, documents resampled."""
    whole = result.test_late_by_document
    return {int(c): paired_difference(cut, whole) for c, cut in result.test_late_by_context.items()}


def effective_context(gains: Mapping[int, Estimate]) -> int:
    """The longest context c, in tokens, from beyond which a model gains by more than chance; 0 where there is none.

    gains: by c, the loss with the past cut to c less the loss with the whole past.
    """
    return max((c for c, gain in gains.items() if gain.low > 0), default=0)


def interval_of_mean(values: Floats, level: float = 0.95) -> Estimate:
    """Mean of one value a document (or window, see by_document), with the interval of resampled ones."""
    rng = np.random.default_rng(0)
    draws = rng.choice(values, size=(REPLICATES, len(values))).mean(axis=1)
    return Estimate.of_draws(float(values.mean()), draws, level)


def paired_difference(ours: list[float], theirs: list[float]) -> Estimate:
    """Mean of ours - theirs over the same documents, with the interval of resampled documents."""
    return interval_of_mean(np.array(ours) - np.array(theirs))
