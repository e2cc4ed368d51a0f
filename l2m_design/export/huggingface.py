"""Hugging Face export: the first target that carries the drawing, written whole and proven by loading it back."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.card import card, write_card
from l2m_design.export.placing import MODEL_FILES, placed
from l2m_design.export.proof import prove
from l2m_design.export.readme import LOSSES, readme
from l2m_design.export.targets import TARGETS, Target, pick
from l2m_design.export.targets.base import REMOTE
from l2m_design.export.tokenizer import Carried
from l2m_design.model import LanguageModel, build
from l2m_design.model.weights import load_weights
from l2m_design.settings import read_mapping, to_json, write_atomically
from l2m_design.training.result import RESULT, interval_of_mean


def export_huggingface(
    drawing: Architecture,
    out: Path,
    weights: Path | None = None,
    seed: int = 0,
    name: str | None = None,
    force: bool = False,
    known: dict[str, Any] | None = None,
    tokenizer: Carried | None = None,
) -> dict[str, Any]:
    """Write the model with its card into `out`; answers what was written and proven.

    weights: trained ones, else fresh from the seed. name: one target instead of the first that fits and is proven.
    known: verdict and provenance of the drawing. tokenizer: goes into the folder (see export.tokenizer). Raises
    BadInput when no target carries it or the tokenizer has too many tokens, WorkFailed when the proof fails.
    """
    if tokenizer:
        tokenizer.check(drawing)
    check_room(drawing.parameters, out)
    failed: dict[str, str] = {}
    while True:
        target, passed_over = pick(drawing, name, failed)
        try:
            written = _written(target, drawing, out, weights, seed, force, known or {}, tokenizer)
        except WorkFailed as error:
            if name is not None or target is TARGETS[-1]:
                raise
            failed[target.name] = str(error)
        else:
            return written | {"passed_over": passed_over, "failed": failed}


def check_room(parameters: int, out: Path) -> None:
    """Raises BadInput where the memory or the disk cannot hold so many float32 weights.

    Memory holds them twice, here and in the process that loads them back.
    """
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    weights = 4 * parameters
    for what, needed, free in (
        ("memory", 2 * weights, psutil.virtual_memory().available),
        (f"disk at {there}", weights, shutil.disk_usage(there).free),
    ):
        if needed > free:
            raise BadInput(
                f"{parameters:,} parameters need {needed / 2**30:,.1f} GiB of {what}, "
                f"{free / 2**30:,.1f} are free; --to card writes no weights"
            )


def _written(
    target: Target,
    drawing: Architecture,
    out: Path,
    weights: Path | None,
    seed: int,
    force: bool,
    known: dict[str, Any],
    tokenizer: Carried | None,
) -> dict[str, Any]:
    with placed(out, force, MODEL_FILES) as staging:
        torch.manual_seed(seed)
        model = (load_weights(drawing, weights) if weights else build(drawing)).eval()
        write_model(target, model, staging)
        spoken = tokenizer.settle(staging, target.label(drawing) == REMOTE) if tokenizer else None
        proof = prove(model, target, staging)
        content = card(drawing, None, {}) | known
        content["provenance"] = _of_these_weights(content["provenance"], weights)
        content["export"] = proof.plain() | {"label": target.label(drawing)}
        content["export"]["tokenizer"] = spoken and asdict(spoken)
        write_card(content, staging)
        write_atomically(staging / "README.md", readme(target, drawing, proof, content, weights is not None, spoken))
        files = sorted(path.name for path in staging.iterdir())
    return {
        "files": [str(out / name) for name in files],
        "format": proof.format,
        "loads": True,
        "max_logit_difference": proof.max_logit_difference,
        "cached_difference": proof.cached_difference,
        "cache_bytes": {"tokens": proof.tokens, "held": proof.cache_bytes, "law": proof.cache_bytes_law},
        "proven_by": target.reader.removesuffix(".py"),
        "target": target.name,
        "label": target.label(drawing),
        "tokenizer": spoken and spoken.sentence,
    }


def _of_these_weights(provenance: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """The provenance with losses of the exported weights alone; those of the design, under other weights, apart."""
    others = {key: provenance[key] for key in LOSSES if provenance.get(key) is not None}
    kept = {key: value for key, value in provenance.items() if key not in (*LOSSES, "result")}
    return kept | ({"other_weights": others} if others else {}) | measured(weights)


def measured(weights: Path | None) -> dict[str, Any]:
    """What `l2m train` found with these weights: the result.json beside them, losses with intervals over documents."""
    path = weights and weights.parent / RESULT
    if not path or not path.exists():
        return {}
    result = read_mapping(path)
    found = {"result": path.name} | {
        key: result[key] for key in ("corpus", "recipe", "mi_captured_nats") if key in result
    }
    for key, documents in (("loss", "late_by_document"), ("test_loss", "test_late_by_document")):
        if values := result.get(documents):
            found[key] = interval_of_mean(np.array(values)).plain()
    return found


def write_model(target: Target, model: LanguageModel, folder: Path) -> None:
    """config.json, the weights, and code where the class is not transformers' own."""
    for name, text in target.files().items():
        write_atomically(folder / name, text)
    write_atomically(folder / "config.json", to_json(target.config(model.architecture)))
    target.save(target.weights(model), folder)
