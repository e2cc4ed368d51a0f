"""LanguageModel: a decoder as a torch module, with prefill, step and a state whose elements can be counted."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.architecture import Architecture
from l2m_design.architecture.mixers import KeyValueMixer, SparseAttention
from l2m_design.errors import BadInput
from l2m_design.model.catalogue import build_mixer
from l2m_design.model.generate import Sampling, generate
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.losses import mean_nats, token_nats
from l2m_design.model.mixer import PLAIN, Pass, RMSNorm, linear, zeros_beside
from l2m_design.model.precision import wide

State = tuple[Any, ...]
Through = Callable[[nn.Module, Tensor, Any, Any, Pass], tuple[Tensor, Any, Any]]
GRAPHS_A_TYPE = 16  # shapes that one type of layer is trained in: halved passes, and their last, shorter ones


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

    def __init__(self, architecture: Architecture, index: int, kernels: Kernels) -> None:
        super().__init__()
        width, spec = architecture.width, architecture.layers[index]
        scale = 1 / math.sqrt(2 * len(architecture.layers))
        self.kind = spec.fingerprint
        self.reads_layer = spec.share if isinstance(spec, KeyValueMixer) else None
        self.mixer_norm = RMSNorm(width)
        self.mixer = build_mixer(spec, width, scale, kernels)
        self.mlp_norm = RMSNorm(width)
        self.mlp = GatedMLP(width, architecture.mlp.hidden(width), scale)

    def forward(self, x: Tensor, state: Any, lent: Any, given: Pass) -> tuple[Tensor, Any, Any]:
        """[b t d] -> [b t d], new state, what this layer lends to those that share its cache."""
        y, state, lends = self.mixer.lending(self.mixer_norm(x), state, lent, given)
        x = x + y
        return x + self.mlp(self.mlp_norm(x)), state, lends


def _through(block: nn.Module, x: Tensor, state: Any, lent: Any, given: Pass) -> tuple[Tensor, Any, Any]:
    """A block's answer. A function of the block, so that blocks of one type share what is compiled."""
    assert block.kind  # read here, it keeps apart what is compiled for each type
    answer: tuple[Tensor, Any, Any] = block(x, state, lent, given)
    return answer


