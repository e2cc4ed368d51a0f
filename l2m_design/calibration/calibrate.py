"""Calibration: the capacity of a state element, in nats, measured for each mixer type on Santa Fe sources.

One-layer models of several state sizes are trained on documents of exactly one window. What a model captured of the
exact I(n;n), n half the window, is read off its own losses on the fact tokens (keys tell nothing of each other): early
minus late ones, the profile (arXiv 2503.04725, section 4), beside the elements that it holds between the halves.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self, TypedDict

import numpy as np
from pydantic import Field, field_validator, model_validator

from l2m_design.architecture import Architecture
from l2m_design.corpus.synthetic.santa_fe import SantaFe, SantaFeSettings
from l2m_design.errors import BadInput, first_line
from l2m_design.estimates import Floats
from l2m_design.laws import STATE_KINDS
from l2m_design.settings import Json, Values
from l2m_design.terms import unknown_kind
from l2m_design.training.batches import held_out_windows
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train

WIDTH, MLP_RATIO = 128, 2.0
WINDOWS = 128
RECALL: Json = {"heads": 2, "qk_norm": True, "short_conv": 4}  # a query meets the key of the pair before it
HEADS = RECALL | {"kv_heads": 1}

Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Length = Annotated[int, Field(ge=64, le=2**20, multiple_of=4)]


class CalibrationSettings(Values):
    """kinds of laws.STATE_KINDS; the source (beta, bits of a fact, keys); lengths of windows in tokens, two halves of
    whole pairs; steps of each run, of batch_tokens each; learning rates, of which the best is kept; seeds.

    Facts of several bits let the state be the limit, not the number of keys that it can tell apart.
    """

    kinds: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = STATE_KINDS
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.7
    bits: Annotated[int, Field(ge=1, le=8)] = 4
    keys: Annotated[int, Field(ge=2, le=65536)] = 256
    lengths: Annotated[tuple[Length, ...], Field(strict=False, min_length=1)] = (512, 2048)
    steps: Annotated[int, Field(ge=1)] = 600
    batch_tokens: Annotated[int, Field(ge=64)] = 16384
    rates: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1)] = (6e-3, 1.2e-2)
    seeds: Annotated[int, Field(ge=1, le=100)] = 3

    @field_validator("lengths", "rates")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(given))

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for kind in given:
            if message := unknown_kind(kind):
                raise ValueError(message)
        return tuple(dict.fromkeys(given))

    @model_validator(mode="after")
    def _recipes_fit(self) -> Self:
        for length in self.lengths:
            if self.batch_tokens < length:
                raise ValueError(f"batch_tokens ({self.batch_tokens}) must be at least one window of {length} tokens")
            self.recipe(length, self.rates[0], 0)
        return self

    def source(self, length: int) -> SantaFe:
        """Documents of one window each, twice as many as training windows in the budget, a thousand at least."""
        documents = min(10**6, max(1000, 2 * self.steps * self.batch_tokens // length))
        settings = {"beta": self.beta, "bits": self.bits, "keys": self.keys, "pairs": length // 2}
        return SantaFe(SantaFeSettings.parse(settings | {"documents": documents}, "calibrate"))

    def exact(self, length: int) -> float:
        """I(n;n) of the source, nats, n half of the length."""
        return self.source(length).information(length // 2)

    def recipe(self, length: int, rate: float, seed: int) -> Recipe:
        """How each run trains; a window's first token is given, so its length is one less."""
        batch_tokens = self.batch_tokens // length * (length - 1)
        return Recipe(
            length=length - 1, batch_tokens=batch_tokens, tokens=self.steps * batch_tokens, learning_rate=rate,
            seed=seed, rungs=(), windows=WINDOWS, contexts=(),
        )  # fmt: skip


class Job(TypedDict):
    """Everything that decides a run, as JSON: a layer of a kind and size, and how and on what it is trained."""

    kind: str
    size: str
    layer: Json
    rate: float
    seed: int
    source: str
    width: int
    mlp_ratio: float
    length: int
    steps: int
    batch_tokens: int


