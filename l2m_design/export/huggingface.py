"""Hugging Face export: the first target that carries the architecture, written whole and proven by loading it back."""

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
import torch

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.card import Known, card, write_card
from l2m_design.export.exported import Exported
from l2m_design.export.losses import of_these_weights
from l2m_design.export.placing import MODEL_FILES, placed
from l2m_design.export.proof import prove
from l2m_design.export.readme import readme
from l2m_design.export.targets import TARGETS, Target, pick
from l2m_design.export.targets.base import REMOTE
from l2m_design.export.tokenizer import Carried
from l2m_design.model import LanguageModel, build
from l2m_design.model.weights import load_weights
from l2m_design.settings import to_json, write_atomically


@dataclass(frozen=True)
class Export:
    """What is to be written.

    weights: trained ones, else fresh from the seed. known: verdict and provenance of the architecture. tokenizer: goes
    into the folder (see export.tokenizer).
    """

    architecture: Architecture
    weights: Path | None = None
    seed: int = 0
    known: Known = field(default_factory=Known)
    tokenizer: Carried | None = None

    def model(self) -> LanguageModel:
        """The model with its weights."""
        torch.manual_seed(self.seed)
        return (load_weights(self.architecture, self.weights) if self.weights else build(self.architecture)).eval()


def export_huggingface(work: Export, out: Path, name: str | None = None, force: bool = False) -> Exported:
    """Write the model with its card into `out`; answers what was written and proven.

    name: one target instead of the first that fits and is proven. force: replace what is there. Raises BadInput when no
    target carries it or the tokenizer has too many tokens, WorkFailed when the proof fails.
    """
    architecture = work.architecture
    if work.tokenizer:
        work.tokenizer.check(architecture)
    check_room(architecture.parameters, out)
    failed: dict[str, str] = {}
    while True:
        target, passed_over = pick(architecture, name, failed)
        try:
            written = _written(target, work, out, force)
        except WorkFailed as error:
            if name is not None or target is TARGETS[-1]:
                raise
            failed[target.name] = str(error)
        else:
            return {**written, "passed_over": passed_over, "failed": failed}


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
                f"{parameters:,} parameters need {needed / 2**30:,.1f} GiB of {what}, but "
                f"{free / 2**30:,.1f} GiB are free; `to` card writes no weights"
            )


def _written(target: Target, work: Export, out: Path, force: bool) -> Exported:
    architecture, tokenizer, weights = work.architecture, work.tokenizer, work.weights
    with placed(out, force, MODEL_FILES) as staging:
        model = work.model()
        write_model(target, model, staging)
        spoken = tokenizer.settle(staging, target.label(architecture) == REMOTE) if tokenizer else None
        proof = prove(model, target, staging)
        content = card(architecture, None, {}).knowing(work.known)
        content = replace(
            content,
            provenance=of_these_weights(content.provenance, weights),
            proven=proof.plain() | {"label": target.label(architecture), "tokenizer": spoken and asdict(spoken)},
        )
        write_card(content, staging)
        write_atomically(
            staging / "README.md", readme(target, architecture, proof, content, weights is not None, spoken)
        )
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
        "label": target.label(architecture),
        "tokenizer": spoken.sentence if spoken else None,
    }


def write_model(target: Target, model: LanguageModel, folder: Path) -> None:
    """config.json, the weights, and code where the class is not transformers' own."""
    for name, text in target.files().items():
        write_atomically(folder / name, text)
    write_atomically(folder / "config.json", to_json(target.config(model.architecture)))
    target.save(target.weights(model), folder)
