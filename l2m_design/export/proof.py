"""Proof: an exported folder is loaded in a fresh process, and must say what our model says."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.errors import WorkFailed
from l2m_design.export.targets.base import REMOTE, Target
from l2m_design.model import LanguageModel
from l2m_design.settings import Json

TOLERANCE = 1e-4  # of float32 logits
STEPS = 16
LONGEST = 4096


@dataclass(frozen=True)
class Proof:
    """What held when the folder was loaded back.

    max_logit_difference: against our model over tokens [2 tokens]. cached_difference: of STEPS tokens read one by one
    against all at once, or against ours one by one where the architecture rounds its states. cache_bytes: of one
    sequence after `tokens` tokens, as held and as the law says. None where the reader has no cache.
    """

    format: str
    tokens: int
    max_logit_difference: float
    cached_difference: float | None
    cache_bytes: int | None
    cache_bytes_law: int | None

    def plain(self) -> Json:
        """JSON-ready."""
        return asdict(self)


class Found(TypedDict):
    """What a fresh process found in a folder, as JSON: names of weights that are missing and that have no place; of a
    reader with a cache its bytes, how many tokens it has seen, and whether generation is the same without it.
    """

    format: str
    missing: list[str]
    unexpected: list[str]
    cache_bytes: NotRequired[int]
    generation_equal: NotRequired[bool]
    seen: NotRequired[int]


def tokens_for(architecture: Architecture) -> Tensor:
    """[2 t] random tokens, long enough that windows and chunks evict, the last steps across a chunk's border."""
    windows = [getattr(layer, "window", None) or 0 for layer in architecture.layers]
    chunk = max((getattr(layer, "chunk", 1) for layer in architecture.layers), default=1)
    longest = max(*windows, 4 * chunk, 80) + STEPS
    t = min(-(-longest // chunk) * chunk, LONGEST) + STEPS // 2
    return torch.randint(0, architecture.vocabulary, (2, t), generator=torch.Generator().manual_seed(0))


def prove(model: LanguageModel, target: Target, folder: Path) -> Proof:
    """Load the folder in a fresh process and compare. Raises WorkFailed when anything differs."""
    architecture = model.architecture
    tokens = tokens_for(architecture)
    found, theirs = ask(folder, tokens, target.reader, target.label(architecture) == REMOTE)
    return judge(model, target, tokens, found, theirs)


def judge(model: LanguageModel, target: Target, tokens: Tensor, found: Found, theirs: Tensor) -> Proof:
    """Hold what was found in a folder against our model. Raises WorkFailed with the first thing that differs."""
    architecture, t = model.architecture, tokens.shape[1]
    with torch.inference_mode():
        difference = float((theirs[:, :t] - model.eval()(tokens)).abs().max())
    _refuse(
        target,
        {
            f"weights are missing: {', '.join(found['missing'][:3])}": bool(found["missing"]),
            f"weights that the model does not have: {', '.join(found['unexpected'][:3])}": bool(found["unexpected"]),
            f"logits differ by {difference:.2g}": not difference <= TOLERANCE,
        },
    )
    if "cache_bytes" not in found:
        return Proof(found["format"], t, difference, None, None, None)
    rounded = any(getattr(layer, "state_dtype", None) not in (None, "float32") for layer in architecture.layers)
    with torch.inference_mode():
        expected = by_steps(model, tokens) if rounded else theirs[:, t - STEPS : t]
    cached = float((theirs[:, t:] - expected).abs().max())
    held, law = found["cache_bytes"], target.cache_bytes(architecture, t)
    _refuse(
        target,
        {
            f"cached logits differ by {cached:.2g}": not cached <= TOLERANCE,
            "generation with a cache gives different tokens than without": not (found["generation_equal"] or rounded),
            f"its cache has read {found['seen']} of {t} tokens": found["seen"] != t,
            f"its cache has {held} bytes, the state law predicts {law}": held != law,
        },
    )
    return Proof(found["format"], t, difference, cached, held, law)


def _refuse(target: Target, wrong: dict[str, bool]) -> None:
    """Raises WorkFailed with the first sentence that is so."""
    for sentence, failed in wrong.items():
        if failed:
            raise WorkFailed(f"{target.format}: loaded back, {sentence}; nothing was written")


def by_steps(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Our logits [b STEPS v_] of the last tokens, read one by one after the others as a prompt."""
    _, state = model.prefill(tokens[:, :-STEPS])
    logits = []
    for at in range(tokens.shape[1] - STEPS, tokens.shape[1]):
        output, state = model.step(tokens[:, at], state)
        logits.append(output)
    return torch.stack(logits, dim=1)


def ask(folder: Path, tokens: Tensor, reader: str, own_code: bool) -> tuple[Found, Tensor]:
    """What a fresh process finds in the folder, and its logits. Raises WorkFailed when it cannot load it."""
    with tempfile.TemporaryDirectory() as place:
        question, answer = Path(place) / "tokens.npy", Path(place) / "logits.npy"
        np.save(question, tokens.numpy())
        words = [str(folder), str(question), str(answer), str(STEPS), "own-code" if own_code else "no-code"]
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name(reader)), *words],
            env=os.environ | {"HF_MODULES_CACHE": f"{place}/modules", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            raise WorkFailed(f"the exported folder does not load: {lines[-1]}; nothing was written")
        return json.loads(answer.with_suffix(".json").read_text()), torch.from_numpy(np.load(answer))
