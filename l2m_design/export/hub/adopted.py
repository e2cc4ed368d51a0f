"""AdoptedForCausalLM: a model of transformers with its own weights and a cache whose kv heads compete for slots.

The folder stays the model's own: without this code it loads as before, with the full cache.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.export.hub.bounded import Bounded
from l2m_design.model.adopted import ATTENTION, AdoptedModel

RULE = "cache_rule.safetensors"
SETTINGS = "l2m_cache"  # in config.json: the budget's fields and `allocate`


class Adopted(Bounded):
    """Comes before the model's own class. Forward without a cache reads as generation does, with gradients."""

    def reader(self) -> AdoptedModel:
        """See Bounded."""
        found: AdoptedModel = self.__dict__["_adopted"]
        return found.to(self.get_input_embeddings().weight.device)  # type: ignore[attr-defined]

    def forward(self, *tokens: Any, **given: Any) -> Any:
        """See Bounded; the model's own pass when the reader asks for it."""
        if ATTENTION in given:
            return super(Bounded, self).forward(*tokens, **given)  # type: ignore[misc]
        return super().forward(*tokens, **given)

    def save_pretrained(self, folder: Any, **given: Any) -> None:
        """With the rule, and the code where the model was loaded by it."""
        super().save_pretrained(folder, **given)  # type: ignore[misc]
        here = Path(__file__)
        for file in (here, *here.parent.glob("l2m_*.py")) if here.name == "adopted_l2m.py" else ():
            shutil.copy2(file, Path(folder) / file.name)
        save_file(self.reader().use.state_dict(), str(Path(folder) / RULE), {"format": "pt"})


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
        rule = load_file(cached_file(folder, RULE))
        adopt(model, dict(getattr(model.config, SETTINGS)), rule)
        return found


def adopt(model: Any, settings: dict[str, Any], rule: dict[str, torch.Tensor]) -> None:
    """Give a loaded model the cache. settings: of GlobalBudget, and `allocate`. rule: the weights of Use."""
    allocate = settings["allocate"]
    budget = GlobalBudget(**{name: value for name, value in settings.items() if name != "allocate"})
    reader = AdoptedModel(model, budget, allocate)
    reader.use.load_state_dict(rule)
    own = type(model)
    model.__class__ = type(f"Adopted{own.__name__}", (Adopted, own), {"__module__": own.__module__})
    model.__dict__["_adopted"] = reader  # not a module of the model: it holds the model itself
