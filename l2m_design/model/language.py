"""LanguageModel: a drawn decoder as a torch module, with prefill, step and a state that can be counted."""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture import Architecture, Attention, Mamba2, MixerSpec, SparseAttention
from l2m_design.model.attention import build_attention
from l2m_design.model.mixer import Mixer, RMSNorm, linear
from l2m_design.model.sparse import PowerSparseAttention
from l2m_design.model.ssm import Mamba2Mixer

State = tuple[Any, ...]


def build_mixer(spec: MixerSpec, width: int, out_scale: float = 1.0) -> Mixer:
    """The building of one drawn mixer; out_scale multiplies the initial output projection."""
    match spec:
        case Attention():
            return build_attention(spec, width, out_scale)
        case SparseAttention():
            return PowerSparseAttention(spec, width, out_scale)
        case Mamba2():
            return Mamba2Mixer(spec, width, out_scale)


class GatedMLP(nn.Module):
    """down(silu(gate x) · up x)."""

    def __init__(self, width: int, hidden: int, out_scale: float) -> None:
        super().__init__()
        self.gate = linear(width, hidden)
        self.up = linear(width, hidden)
        self.down = linear(hidden, width, out_scale)

    def forward(self, x: Tensor) -> Tensor:
        """[.. d] -> [.. d]."""
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class Block(nn.Module):
    """Pre-norm mixer, then pre-norm MLP, both residual."""

    def __init__(self, architecture: Architecture, spec: MixerSpec) -> None:
        super().__init__()
        width = architecture.width
        scale = 1 / math.sqrt(2 * len(architecture.layers))
        self.mixer_norm = RMSNorm(width)
        self.mixer = build_mixer(spec, width, scale)
        self.mlp_norm = RMSNorm(width)
        self.mlp = GatedMLP(width, architecture.mlp.hidden(width), scale)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """[b t d] -> [b t d], new state."""
        y, state = self.mixer(self.mixer_norm(x), state)
        x = x + y
        return x + self.mlp(self.mlp_norm(x)), state

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """[b d] -> [b d], new state."""
        y, state = self.mixer.step(self.mixer_norm(x), state)
        x = x + y
        return x + self.mlp(self.mlp_norm(x)), state


class LanguageModel(nn.Module):
    """A causal language model as drawn: tokens [b t] -> logits [b t v_]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.vocabulary, architecture.width)
        nn.init.normal_(self.embedding.weight, std=architecture.width**-0.5)
        self.blocks = nn.ModuleList(Block(architecture, spec) for spec in architecture.layers)
        self.norm = RMSNorm(architecture.width)
        self.head = None if architecture.tied_embeddings else linear(architecture.width, architecture.vocabulary)

    def empty(self, batch: int) -> State:
        """The state before the first token, one entry a layer."""
        return tuple(block.mixer.empty(batch) for block in self._blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """[b t] -> logits [b t v_]."""
        return self.prefill(tokens)[0]

    def prefill(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [b t v_] of tokens [b t] and the state after them, going on from `state` if given."""
        return self._run(tokens, state or self.empty(len(tokens)), "forward")

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [b v_] after one token [b], and the new state."""
        return self._run(token, state, "step")

    def _run(self, tokens: Tensor, state: State, call: str) -> tuple[Tensor, State]:
        x = self.embedding(tokens)
        after = []
        for block, before in zip(self._blocks, state, strict=True):
            x, layer_state = getattr(block, call)(x, before)
            after.append(layer_state)
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.norm(x), weight), tuple(after)

    @property
    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


def build(architecture: Architecture) -> LanguageModel:
    """The drawn model with fresh weights from torch's default generator (seed it first)."""
    return LanguageModel(architecture)


def state_elements(state: Any) -> int:
    """Numbers held for one sequence in a state: all its tensors, without the batch axis."""
    if isinstance(state, Tensor):
        return state[0].numel() if len(state) else 0
    if isinstance(state, tuple):
        return sum(state_elements(part) for part in state)
    return 0
