"""Checkpoints: the whole state of an unfinished run on disk, so that a run cut short continues as if it had not been.

Kept as safetensors with plain notes beside them: nothing is ever unpickled.
"""

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l2m_design.architecture import Architecture
from l2m_design.corpus import Corpus
from l2m_design.errors import BadInput
from l2m_design.model.weights import read_tensors, write_tensors
from l2m_design.settings import fingerprint
from l2m_design.training.optimiser import Optimiser
from l2m_design.training.recipe import Recipe
from l2m_design.training.sharding import load, whole

FORMAT = 2
MODEL, OPTIMISER, LOSSES, RANDOM, RANDOM_CUDA = "model.", "optimiser.", "losses", "random", "random_cuda"


@dataclass
class Progress:
    """How far a run is. losses: [steps] nats per token of each step done. looked: late loss in nats by step of each
    rung passed. seconds: wall time by what it went into.
    """

    losses: Tensor
    step: int = 0
    looked: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Adds wall time to `seconds`, under the name of what it went into."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._since = seconds, time.perf_counter()

    def into(self, what: str) -> None:
        """The time since the last call went into this."""
        now = time.perf_counter()
        self._seconds[what] = self._seconds.get(what, 0.0) + now - self._since
        self._since = now


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds, read but not yet taken over."""

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]

    def restore(self, model: nn.Module, optimiser: Optimiser, progress: Progress) -> None:
        """Make model, optimiser, progress and torch's random numbers what they were."""
        load(model, _under(self.tensors, MODEL))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(self.tensors, OPTIMISER).items():
            index, part = name.split(".", 1)
            state.setdefault(int(index), {})[part] = value
        optimiser.restore(state)
        progress.losses.copy_(self.tensors[LOSSES])
        progress.step = self.step
        progress.looked.update({int(step): loss for step, loss in self.notes["looked"].items()})
        progress.seconds.update(self.notes["seconds"])
        torch.set_rng_state(self.tensors[RANDOM])
        if RANDOM_CUDA in self.tensors and progress.losses.is_cuda:
            torch.cuda.set_rng_state(self.tensors[RANDOM_CUDA], progress.losses.device)


@dataclass
class Checkpoint:
    """A run's place on disk: path, or none for no checkpoints; every: seconds from one to the next; identity: what the
    run is (see `identity`).
    """

    path: Path | None
    every: float
    identity: str
    _last: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Is it time for the next one?"""
        return self.path is not None and time.monotonic() - self._last >= self.every

    def write(self, model: nn.Module, optimiser: Optimiser, progress: Progress) -> None:
        """Write all that `Saved.restore` needs, atomically. A disk that refuses costs this checkpoint, not the run."""
        if self.path is None:
            return
        tensors = held(model, optimiser)
        tensors |= {LOSSES: progress.losses, RANDOM: torch.get_rng_state()}
        if progress.losses.is_cuda:
            tensors[RANDOM_CUDA] = torch.cuda.get_rng_state(progress.losses.device)
        notes = {"step": progress.step, "looked": progress.looked, "seconds": progress.seconds}
        with contextlib.suppress(OSError):
            write_tensors(self.path, tensors, {"identity": self.identity, "notes": json.dumps(notes)})
        self._last = time.monotonic()

    def read(self, model: nn.Module) -> Saved | None:
        """What a run of the same identity left here; none when there is nothing, something else or a broken file."""
        if self.path is None or not self.path.exists():
            return None
        try:
            tensors, stored = read_tensors(self.path)
            if stored.get("identity") != self.identity:
                return None
            notes = json.loads(stored["notes"])
            weights = {name: value.shape for name, value in _under(tensors, MODEL).items()}
            fits = weights == {name: value.shape for name, value in model.state_dict().items()}
            whole = {LOSSES, RANDOM} <= set(tensors) and {"step", "looked", "seconds"} <= set(notes)
        except (BadInput, KeyError, ValueError):
            return None
        return Saved(int(notes["step"]), tensors, notes) if fits and whole else None

    def remove(self) -> None:
        """Take the file away: the run is over."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def held(model: nn.Module, optimiser: Optimiser) -> dict[str, Tensor]:
    """What a checkpoint holds of both, whole: where they are divided among processes, all must ask at once."""
    tensors = {MODEL + name: whole(value) for name, value in model.state_dict().items()}
    for index, parts in optimiser.state().items():
        tensors |= {f"{OPTIMISER}{index}.{part}": whole(value) for part, value in parts.items()}
    return tensors


def identity(architecture: Architecture, corpus: Corpus, recipe: Recipe) -> str:
    """16 hexadecimal digits that change with anything that decides a run."""
    whole = [FORMAT, architecture.fingerprint, corpus.name, corpus.vocabulary, corpus.fingerprint, recipe.plain()]
    return fingerprint(whole)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
