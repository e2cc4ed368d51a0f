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
    REMOTE: "its own: exactly the drawn state, recurrent states in float32 unless the drawing names another type",
    "": "transformers': a window holds one token less, a convolution one column more, recurrent states are float32",
}


def readme(
    target: Target,
    drawing: Architecture,
    proof: Proof,
    content: Card,
    trained: bool,
    spoken: Spoken | None = None,
) -> str:
    """The text of the card.

    content: the drawing's card (see export.card), with verdict and provenance if known. spoken: the tokenizer in the
    folder, if there is one.
    """
    label, library = target.label(drawing), "mamba_ssm" if target.model_type == "mamba_ssm" else "transformers"
    return Template((TEMPLATES / "readme.md").read_text()).substitute(
        picture=folded(drawing.picture.split()),
        what=(
            f"A causal language model of {drawing.parameters:,} parameters over {drawing.vocabulary:,} tokens, "
            f"designed for a history state that grows as t^{drawing.state.exponent:.2f}."
        ),
        parameters=f"{drawing.parameters:,}",
        state=_state(drawing),
        format=proof.format,
        label=label,
        weights="trained" if trained else "fresh, untrained",
        tokenizer=spoken.sentence if spoken else "none in the folder",
        demand=_demand(content.judged),
        losses=_losses(content.provenance),
        proven=_text(f"proven_{library}", _figures(proof, label)) + (_tokenizer(spoken) if spoken else ""),
        usage=_usage(library, label == REMOTE, drawing, spoken),
        limits=_list(limits(target, drawing, trained, spoken)),
        version=__version__,
        drawing=drawing.fingerprint,
    )


def _state(drawing: Architecture) -> str:
    sizes = (f"{drawing.state.bytes(t, 'bfloat16'):,} bytes at {t:,}" for t in LENGTHS)
    return ", ".join(sizes) + " tokens (bfloat16, but for parts that name their own type)"


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
    whole = ", and its text comes back whole" if spoken.decodes else "; its text does not come back letter for letter"
    return (
        f"\nIn a fresh process `AutoTokenizer` of transformers {transformers_version} loads the tokenizer of the "
        f"folder: a sentence gives the same tokens as before the export{whole}.\n"
    )


def limits(target: Target, drawing: Architecture, trained: bool, spoken: Spoken | None) -> list[str]:
    """What a user must know."""
    said = target.limits(drawing)
    if not trained:
        said.insert(0, "The weights are fresh: it says nothing sensible before training")
    said += _of_text(drawing.vocabulary, spoken)
    return [*said, "Only float32 on a CPU was compared; what other runtimes make of it was not tried"]


def _of_text(vocabulary: int, spoken: Spoken | None) -> list[str]:
    if spoken is None:
        maybe = "; if they are bytes, `l2m export --tokenizer bytes` adds theirs" if vocabulary == 256 else ""
        return [f"No tokenizer is in the folder: tokens are the numbers 0 to {vocabulary - 1:,} of its training{maybe}"]
    said = []
    if spoken.special["eos_token_id"] is None:
        said.append("The tokenizer has no end token: generation stops at `max_new_tokens`")
    if spoken.special["pad_token_id"] is None:
        said.append("The tokenizer has no padding token: texts of different lengths do not go into one batch")
    if spoken.adds_special:
        said.append(
            "The tokenizer puts special tokens around a text, which `l2m train` does not: `add_special_tokens=False` "
            "leaves them out"
        )
    if spoken.tokens < vocabulary:
        said.append(f"Tokens {spoken.tokens:,} to {vocabulary - 1:,} of the model have no text")
    return said


def _usage(library: str, own_code: bool, drawing: Architecture, spoken: Spoken | None) -> str:
    prompt, imports = 'list(b"The state of ")' if drawing.vocabulary >= 256 else "[0, 1, 0]", ""
    if spoken:
        prompt = 'AutoTokenizer.from_pretrained(".")("The state of ")["input_ids"]'
        imports = "from transformers import AutoTokenizer\n"
    name = "usage_text" if spoken and library == "transformers" else f"usage_{library}"
    return _text(name, {"own_code": own_code, "prompt": prompt, "imports": imports})


def _demand(judged: Judged | None) -> str:
    if judged is None:
        return "None was given: `l2m check` judges the drawing by the demand of your data.\n"
    found, terms = judged.judgement, judged.terms
    level = {True: "met", False: "not met", None: "not judged"}[found.meets_level]
    end = f" (the {terms.end} end of the interval)" if terms else ""
    under = f" up to {terms.length:,} tokens at {_held(terms)}" if terms else ""
    return _list(
        [
            f"growth: required {found.required_growth}{end}, has {found.growth}: "
            f"{'met' if found.meets_growth else 'not met'}",
            f"level{under}: {level}",
            f"reach: {_reach(found)}",
        ]
    )


def _held(terms: Terms) -> str:
    """What an element is taken to hold."""
    assumed = f"{terms.nats_per_element} nats an element (an assumption, not a measurement)"
    by_kind = ", ".join(f"{kind} {nats:.3g}" for kind, nats in terms.nats_by_kind.items())
    if not by_kind:
        return assumed
    else_ = "" if OTHER in terms.nats_range else f", else {assumed}"
    return f"nats an element measured by kind of layer on a known source ({by_kind}){else_}"


def _reach(found: Judgement) -> str:
    """The longest context that the state covers, where the level was judged."""
    if found.meets_level is None:
        return "not judged"
    reach = found.reach_tokens.effective
    return f"no end up to {REACH_LIMIT:,} tokens" if reach is None else f"{reach:,} tokens"


def _losses(provenance: Provenance) -> str:
    """Of these weights where they were measured, else of the design as others trained it."""
    own = "result" in provenance
    found: Losses = provenance if own else provenance.get("other_weights", {})
    rows = [f"{said}: {_number(nats)} nats" for key, said in LOSSES.items() if (nats := found.get(key)) is not None]
    if not rows:
        return "None are known for this drawing.\n"
    corpus = provenance.get("corpus")
    name = corpus.get("name") if isinstance(corpus, dict) else corpus
    if own:
        rows.append("measured as `l2m train` ended, with these weights")
    elif "study" in provenance:
        rows.append(f"measured in the study `{provenance['study']}`, with weights that are not these")
    return _list([*rows, *([f"corpus: {name}"] if name else [])])


def _number(value: float | dict[str, float]) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}] ({value['level']:.0%})"
    return f"{float(value):.4f}"


def _list(sentences: list[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
