"""README.md of an exported folder: what it is, the demand it meets, measured losses, limits, an example."""

from pathlib import Path
from string import Template

import torch
from transformers import __version__ as transformers_version

from l2m_design import __version__
from l2m_design.architecture import Architecture
from l2m_design.architecture.picture import folded
from l2m_design.condition import Judgement
from l2m_design.export.card import Card, Judged, Losses, Provenance
from l2m_design.export.losses import LOSSES
from l2m_design.export.proof import STEPS, Proof
from l2m_design.export.targets.base import REMOTE, Target
from l2m_design.export.tokenizer import Spoken
from l2m_design.settings import Json
from l2m_design.terms import OTHER, REACH_LIMIT, Terms

TEMPLATES = Path(__file__).parent / "templates"
LENGTHS = (4096, 65536)
CONVENTIONS = {
    REMOTE: "its own: exactly the state of the architecture, recurrent states in float32 unless it names another type",
    "": (
        "that of transformers: a window stores one token less, a convolution one column more, recurrent states are "
        "float32"
    ),
}


def readme(
    target: Target,
    architecture: Architecture,
    proof: Proof,
    content: Card,
    trained: bool,
    spoken: Spoken | None = None,
) -> str:
    """The text of the card.

    content: the architecture's card (see export.card), with verdict and provenance if known. spoken: the tokenizer in
    the folder, if there is one.
    """
    label, library = target.label(architecture), "mamba_ssm" if target.model_type == "mamba_ssm" else "transformers"
    return Template((TEMPLATES / "readme.md").read_text()).substitute(
        picture=folded(architecture.picture.split()),
        what=(
            f"A causal language model of {architecture.parameters:,} parameters over {architecture.vocabulary:,} "
            "tokens, "
            f"designed for a history state that grows as t^{architecture.state.exponent:.2f}."
        ),
        parameters=f"{architecture.parameters:,}",
        state=_state(architecture),
        format=proof.format,
        label=label,
        weights="trained" if trained else "random, untrained",
        tokenizer=spoken.sentence if spoken else "none in the folder",
        demand=_demand(content.judged),
        losses=_losses(content.provenance),
        proven=_text(f"proven_{library}", _figures(proof, label)) + (_tokenizer(spoken) if spoken else ""),
        usage=_usage(library, label == REMOTE, architecture, spoken),
        limits=_list(limits(target, architecture, trained, spoken)),
        version=__version__,
        architecture=architecture.fingerprint,
    )


def _state(architecture: Architecture) -> str:
    sizes = (f"{architecture.state.bytes(t, 'bfloat16'):,} bytes at {t:,}" for t in LENGTHS)
    return ", ".join(sizes) + " tokens (bfloat16, except parts that name their own type)"


def _text(name: str, values: Json) -> str:
    return Template((TEMPLATES / f"{name}.txt").read_text()).substitute(values)


def _figures(proof: Proof, label: str) -> Json:
    """What the sentences of a proof name."""
    return {
        "transformers": transformers_version,
        "torch": torch.__version__,
        "tokens": proof.tokens,
        "steps": STEPS,
        "difference": f"{proof.max_logit_difference:.1e}",
        "cached": None if proof.cached_difference is None else f"{proof.cached_difference:.1e}",
        "held": None if proof.cache_bytes is None else f"{proof.cache_bytes:,}",
        "convention": CONVENTIONS.get(label, CONVENTIONS[""]),
    }


def _tokenizer(spoken: Spoken) -> str:
    whole = ", and decodes to the same text" if spoken.decodes else "; it does not decode to exactly the same text"
    return (
        f"\nIn a new process `AutoTokenizer` of transformers {transformers_version} loads the tokenizer of this "
        f"folder: a test sentence gives the same tokens as before the export{whole}.\n"
    )


def limits(target: Target, architecture: Architecture, trained: bool, spoken: Spoken | None) -> list[str]:
    """What a user must know."""
    found = target.limits(architecture)
    if not trained:
        found.insert(0, "The weights are random: the model must be trained before its output means anything")
    found += _of_text(architecture.vocabulary, spoken)
    return [*found, "Only float32 on a CPU was compared; other runtimes were not tried"]


