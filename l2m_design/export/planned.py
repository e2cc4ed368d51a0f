"""Planned models as folders: a class of transformers whose layers carry the plan, else the code that reads it."""

import json
from pathlib import Path
from typing import Any

from l2m_design.architecture.plans import SLIDING, WHOLE, CachePlan
from l2m_design.errors import BadInput
from l2m_design.export.adopted import Adopted, export_adopted, prove, write_own
from l2m_design.export.placing import MODEL_FILES, placed
from l2m_design.export.plans import PlanCard, read_in
from l2m_design.information.scores.huggingface import load_model
from l2m_design.model.adopted import shape_of
from l2m_design.model.backends import pick_device
from l2m_design.model.planned import PlannedModel
from l2m_design.model.use import Use
from l2m_design.model.weights import read_tensors
from l2m_design.settings import to_json, write_atomically

RULE = "cache_rule.safetensors"
NATIVE = "cache_plan.json"  # what a folder of a class of transformers alone holds beside it


def export_plan(source: str | Path, out: Path, *, native: bool | None, force: bool) -> Adopted:
    """Write the model with the plan of a file into `out`, proven. Raises BadInput, and WorkFailed when the folder,
    loaded back, reads otherwise.

    native: as layers of full and sliding attention of a class of transformers, or with code of ours (False); None: the
    former where the plan and the model allow it.
    """
    path = Path(source).expanduser()
    card = PlanCard.load(path)
    start = read_in(path.parent, card.start)
    model = load_model(start, pick_device("cpu"), where=f"{path}: start:")
    shape = shape_of(model, bounded=False)
    try:
        plan = CachePlan.of_plain(card.plan, shape.kv_heads)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: plan: {error}") from None
    made = PlannedModel(model, plan, _rule(path, plan, len(shape.whole) * shape.kv_heads, shape.head_dim))
    if card.healed:
        _heal(model, Path(read_in(path.parent, card.healed)), path)
    carried = carried_by(model, plan)
    if native and carried is None:
        raise BadInput(
            f"`to` native: {plan.picture}: only full layers and windows of one size without sinks fit a class of "
            "transformers (llama, qwen2, qwen3, smollm3); give huggingface or remote"
        )
    if carried is not None and native is not False:
        return _native(made, card, start, carried, out, force)
    return export_adopted(made, start, out, trained=card.healed is not None, losses=card.losses, force=force)


def _rule(path: Path, plan: CachePlan, heads: int, head_dim: int) -> Use | None:
    by_use = any(kept.cache == "sparse" and kept.choose == "use" for layer in plan.layers for kept in layer)
    if not by_use:
        return None
    rule, place = Use(heads, head_dim, head_dim), path.parent / RULE
    tensors, _ = read_tensors(place)
    try:
        rule.load_state_dict(tensors)
    except RuntimeError:
        raise BadInput(f"{place}: is a rule that was fitted to another model") from None
    return rule


def _heal(model: Any, weights: Path, path: Path) -> None:
    if not weights.exists():
        raise BadInput(f"{path}: healed: no file {weights}")
    own, found = dict(model.named_parameters()), read_tensors(weights)[0]
    if own.keys() != found.keys():
        raise BadInput(f"{path}: healed: {weights} contains the weights of another model")
    for name, weight in found.items():
        own[name].data.copy_(weight)


def carried_by(model: Any, plan: CachePlan) -> dict[str, Any] | None:
    """What config.json must say so that a class of transformers reads with this plan; None where none does."""
    config, shape = model.config, shape_of(model, bounded=False)
    window = plan.native(shape)
    if window is None:
        return None
    types = [SLIDING if heads[0].cache == "window" else WHOLE for heads in plan.layers]
    if tuple(types) == shape.layers and window in (0, shape.window):
        return {}
    carried: dict[str, Any] = {"layer_types": types, "sliding_window": window}
    if config.model_type == "llama":
        full = [1] * len(types)
        named = {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "use_sliding_window": True}
        plain = not config.attention_bias and not config.mlp_bias and config.pretraining_tp == 1
        return carried | named | {"no_rope_layers": full, "no_rope_layer_interval": 4} if plain else None
    if config.model_type in ("qwen2", "qwen3", "smollm3"):
        return carried | {"use_sliding_window": True, "max_window_layers": 0}
    return None


def _native(made: PlannedModel, card: PlanCard, start: str, carried: dict[str, Any], out: Path, force: bool) -> Adopted:
    with placed(out, force, MODEL_FILES) as staging:
        write_own(made.model, start, staging, card.healed is not None)
        config = json.loads((staging / "config.json").read_text()) | carried
        write_atomically(staging / "config.json", to_json(config))
        kept = card.plain() | {"start": Path(start).name if Path(start).exists() else start, "healed": None}
        write_atomically(staging / NATIVE, to_json(kept))
        found = prove(made, staging, own_code=False)
        for path in staging.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors lets nobody else read
        files = sorted(path.name for path in staging.iterdir())
    return {"files": [str(out / name) for name in files], **found}  # type: ignore[typeddict-item]
