"""Sharding: each of several processes holds its part of a model's weights, gradients and optimiser states (FSDP2).

A layer's weights are put together for its pass and freed after it (torch's `fully_shard`), so that training takes a
process's share of 16 bytes a parameter instead of all of them. Evaluation and checkpoints take the weights as a whole:
`whole` gathers them, in every process at the same time.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel


def check_shards(architecture: Architecture) -> None:
    """Raises BadInput where a score is trained outside of the model's own pass."""
    taught = [index for index, spec in enumerate(architecture.layers) if getattr(spec, "choose", None) == "value"]
    if taught:
        raise BadInput(f"shard: layers.{taught[0]} has choose: value, whose training needs all weights in each process")


def shard(model: LanguageModel, device: torch.device) -> None:
    """Divide a model's weights, the same in all processes of torch's default group, among them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "mean_nats")


def whole(value: Tensor) -> Tensor:
    """A tensor without its shards: gathered, in all processes at once."""
    gather = getattr(value, "full_tensor", None)
    found: Tensor = value if gather is None else gather()
    return found


def like(value: Tensor, other: Any) -> Tensor:
    """A whole tensor, the same in all processes, as `other` of its shape is held: divided among them, or as it is."""
    if not hasattr(other, "full_tensor") or hasattr(value, "full_tensor") or value.shape != other.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def load(model: nn.Module, state: dict[str, Tensor]) -> None:
    """`load_state_dict` of whole tensors."""
    own = model.state_dict()
    model.load_state_dict({name: like(value, own[name]) for name, value in state.items()})