class LanguageModel(nn.Module):
    """A causal language model of an architecture: tokens [b t] -> logits [b t v_].

    Where layers choose what to keep by the model's own loss, tokens are read as a stream, chunk by chunk, and the last
    hidden vector is state too; training walks a batch without gradient, then learns from one pass over what was kept.

    recompute: keep only the inputs of each layer for the gradient and run the layer again (less memory, a third
    more time).
    """

    def __init__(self, architecture: Architecture, kernels: Kernels = TORCH, recompute: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        self.recompute = recompute
        self.embedding = nn.Embedding(architecture.vocabulary, architecture.width)
        nn.init.normal_(self.embedding.weight, std=architecture.width**-0.5)
        self.blocks = nn.ModuleList(Block(architecture, index, kernels) for index in range(len(architecture.layers)))
        self.norm = RMSNorm(architecture.width)
        chunks = [spec.chunk for spec in architecture.layers if isinstance(spec, SparseAttention) and spec.surprised]
        self.stride = min(chunks, default=None)
        self.head = None if architecture.tied_embeddings else linear(architecture.width, architecture.vocabulary)
        self._trained: Through = _through

    def empty(self, batch: int) -> State:
        """The state before the first token, one entry a layer, and the last hidden vector where it is needed."""
        layers = tuple(block.mixer.empty(batch) for block in self._blocks)
        return (
            layers if self.stride is None else (*layers, zeros_beside(self.norm.weight, batch, len(self.norm.weight)))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[b t] -> logits [b t v_]."""
        if self.stride is not None and not torch.is_grad_enabled():
            return self._walk(tokens, self.empty(len(tokens)))[0]
        return self._head(self.read(tokens))

    def mean_nats(self, tokens: Tensor, softness: float | None = None) -> Tensor:
        """Mean nats of tokens [b t] behind the first, for the gradient; never holds too many logits at once.

        softness: of the choice by use, in nats (see soft); none for what a cache holds.
        """
        before = tokens[:, :-1]
        given = self._surprised(before)._replace(softness=softness)
        return mean_nats(self.read(before, given), self.table, tokens[:, 1:])

    @torch.no_grad()
    def nats(self, tokens: Tensor, first: int = 1) -> Tensor:
        """[b t-first] nats of tokens [b t] from the number `first` on, given all before them, without gradient."""
        if self.stride is not None:
            return self.surprise(tokens)[:, first:]
        return token_nats(self.read(tokens[:, :-1])[:, first - 1 :], self.table, tokens[:, first:])

    def read(self, tokens: Tensor, given: Pass | None = None) -> Tensor:
        """Last hidden vectors [b t d] of one pass over whole sequences [b t] that start here, as the head takes them.

        given: unless said, what tokens are worth by the model's own loss, where layers choose by it.
        """
        given = self._surprised(tokens) if given is None else given
        through = self._trained if torch.is_grad_enabled() and given.seen is None else _through
        hidden: Tensor = self.norm(self._layers(tokens, self.empty(len(tokens)), given, through)[0])
        return hidden

    def _surprised(self, tokens: Tensor) -> Pass:
        """What one pass over tokens [b t] needs to know before, where layers choose by the model's own loss."""
        if self.stride is None:
            return PLAIN
        chosen = max(0, -(-tokens.shape[1] // self.stride) - 2) * self.stride  # later ones are local to the end
        known = F.pad(self.surprise(tokens[:, :chosen]), (0, tokens.shape[1] - chosen)) if chosen else None
        return Pass(surprise=known)

    def pass_over(self, tokens: Tensor, given: Pass = PLAIN) -> Tensor:
        """Logits [b t v_] of one pass over whole sequences [b t] that start here."""
        return self._head(self.read(tokens, given))

    @torch.no_grad()
    def surprise(self, tokens: Tensor) -> Tensor:
        """[b t] nats of each token [b t] as it is read in a stream, ln(v_) for the first."""
        return self._walk(tokens, self.empty(len(tokens)), last=True)[2]

    def prefill(self, tokens: Tensor, state: State | None = None, last: bool = False) -> tuple[Tensor, State]:
        """Logits [b t v_] of tokens [b t] and the state after them, continuing from `state` if given.

        last: logits of the last token only, [b 1 v_]. Raises BadInput if there are no tokens, if a token is not in the
        vocabulary, or if the state belongs to another number of sequences.
        """
        self.check(tokens)
        if state is None:
            state = self.empty(len(tokens))
        entries = len(self.blocks) + (self.stride is not None)
        if not isinstance(state, tuple) or len(state) != entries:
            what = f"one entry for each of {len(self.blocks)} layers"
            what += " and the last hidden vector" if self.stride is not None else ""
            raise BadInput(f"state: must have {what}, as prefill returns it")
        if (held := _sequences(state)) not in (None, len(tokens)):
            raise BadInput(f"state: belongs to {held} sequences, but there are tokens for {len(tokens)}")
        if self.stride is not None:
            logits, state, _ = self._walk(tokens.long(), state, last)
        else:
            x, state = self._layers(tokens.long(), state, PLAIN)
            logits = self._logits(x[:, -1:] if last else x)
        return logits, compact(state)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [b v_] after one token [b], and the new state. Raises BadInput as `prefill` does."""
        if state is None:
            raise BadInput("state: a step needs the state before it, found none; get one from prefill or empty")
        logits, state = self.prefill(token[:, None], state)
        return logits[:, 0], state

    def advance(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` without checks of the token and the state, so that the host never waits for the device."""
        x, state = self._layers(token[:, None], state, PLAIN)
        return self._logits(x)[:, 0], compact(state)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        most: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[list[int]]:
        """Up to `most` new tokens for each prompt, prompts of any lengths (see l2m_design.model.generate)."""
        device = self.embedding.weight.device
        return generate(self, prompts, most, device, Sampling(temperature, top_p, stop, generator))

    def check(self, tokens: Tensor) -> None:
        """Raises BadInput when tokens [b t] cannot be read."""
        if tokens.ndim != 2 or not tokens.numel():
            raise BadInput(f"tokens: every sequence must have at least one token, found shape {list(tokens.shape)}")
        if tokens.is_floating_point() or tokens.is_complex():
            raise BadInput(f"tokens: must be integers, found {str(tokens.dtype).removeprefix('torch.')}")
        low, high = torch.stack(tokens.aminmax()).tolist()  # a GPU is waited for once
        if low < 0 or high >= self.architecture.vocabulary:
            wrong = low if low < 0 else high
            raise BadInput(f"tokens: {wrong} is not in the vocabulary of {self.architecture.vocabulary} tokens")

    def _walk(self, tokens: Tensor, state: State, last: bool = False) -> tuple[Tensor, State, Tensor]:
        """Logits [b t v_] (or [b 1 v_]), the state, and the surprise [b t] of tokens that are read chunk by chunk."""
        logits: list[Tensor] = []
        surprise: list[Tensor] = []
        for piece in self._pieces(tokens, state):
            x, layers = self._layers(piece, state, PLAIN)
            expected = torch.cat([self._head(state[-1])[:, None], self._logits(x)], dim=1)
            nats = F.cross_entropy(wide(expected[:, :-1]).transpose(1, 2), piece, reduction="none").detach()
            layers = tuple(block.mixer.weigh(held, nats) for block, held in zip(self._blocks, layers, strict=True))
            state = (*layers, self.norm(x)[:, -1])
            logits = [] if last else logits
            logits.append(expected[:, -1:] if last else expected[:, 1:])
            surprise.append(nats)
        return torch.cat(logits, dim=1), state, torch.cat(surprise, dim=1)

    def _pieces(self, tokens: Tensor, state: State) -> Iterator[Tensor]:
        """Tokens cut at the borders of the shortest chunks."""
        assert self.stride is not None
        done, seen = 0, next(held.seen for held in state if hasattr(held, "scores"))
        while done < tokens.shape[1]:
            end = done + self.stride - (seen + done) % self.stride
            yield tokens[:, done:end]
            done = end

    def compile_layers(self, **options: Any) -> None:
        """Compile what training runs of each layer: one graph a type of layer and shape, shared by all of that type.

        Evaluation, decoding and the training of scores stay eager: they come in many shapes, and compiling each takes
        longer than it saves. options: of torch.compile.
        """
        types = len({block.kind for block in self._blocks})
        torch._dynamo.config.recompile_limit += GRAPHS_A_TYPE * types  # one function is compiled for all types
        self._trained = torch.compile(_through, dynamic=False, **options)

    def _layers(self, tokens: Tensor, state: State, given: Pass, through: Through = _through) -> tuple[Tensor, State]:
        """[b t d] after all blocks, and what each holds."""
        x = self.embedding(tokens)
        after: list[Any] = []
        lent: list[Any] = []
        for block, before in zip(self._blocks, state, strict=False):
            reads = None if block.reads_layer is None else lent[block.reads_layer]
            if self.recompute and torch.is_grad_enabled():
                x, held, lends = checkpoint(through, block, x, before, reads, given, use_reentrant=False)
            else:
                x, held, lends = through(block, x, before, reads, given)
            after.append(held)
            lent.append(lends)
        return x, tuple(after)

    def _logits(self, x: Tensor) -> Tensor:
        return self._head(self.norm(x))

    def _head(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.table)

    @property
    def table(self) -> Tensor:
        """[v_ d] of the head, or of the embedding where they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def value_parameters(self) -> list[nn.Parameter]:
        """Parameters that score tokens, of layers that choose by such scores (see l2m_design.model.value)."""
        pairs = zip(self.architecture.layers, self._blocks, strict=True)
        mixers = [block.mixer for spec, block in pairs if getattr(spec, "choose", None) in ("value", "use")]
        return [p for mixer in mixers for name, p in mixer.named_parameters() if name.startswith(("score.", "use."))]

    @property
    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


def build(architecture: Architecture, kernels: Kernels = TORCH, recompute: bool = False) -> LanguageModel:
    """Build the model of an architecture with fresh weights from torch's default generator (seed it first).

    Examples:
        >>> layer = {"kind": "mamba2", "d_state": 8, "head_dim": 16}
        >>> model = build(Architecture.model_validate({"vocabulary": 64, "width": 32, "layers": [layer]}))
        >>> logits, state = model.prefill(torch.zeros(1, 5, dtype=torch.long))
        >>> logits.shape
        torch.Size([1, 5, 64])
    """
    return LanguageModel(architecture, kernels, recompute)


def _sequences(state: Any) -> int | None:
    """How many sequences a state is of, by its first tensor."""
    if isinstance(state, Tensor):
        return len(state)
    parts = (_sequences(part) for part in state) if isinstance(state, tuple) else ()
    return next((count for count in parts if count is not None), None)


def compact(state: Any) -> Any:
    """The same state in memory of its own: a view of something larger (a window of a prompt) is copied.

    Keys and values that grow stay in their room.
    """
    if isinstance(state, Tensor):
        whole = state.untyped_storage().nbytes()
        return state.clone() if whole > state.numel() * state.element_size() else state
    if isinstance(state, tuple):
        grown = () if (room := getattr(state, "room", None)) is None else room.held
        parts = [part if any(part is z for z in grown) else compact(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def state_elements(state: Any) -> int:
    """Numbers held for one sequence in a state: all its tensors, without the batch axis."""
    if isinstance(state, Tensor):
        return state[0].numel() if len(state) else 0
    if isinstance(state, tuple):
        return sum(state_elements(part) for part in state)
    return 0
