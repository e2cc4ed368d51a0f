"""Adopted models as folders: the model's own files, the rule of its cache, and the code that reads them, proven."""

import copy
import json
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file
from transformers.utils import cached_file

from l2m_design import __version__
from l2m_design.corpus.tokenizers import TOKENIZER_FILES, HuggingFaceTokenizer, local
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.bundle import ADOPTED, bundle
from l2m_design.export.hub.adopted import RULE, SETTINGS
from l2m_design.export.placing import MODEL_FILES, placed
from l2m_design.export.proof import STEPS, TOLERANCE, ask
from l2m_design.model.adopted import AdoptedModel
from l2m_design.model.planned import PlannedModel
from l2m_design.settings import to_json, write_atomically

CLASS = "AdoptedForCausalLM"
MOST_BORDER = 256
TEMPLATE = Path(__file__).parent / "templates" / "adopted.md"
OWN_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", *TOKENIZER_FILES)


class Adopted(TypedDict):
    """What was written, and how far the folder, loaded by a fresh process, is from the model in memory."""

    files: list[str]
    format: str
    max_logit_difference: float
    cached_difference: float
    cache_bytes: int
    cache_tokens: int


def export_adopted(
    adopted: AdoptedModel | PlannedModel, source: str, out: Path, *, trained: bool, losses: str, force: bool
) -> Adopted:
    """Write the model with its cache into `out`. Raises BadInput for a place that cannot be, WorkFailed when the
    folder, loaded back, reads otherwise.

    source: where the model came from. trained: were its weights changed? losses: a sentence on what was measured.
    """
    with placed(out, force, MODEL_FILES) as staging:
        write_own(adopted.model, source, staging, trained)
        settings = (
            {"layers": adopted.plan.plain()}
            if isinstance(adopted, PlannedModel)
            else asdict(adopted.budget) | {"allocate": adopted.allocate}
        )
        code = {"AutoModelForCausalLM": f"adopted_l2m.{CLASS}"}
        config = json.loads((staging / "config.json").read_text())
        config |= {SETTINGS: settings, "auto_map": code}
        write_atomically(staging / "config.json", to_json(config))
        save_file(adopted.use.state_dict(), str(staging / RULE), {"format": "pt"})
        for name, text in bundle(ADOPTED).items():
            write_atomically(staging / name, text)
        found = prove(adopted, staging)
        card = Template(TEMPLATE.read_text()).substitute(
            source=Path(source).name or source, cache=described(adopted), losses=losses, version=__version__, **found
        )
        write_atomically(staging / "README.md", card)
        for path in staging.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors lets nobody else read
        files = sorted(path.name for path in staging.iterdir())
    return {"files": [str(out / name) for name in files], **found}  # type: ignore[typeddict-item]


def described(adopted: AdoptedModel | PlannedModel) -> str:
    """The cache in a sentence."""
    if isinstance(adopted, PlannedModel):
        kinds = Counter(str(kept) for heads in adopted.plan.layers for kept in heads)
        listed = "; ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
        return f"the tokens that a plan says for each layer ({adopted.plan.picture}; kv heads by cache: {listed})"
    budget = adopted.budget
    grown = {
        "fixed": f"{budget.window:,}",
        "power": f"{budget.keep:.4g} t^{budget.exponent:g} of t tokens",
        "log": f"{budget.keep:.4g} · {budget.chunk} · ln(t/{budget.chunk}) of t tokens",
    }[budget.law]
    whose = {
        "head": "every kv head has the same number",
        "layer": "the kv heads of a layer compete for them",
        "model": "all kv heads compete for them",
    }
    return (
        f"{grown} older tokens per kv head on average ({whose[adopted.allocate]}), and always the current and the "
        f"previous chunk of {budget.chunk} tokens and the first {budget.sinks} tokens"
    )


def write_own(model: Any, source: str, folder: Path, trained: bool) -> None:
    """Weights, config and tokenizer as they lie in the source, or as transformers saves what was loaded."""
    path = local(source, "MODEL")
    if not path.exists():
        path = Path(cached_file(source, "config.json")).parent  # where the model of this name was stored
    if path.is_dir() and not trained:
        for name in OWN_FILES:
            for file in path.glob(name):
                shutil.copy2(file, folder / file.name)
        return
    of_gguf = getattr(model, "hf_quantizer", None), getattr(model.config, "quantization_config", None)
    if of_gguf[1] is not None:  # its weights were made plain as they were loaded
        model.hf_quantizer = None
        del model.config.quantization_config
    try:
        model.save_pretrained(folder)
    finally:
        if of_gguf[1] is not None:
            model.hf_quantizer, model.config.quantization_config = of_gguf
    try:
        HuggingFaceTokenizer(source).save(folder)
    except BadInput:
        return  # a model without a tokenizer stays one


def prove(adopted: AdoptedModel | PlannedModel, folder: Path, own_code: bool = True) -> dict[str, Any]:
    """Load the folder in a fresh process and hold it against the model in memory. Raises WorkFailed.

    own_code: does it need the code in the folder?
    """
    c, vocabulary = _border(adopted), int(adopted.model.get_input_embeddings().weight.shape[0])
    t = 6 * c + STEPS // 2
    tokens = torch.randint(0, vocabulary, (2, t), generator=torch.Generator().manual_seed(0))
    if next(adopted.model.parameters()).device.type != "cpu" or adopted.model.dtype != torch.float32:
        adopted = copy.deepcopy(adopted).cpu().float()  # as the folder is read in the proof
    found, theirs = ask(folder, tokens, "loaded.py", own_code)
    with torch.inference_mode():
        ours = adopted(tokens)
    difference = float((theirs[:, :t] - ours).abs().max())
    cached = float((theirs[:, t:] - ours[:, -STEPS:]).abs().max())
    law = adopted.cache_bytes(t)
    for sentence, failed in {
        f"logits differ by {difference:.2g}": not difference <= TOLERANCE * max(1.0, float(ours.abs().max())),
        f"cached logits differ by {cached:.2g}": not cached <= TOLERANCE * max(1.0, float(ours.abs().max())),
        "generation with a cache gives different tokens than without": not found["generation_equal"],
        f"its cache has {found['cache_bytes']} bytes, the state law predicts {law}": found["cache_bytes"] != law,
    }.items():
        if failed:
            raise WorkFailed(f"{CLASS if own_code else found['format']}: loaded back, {sentence}; nothing was written")
    return {
        "format": found["format"],
        "max_logit_difference": difference,
        "cached_difference": cached,
        "cache_bytes": law,
        "cache_tokens": t,
    }


def _border(adopted: AdoptedModel | PlannedModel) -> int:
    """Tokens, some of which are evicted before six times as many were read."""
    if isinstance(adopted, AdoptedModel):
        return adopted.budget.chunk
    windows = [kept.window // 4 for heads in adopted.plan.layers for kept in heads if "window" in kept.cache]
    return max(min(adopted.plan.chunks, default=8), min(max(windows, default=8), MOST_BORDER))
