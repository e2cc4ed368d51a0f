"""Targets: the classes of transformers that an export may become, in the order in which they are tried."""

from collections.abc import Mapping
from types import MappingProxyType

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.export.targets.attention import LLAMA, MISTRAL, QWEN3, SMOLLM3
from l2m_design.export.targets.base import Target
from l2m_design.export.targets.deltanet import Qwen35
from l2m_design.export.targets.granite import Granite
from l2m_design.export.targets.latent import DeepSeek
from l2m_design.export.targets.mamba import MambaSsm
from l2m_design.export.targets.remote import Remote

TARGETS: tuple[Target, ...] = (LLAMA, MISTRAL, SMOLLM3, QWEN3, Granite(), Qwen35(), DeepSeek(), Remote())
__all__ = ["MAMBA_SSM", "NAMES", "TARGETS", "Target", "pick"]

MAMBA_SSM = MambaSsm()
NAMES = tuple(target.name for target in (*TARGETS, MAMBA_SSM))


def pick(
    architecture: Architecture, name: str | None = None, failed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Target, dict[str, str]]:
    """The first target that carries the architecture (or the named one), and why those before it do not.

    failed: why targets that seemed to do have turned out not to. Raises BadInput with the layer and the reason when
    none does.
    """
    refused: dict[str, str] = {}
    for target in TARGETS if name != MAMBA_SSM.name else (MAMBA_SSM,):
        if name not in (None, target.name):
            continue
        why = failed.get(target.name) or target.refusal(architecture)
        if why is None:
            return target, refused
        refused[target.name] = why
    reasons = "; ".join(dict.fromkeys(refused.values()))
    raise BadInput(f"`to` {name}: {reasons}; give `to` huggingface, which chooses one that can")