def _of_text(vocabulary: int, spoken: Spoken | None) -> list[str]:
    if spoken is None:
        maybe = "; if these are bytes, `l2m export --tokenizer bytes` adds a tokenizer" if vocabulary == 256 else ""
        return [
            f"The folder has no tokenizer: tokens are the numbers 0 to {vocabulary - 1:,} of the training data{maybe}"
        ]
    found = []
    if spoken.special["eos_token_id"] is None:
        found.append("The tokenizer has no end token: generation stops at `max_new_tokens`")
    if spoken.special["pad_token_id"] is None:
        found.append("The tokenizer has no padding token: texts of different lengths cannot be batched")
    if spoken.adds_special:
        found.append(
            "The tokenizer adds special tokens to a text, which `l2m train` does not: use `add_special_tokens=False`"
        )
    if spoken.tokens < vocabulary:
        found.append(f"Tokens {spoken.tokens:,} to {vocabulary - 1:,} of the model have no text")
    return found


def _usage(library: str, own_code: bool, architecture: Architecture, spoken: Spoken | None) -> str:
    prompt, imports = 'list(b"The state of ")' if architecture.vocabulary >= 256 else "[0, 1, 0]", ""
    if spoken:
        prompt = 'AutoTokenizer.from_pretrained(".")("The state of ")["input_ids"]'
        imports = "from transformers import AutoTokenizer\n"
    name = "usage_text" if spoken and library == "transformers" else f"usage_{library}"
    return _text(name, {"own_code": own_code, "prompt": prompt, "imports": imports})


def _demand(judged: Judged | None) -> str:
    if judged is None:
        return "None was given: use `l2m check` to judge the architecture by the requirement of your data.\n"
    found, terms = judged.judgement, judged.terms
    level = {True: "met", False: "not met", None: "not judged"}[found.meets_level]
    end = f" (the {terms.end} end of the interval)" if terms else ""
    under = f" up to {terms.length:,} tokens at {_held(terms)}" if terms else ""
    return _list(
        [
            f"growth: required {found.required_growth}{end}, has {found.growth}: "
            f"{'met' if found.meets_growth else 'not met'}",
            f"capacity{under}: {level}",
            f"longest context covered: {_reach(found)}",
        ]
    )


def _held(terms: Terms) -> str:
    """What an element is taken to hold."""
    assumed = f"{terms.nats_per_element} nats per element (an assumption, not a measurement)"
    by_kind = ", ".join(f"{kind} {nats:.3g}" for kind, nats in terms.nats_by_kind.items())
    if not by_kind:
        return assumed
    else_ = "" if OTHER in terms.nats_range else f", else {assumed}"
    return f"nats per element, measured for each mixer type on a known source ({by_kind}){else_}"


def _reach(found: Judgement) -> str:
    """The longest context that the state covers, where the level was judged."""
    if found.meets_level is None:
        return "not judged"
    reach = found.reach_tokens.effective
    return f"at least {REACH_LIMIT:,} tokens" if reach is None else f"{reach:,} tokens"


def _losses(provenance: Provenance) -> str:
    """Of these weights where they were measured, else of the design as others trained it."""
    own = "result" in provenance
    found: Losses = provenance if own else provenance.get("other_weights", {})
    rows = [f"{label}: {_number(nats)} nats" for key, label in LOSSES.items() if (nats := found.get(key)) is not None]
    if not rows:
        return "None are known for this architecture.\n"
    corpus = provenance.get("corpus")
    name = corpus.get("name") if isinstance(corpus, dict) else corpus
    if own:
        rows.append("measured with these weights at the end of `l2m train`")
    elif "study" in provenance:
        rows.append(f"measured in the study `{provenance['study']}`, with other weights")
    return _list([*rows, *([f"corpus: {name}"] if name else [])])


def _number(value: float | dict[str, float]) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}] ({value['level']:.0%})"
    return f"{float(value):.4f}"


def _list(sentences: list[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
