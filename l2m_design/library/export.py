"""`l2m.export`: write an architecture, with trained weights if it has some, as files that other software reads."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from l2m_design import __version__
from l2m_design.architecture import Architecture
from l2m_design.architecture.scaling import scaled, summary
from l2m_design.corpus.tokenizers import TOKENIZER_FILES
from l2m_design.errors import BadInput
from l2m_design.export.card import (
    CARD_FILES,
    Card,
    Judged,
    Known,
    Provenance,
    card,
    check_neighbours,
    holds_weights,
    known,
    write_card,
)
from l2m_design.export.losses import of_these_weights
from l2m_design.export.placing import placed
from l2m_design.export.plans import is_plan
from l2m_design.export.study import known_demand
from l2m_design.export.tokenizer import Carried, carried
from l2m_design.library.registered import registered
from l2m_design.search.tracking.registry import check_model_name
from l2m_design.search.tracking.store import check_uri, default_uri
from l2m_design.settings import Json
from l2m_design.training.result import WEIGHTS

if TYPE_CHECKING:
    from l2m_design.export.exported import Bytes, Exported, Scaled
    from l2m_design.training.trained import Trained

CARDS = {"card": ("yaml", "json"), "yaml": ("yaml",), "json": ("json",)}
TARGETS = ("llama", "mistral", "smollm3", "qwen3", "granite", "qwen3_5", "deepseek", "remote", "mamba-ssm")
FORMS = (*CARDS, "huggingface", *TARGETS)
PLANNED = ("huggingface", "remote", "native")  # of a plan (plan.yaml of a study with `start`)
FRESH = "fresh"


def export(
    source: "str | Path | Architecture | Trained",
    to: str = "card",
    out: str | Path = "exported",
    *,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    parameters: int | None = None,
    seed: int = 0,
    force: bool = False,
    register: str | None = None,
    tracking: str | None = None,
) -> "Exported":
    """Write an architecture as files in a format; a written model is loaded back and its logits are compared.

    source: a Trained model, an Architecture, or a path: of an architecture, a card, the report folder of a study, a
    plan, or a folder that `l2m train` wrote. to: one of FORMS; for a plan, one of PLANNED. out: folder to write.
    weights: file of weights, or "fresh" for random ones; by default those of the source, else random. tokenizer: a
    folder, bytes or none; by default the tokenizer beside the weights, else beside the source. parameters: enlarge the
    architecture to about this many parameters. seed: random seed of fresh weights. force: replace an earlier export.
    register: name of a model in MLflow's registry at `tracking` (a URI); the folder becomes its next version. Returns
    what was written, as JSON. Raises BadInput, and WorkFailed if the written files do not give the same logits or the
    store does not accept the model.
    """
    if register is not None:
        check_model_name(register)
        check_uri(tracking or default_uri())
    result = _export(
        source, to, out, weights=weights, tokenizer=tokenizer, parameters=parameters, seed=seed, force=force
    )
    if register is not None:
        result["registered"] = registered(Path(out).expanduser(), register, tracking or default_uri(), result)
    return result


def _export(
    source: "str | Path | Architecture | Trained",
    to: str,
    out: str | Path,
    *,
    weights: str | Path | None,
    tokenizer: str | None,
    parameters: int | None,
    seed: int,
    force: bool,
) -> "Exported":
    if isinstance(source, str | Path) and is_plan(source):
        given: Json = {"weights": weights, "tokenizer": tokenizer, "parameters": parameters}
        return _planned(str(source), to, Path(out).expanduser(), force, given)
    _check_form(to, weights, parameters)
    if not isinstance(source, str | Path):
        with TemporaryDirectory() as folder:
            source.save(Path(folder) if hasattr(source, "model") else Path(folder) / "architecture.yaml")
            return _export(
                folder,
                to,
                out,
                weights=weights,
                tokenizer=tokenizer,
                parameters=parameters,
                seed=seed,
                force=force,
            )
    source, out = str(Path(source).expanduser()), Path(out).expanduser()
    architecture, about, grown = Architecture.load(source), known(source), None
    file = None if to in CARDS or parameters is not None else trained_weights(weights, source)
    spoken = carried(tokenizer, file, source)
    if parameters is not None:
        architecture, about, grown = _grown(architecture, source, parameters)
    if to in CARDS:
        content = card(architecture, None, {"source": source}).knowing(about)
        if parameters is None and (beside := trained_weights(None, source)):
            content = replace(content, provenance=of_these_weights(content.provenance, beside))
        result = _card(content, to, out, force, spoken)
    else:
        from l2m_design.export.huggingface import Export, export_huggingface

        target = None if to == "huggingface" else to
        work = Export(architecture, file, seed, about, spoken)
        result = export_huggingface(work, out, target, force)
        result["weights"] = str(file) if file else None
    if grown:
        result["scaled"] = grown
    return result


def _check_form(to: str, weights: str | Path | None, parameters: int | None) -> None:
    """Raises BadInput if the options contradict each other or the format is unknown."""
    if to not in FORMS:
        raise BadInput(f"`to`: found '{to}', allowed: {', '.join(FORMS)}")
    if weights and to in CARDS:
        raise BadInput(f"`weights`: format {to} contains no weights; leave `weights` out")
    if weights and parameters is not None and str(weights) != FRESH:
        raise BadInput("`weights`: cannot be given together with `parameters`, which changes the architecture")


def _planned(source: str, to: str, out: Path, force: bool, given: Json) -> "Exported":
    """Export the model of a plan with its caches: as a class of transformers if one supports them, else with our code.

    given: options that are allowed for architectures only.
    """
    from l2m_design.export.planned import export_plan

    if to not in PLANNED:
        raise BadInput(f"`to`: found '{to}', allowed for a plan: {', '.join(PLANNED)}")
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"`{name}`: not allowed for a plan, which has the weights and the tokenizer of its model")
    native = {"huggingface": None, "remote": False, "native": True}[to]
    found = export_plan(source, out, native=native, force=force)
    held: Bytes = {"tokens": found["cache_tokens"], "held": found["cache_bytes"], "law": found["cache_bytes"]}
    return {
        "files": found["files"],
        "format": found["format"],
        "label": "with the caches of the plan",
        "loads": True,
        "max_logit_difference": found["max_logit_difference"],
        "cached_difference": found["cached_difference"],
        "cache_bytes": held,
        "proven_by": "loaded",
        "failed": {},
        "weights": "those of the plan's model",
        "tokenizer": "that of the plan's model",
    }


def trained_weights(given: str | Path | None, source: str) -> Path | None:
    """Return the weights of an export: the given file, else those in a folder of `l2m train`; None for random ones."""
    if given is not None:
        return None if str(given) == FRESH else Path(given).expanduser()
    beside = Path(source) / WEIGHTS
    return beside if beside.is_file() else None


def _grown(architecture: Architecture, source: str, parameters: int) -> "tuple[Architecture, Known, Scaled]":
    """Return the scaled architecture, the verdict and provenance of its card, and the sizes that were scaled."""
    from l2m_design.export.targets import pick

    made = scaled(architecture, parameters)
    demand = known_demand(source)
    judged = Judged.by(demand, made) if demand else None
    provenance: Provenance = {
        "l2m_design": __version__,
        "drawing": made.fingerprint,
        "scaled_from": architecture.fingerprint,
        "source": source,
    }
    grown: Scaled = {
        **summary(architecture, made),
        "label": pick(made)[0].label(made),
        "verdict": judged.plain() if judged else None,
    }
    return made, Known(judged, provenance), grown


def _card(content: Card, to: str, out: Path, force: bool, spoken: Carried | None) -> "Exported":
    architecture = content.architecture
    if spoken:
        spoken.check(architecture)
    with placed(out, force, (*CARD_FILES, *(() if holds_weights(out) else TOKENIZER_FILES))) as staging:
        check_neighbours(architecture, out)
        write_card(content, staging, CARDS[to])
        if spoken:
            spoken.write(staging)
        files = sorted(str(out / path.name) for path in staging.iterdir())
    return {"files": files, "format": to, "loads": True, "max_logit_difference": None}
