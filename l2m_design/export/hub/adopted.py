"""AdoptedForCausalLM: a model of transformers with its own weights and a cache whose kv heads compete for slots.

The folder stays the model's own: without this code it loads as before, with the full cache.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file

from l2m_design.architecture.plans import CachePlan
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.export.hub.bounded import Bounded
from l2m_design.model.adopted import ATTENTION, AdoptedModel, shape_of
from l2m_design.model.planned import PlannedModel
from l2m_design.model.use import Use

RULE = "cache_rule.safetensors"
PLACED = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
SETTINGS = "l2m_cache"  # in config.json: the budget's fields and `allocate`, or a plan's `layers`


class Adopted(Bounded):
    """Comes before the model's own class. Forward without a cache reads as generation does, with gradients."""

    own: Any  # the class that the model had
    supports_gradient_checkpointing = False  # a piece of text cannot be read twice

    def reader(self) -> AdoptedModel | PlannedModel:
        """See Bounded."""
        found: AdoptedModel | PlannedModel = self.__dict__["_adopted"]
        found.moved(self.get_input_embeddings().weight.device)  # type: ignore[attr-defined]
        return found

    def forward(self, *tokens: Any, **given: Any) -> Any:
        """See Bounded; the model's own pass when the reader asks for it."""
        if ATTENTION in given:
            return super(Bounded, self).forward(*tokens, **given)  # type: ignore[misc]
        return super().forward(*tokens, **given)

    def save_pretrained(self, folder: Any, **given: Any) -> None:
        """With the rule and the code, under the name of the model's own class."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        save_file(self.reader().use.state_dict(), str(place / RULE), {"format": "pt"})
        for name, text in _code().items():
            (place / name).write_text(text)
        adopted, own = type(self), self.own
        self.__class__ = own
        try:
            own.save_pretrained(self, folder, **given)
        finally:
            self.__class__ = adopted


def _code() -> dict[str, str]:
    """The files that a folder needs: those that this one came with, or those of the package."""
    if __name__.startswith("l2m_design."):
        bundle = import_module("l2m_design.export.bundle")
        return dict(bundle.bundle(bundle.ADOPTED))
    here = Path(__file__)
    return {file.name: file.read_text() for file in (here, *here.parent.glob("l2m_*.py"))}


class AdoptedForCausalLM:
    """Loads such a folder: the model by transformers' own class, then its rule."""

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """What transformers calls; the class is made as the model is loaded."""

    @classmethod
    def from_pretrained(cls, folder: Any, *arguments: Any, **given: Any) -> Any:
        """The model, with the cache that config.json describes under `l2m_cache`."""
        found = AutoModelForCausalLM.from_pretrained(folder, *arguments, **given | {"trust_remote_code": False})
        model = found[0] if isinstance(found, tuple) else found
        place = {name: given[name] for name in PLACED if name in given}
        rule = load_file(cached_file(folder, RULE, **place))
        adopt(model, dict(getattr(model.config, SETTINGS)), rule)
        return found


def adopt(model: Any, settings: dict[str, Any], rule: dict[str, torch.Tensor]) -> None:
    """Give a loaded model the cache. settings: of GlobalBudget, and `allocate`; or `layers`, those of a plan. rule: the
    weights of Use.
    """
    if len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1:
        raise ValueError(
            "a bounded cache must be on one device: load the model without a device_map over several devices"
        )
    reader = _planned(model, settings["layers"], rule) if "layers" in settings else _adopted(model, settings, rule)
    own = type(model)
    model.__class__ = type(f"Adopted{own.__name__}", (Adopted, own), {"__module__": own.__module__, "own": own})
    model.__dict__["_adopted"] = reader  # not a module of the model: it holds the model itself


def _adopted(model: Any, settings: dict[str, Any], rule: dict[str, torch.Tensor]) -> AdoptedModel:
    budget = GlobalBudget(**{name: value for name, value in settings.items() if name != "allocate"})
    reader = AdoptedModel(model, budget, settings["allocate"])
    reader.use.load_state_dict(rule)
    return reader


def _planned(model: Any, layers: list[Any], rule: dict[str, torch.Tensor]) -> PlannedModel:
    shape = shape_of(model, bounded=False)
    use = Use(len(shape.whole) * shape.kv_heads, shape.head_dim, shape.head_dim)
    use.load_state_dict(rule)
    return PlannedModel(model, CachePlan.of_plain(layers, shape.kv_heads), use)