class Nats(TypedDict):
    """Nats by name, see captured_nats."""

    captured_nats: float
    at_least_nats: float
    exact_nats: float
    early_nats: float
    late_nats: float


class Found(TypedDict, total=False):
    """What came of a run, as JSON; of one whose loss was not finite `failed` instead of the nats."""

    elements: int
    parameters: int
    failed: str
    captured_nats: float
    at_least_nats: float
    exact_nats: float
    early_nats: float
    late_nats: float
    steps: int
    seconds: float
    device: str


def layers_of(kind: str, n: int) -> list[tuple[str, Json]]:
    """The layers of a kind that are trained, each with a name of its size: the state grows along the list.

    n: tokens of half a window; budgets and chunks are shares of it. Attention and latent attention hold all of the
    past, so what varies is a token's share of it. Sparse attention keeps evenly spread tokens, gamma 0.7.
    """
    chunk = 2 ** max(1, (n // 16).bit_length() - 1)
    sized: dict[str, tuple[str, tuple[float, ...], Json]] = {
        "attention": ("head_dim", (4, 8, 16, 32, 64), {"kind": "attention", **HEADS}),
        "window": (
            "window",
            (n // 8, n // 4, n // 2, n),
            {"kind": "attention", **HEADS, "head_dim": 16},
        ),
        "mla": ("kv_rank", (2, 6, 14, 30, 62), {"kind": "mla", **RECALL, "head_dim": 16, "rope_dim": 2}),
        "sparse_attention": (
            "keep",
            (0.25, 0.5, 1.0, 2.0),
            {"kind": "sparse_attention", **HEADS, "head_dim": 16, "chunk": chunk, "exponent": 0.7},
        ),
        "mamba1": ("d_state", (4, 16, 64), {"kind": "mamba1"}),
        "mamba2": ("d_state", (4, 16, 64, 256, 1024), {"kind": "mamba2", "head_dim": 32}),
        "gated_deltanet": ("head_dim", (8, 16, 32, 64), {"kind": "gated_deltanet", "heads": 2, "value_expand": 1}),
        "log_linear": ("d_state", (4, 16, 64), {"kind": "log_linear", "head_dim": 32}),
        "checkpointed_ssm": ("d_state", (1, 4, 16), {"kind": "checkpointed_ssm", "head_dim": 32, "exponent": 0.7}),
    }
    name, sizes, layer = sized[kind]
    return [(f"{name}={size:g}", {**layer, name: size}) for size in sizes]


def jobs(settings: CalibrationSettings) -> Iterator[Job]:
    """Run by run; seeds last, so that a stop leaves whole kinds of runs."""
    for seed in range(settings.seeds):
        for length in settings.lengths:
            source = settings.source(length).name
            for kind in settings.kinds:
                for size, layer in layers_of(kind, length // 2):
                    for rate in settings.rates:
                        yield {
                            "kind": kind,
                            "size": size,
                            "layer": layer,
                            "rate": rate,
                            "seed": seed,
                            "source": source,
                            "width": WIDTH,
                            "mlp_ratio": MLP_RATIO,
                            "length": length,
                            "steps": settings.steps,
                            "batch_tokens": settings.batch_tokens,
                        }


def architecture_of(job: Job, vocabulary: int) -> Architecture:
    """The one-layer model of a job."""
    plain = {
        "vocabulary": vocabulary,
        "width": job["width"],
        "mlp": {"ratio": job["mlp_ratio"]},
        "layers": [job["layer"]],
    }
    return Architecture.parse(plain, f"calibrate: {job['kind']} {job['size']}")


@dataclass(frozen=True)
class Row:
    """A run: what decided it and what came of it.

    found: elements (held at n tokens), captured_nats, at_least_nats and exact_nats of I(n;n) (see captured_nats),
    early_nats and late_nats (losses of the facts of each half of a window, summed), eta; of a run whose loss was not
    finite, `failed` instead.
    """

    job: Job
    found: Found

    def plain(self) -> Json:
        """JSON-ready."""
        return {"job": self.job, "found": self.found}


class Rows:
    """The table of runs in a file, a line of JSON each, which grows by a line as a run ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Row]:
        """What the file holds; a last line that was cut off is taken away. Raises BadInput where lines are no rows."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        try:
            rows = [Row(line["job"], line["found"]) for line in map(json.loads, whole.splitlines())]
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                f"{self.path}: not a file of rows that `l2m calibrate` wrote; move it or give another `out`"
            ) from None
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return rows

    def add(self, row: Row) -> None:
        """Write one more line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.plain(), allow_nan=False) + "\n")


def measured(
    settings: CalibrationSettings,
    rows: Rows,
    device: Any,
    on_step: Callable[[str, int, int], None] = lambda what, done, total: None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """The rows of all jobs in their order; those that the file lacks are trained now and added as they end."""
    known = {_key(row.job): row for row in rows.read()}
    todo = list(jobs(settings))
    found = []
    for index, job in enumerate(todo):
        row = known.get(_key(job))
        if row is None:
            name = f"{index + 1} of {len(todo)}: {job['kind']} {job['size']}"
            row = Row(job, _run(job, settings, device, partial(on_step, name)))
            rows.add(row)
            on_row(row)
        found.append(row)
    return found


def ended(settings: CalibrationSettings, rows: Rows) -> list[Row]:
    """The rows that the file has of the jobs, in their order."""
    known = {_key(row.job): row for row in rows.read()}
    return [known[key] for key in map(_key, jobs(settings)) if key in known]


def missing(settings: CalibrationSettings, rows: Rows) -> list[Job]:
    """The jobs that the file has no row of."""
    known = {_key(row.job) for row in rows.read()}
    return [job for job in jobs(settings) if _key(job) not in known]


def _key(job: Job) -> str:
    return json.dumps(job, sort_keys=True)


def _run(job: Job, settings: CalibrationSettings, device: Any, on_step: Callable[[int, int], None]) -> Found:
    began, length = time.perf_counter(), job["length"]
    source = settings.source(length)
    architecture = architecture_of(job, source.vocabulary)
    recipe = settings.recipe(length, job["rate"], job["seed"])
    held, parameters = architecture.state.elements(length // 2), architecture.parameters
    try:
        _, result = train(architecture, source, recipe, device, on_step=on_step)
    except FloatingPointError as error:
        return {"elements": held, "parameters": parameters, "failed": first_line(error), "device": str(device)}
    tokens = held_out_windows(source, "validation", recipe.length, recipe.windows).tokens()
    best = source.bayes_nats(tokens).mean(axis=0)
    nats = captured_nats(np.array(result.loss_by_position), best, settings.exact(length))
    return {
        "elements": held,
        "parameters": parameters,
        "captured_nats": round(nats["captured_nats"], 5),
        "at_least_nats": round(nats["at_least_nats"], 5),
        "exact_nats": round(nats["exact_nats"], 5),
        "early_nats": round(nats["early_nats"], 5),
        "late_nats": round(nats["late_nats"], 5),
        "steps": recipe.steps,
        "seconds": round(time.perf_counter() - began, 1),
        "device": str(device),
    }


def captured_nats(losses: Floats, best: Floats, exact: float) -> Nats:
    """Nats by name: captured I_q(n;n), at_least, early and late (losses of the facts of either half, summed).

    losses, best: [2 n] mean loss by position of the model and of the exact Bayes predictor on the same windows, which
    start with a key. exact: I(n;n). The predictor's own early minus late losses on these windows differ from I(n;n) by
    the chance of the draw, which the model shares: captured = exact + (model's difference - predictor's).
    at_least: the same with the predictor's early losses for the model's, which no model can take for information: it
    falls short by all that the model fails to learn inside the second half, and is often below zero.
    """
    n = len(losses) // 2
    early, late = (float(losses[start : start + n : 2].sum()) for start in (1, n + 1))
    best_early, best_late = (float(best[start : start + n : 2].sum()) for start in (1, n + 1))
    return {
        "captured_nats": exact + (early - best_early) - (late - best_late),
        "at_least_nats": exact - (late - best_late),
        "exact_nats": exact,
        "early_nats": early,
        "late_nats": late,
    }
