"""A model to start from: what it loses with other caches, layer by layer and as a whole, and what heals it."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2m_design.architecture.plans import CachePlan, Kept, Shape
from l2m_design.architecture.readers.carried import recurrent_states
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.corpus import Corpus
from l2m_design.errors import BadInput, WorkFailed, named
from l2m_design.information.scores.huggingface import context_of, load_model
from l2m_design.information.scores.model import weights_fingerprint
from l2m_design.information.scores.start import behind_start, corpus_start, start_token
from l2m_design.model.adopted import AdoptedModel, shape_of
from l2m_design.model.backends import pick_device
from l2m_design.model.planned import PlannedModel
from l2m_design.model.resumed import decoder_layers, recorded, resumed
from l2m_design.model.turned import rotary_rates
from l2m_design.model.use import Use
from l2m_design.model.weights import read_tensors, write_tensors
from l2m_design.training.adoption import LONGEST, training_windows
from l2m_design.training.context import pieces
from l2m_design.training.distil import distil
from l2m_design.training.healing import Healing
from l2m_design.training.use_fit import fit_use

PIECE = 512

Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]


def with_states(config: Any, shape: Shape) -> Shape:
    """The shape of a model, with what its recurrent layers keep. Raises BadInput where that is not known."""
    return shape._replace(states=recurrent_states(config.get_text_config().to_dict(), shape.layers))


class Replacement(NamedTuple):
    """These kv heads of a layer keep something else than the model does."""

    layer: int
    heads: tuple[int, ...]
    kept: Kept


class Read(NamedTuple):
    """Of the second half of a window, [t / 2]: losses in nats per token, and was the token the likeliest one?"""

    nats: NDArray[np.float64]
    right: NDArray[np.bool_]


class StartModel:
    """A causal language model of Hugging Face, loaded once, read with any cache plan.

    Windows are read behind the model's start token, if it has one. Raises BadInput for a model whose attention cannot
    be replaced.
    """

    def __init__(self, source: str, device: str = "auto") -> None:
        self.source = source
        self._model = load_model(source, pick_device(device), where="start:")
        for weight in self._model.parameters():
            weight.requires_grad_(False)
        self.rule: Use | None = None
        self.begin: int | None = None
        with named(f"start: {source}"), torch.inference_mode():
            self.shape = with_states(self._model.config, shape_of(self._model, bounded=False))
            self._rates = rotary_rates(self._model)
            decoder_layers(self._model)
            self.planned(CachePlan.own(self.shape)).prefill(torch.zeros(1, 1, dtype=torch.long, device=self._device))

    @property
    def vocabulary(self) -> int:
        """Rows of the table of embeddings."""
        return int(self._model.get_input_embeddings().weight.shape[0])

    @property
    def fingerprint(self) -> str:
        """Changes with its weights."""
        return weights_fingerprint(self._model)

    def begins_as(self, corpus: Corpus) -> None:
        """Read windows behind the start token of this corpus' tokenizer, else the model's own."""
        self.begin = start_token(self._model.config, corpus_start(corpus))

    @property
    def longest(self) -> int | None:
        """Tokens that a window may have."""
        return context_of(self._model.config, self.begin)

    def fit(self, path: Path, corpus: Corpus, sizes: tuple[int, int, int], on_step: Progress) -> None:
        """The rule of predicted use, fitted to windows of the training split once and kept at `path`.

        sizes: tokens of a window, windows, tokens of a chunk.
        """
        length, count, chunk = sizes
        adopted = AdoptedModel(self._model, GlobalBudget(chunk, "fixed", window=length)).to(self._device)
        if path.exists():
            adopted.use.load_state_dict(read_tensors(path)[0])
        else:
            windows = training_windows(corpus, length, count, self.begin, self._device)
            fit_use(adopted, windows, on_step=on_step)
            write_tensors(path, adopted.use.state_dict(), {"of": "predicted use"})
        self.rule = adopted.use

    def planned(self, plan: CachePlan) -> PlannedModel:
        """The model with the caches of a plan."""
        return PlannedModel(self._model, plan, self.rule, self._rates)

    @torch.inference_mode()
    def costs(self, tokens: Rows, wanted: list[Replacement]) -> Iterator[tuple[Replacement | None, float]]:
        """Late losses of one window [t], nats per token: of the model itself (None), then of each replacement alone.

        What enters each layer is recorded in the first pass; every other begins at the layer that it changes, or at the
        one whose cache that layer shares. Wanted in the order of layers.
        """
        given = behind_start(torch.from_numpy(tokens[None]).to(self._device), self.begin)
        own, late = CachePlan.own(self.shape), late_of(tokens)
        with recorded(self._model) as hidden:
            yield None, self._late(self.planned(own), given, late)
        for each in wanted:
            plan = own.but(each.layer, each.heads, each.kept)
            first = plan.source(each.layer) or 0
            with resumed(self._model, first, hidden[first]):
                loss = self._late(self.planned(plan), given, late)
            yield each, loss

    def _late(self, reader: PlannedModel, given: Tensor, late: int) -> float:
        logits, _ = reader.prefill(given[:, :-1], last=late)
        following, total = given[0, -late:], 0.0
        for first in range(0, late, PIECE):
            rows = logits[0, first : first + PIECE].float()
            total += float(nn.functional.cross_entropy(rows, following[first : first + PIECE], reduction="sum"))
        return finite(total / late)

    @torch.inference_mode()
    def read(self, plan: CachePlan, tokens: Rows) -> Read:
        """A window [t] read in a stream with the caches of a plan."""
        return self._read(self.planned(plan), tokens)

    def _read(self, reader: PlannedModel, tokens: Rows) -> Read:
        given = behind_start(torch.from_numpy(tokens[None]).to(self._device), self.begin)
        late = late_of(tokens)
        begin = given.shape[1] - 1 - late
        _, state = reader.prefill(given[:, :begin], last=1)
        nats, right = [], []
        for first in range(begin, given.shape[1] - 1, PIECE):
            piece = given[:, first : min(first + PIECE, given.shape[1] - 1)]
            logits, state = reader.prefill(piece, state)
            following = given[0, first + 1 : first + 1 + piece.shape[1]]
            nats.append(nn.functional.cross_entropy(logits[0].float(), following, reduction="none").cpu().numpy())
            right.append((logits[0].argmax(-1) == following).cpu().numpy())
        found = Read(np.concatenate(nats).astype(np.float64), np.concatenate(right))
        finite(float(found.nats.mean()))
        return found

    def cut(self, plan: CachePlan, tokens: Rows, contexts: Iterable[int]) -> dict[int, float]:
        """By context c in tokens, the late loss of a window [t] in nats per token with the past cut to c tokens.

        As training.context has it: runs of c/2 tokens share a past of c to 3c/2 - 1 tokens, behind the start token.
        """
        return self.cut_by(self.planned(plan), tokens, contexts)

    @torch.inference_mode()
    def cut_by(self, reader: PlannedModel, tokens: Rows, contexts: Iterable[int]) -> dict[int, float]:
        """The same of a model with a plan."""
        return {c: self._cut(reader, tokens, c) for c in contexts}

    def _cut(self, reader: PlannedModel, tokens: Rows, context: int) -> float:
        first, nats = len(tokens) - late_of(tokens), torch.zeros(len(tokens))
        for targets, some in pieces(tokens[None], context, first, len(tokens)):
            given = behind_start(torch.from_numpy(some).to(self._device), self.begin)
            run = len(targets) // len(some)
            logits, _ = reader.prefill(given[:, :-1], last=run)
            losses = [
                nn.functional.cross_entropy(x.float(), y, reduction="none")
                for x, y in zip(logits, given[:, -run:], strict=True)
            ]
            nats[targets] = torch.cat(losses).cpu()
        return finite(float(nats[first:].mean()))

    def check_healing(self, how: Healing, where: str) -> None:
        """Raises BadInput where a GPU has too little memory left for a copy of the weights and for what trains them."""
        weights = list(self._model.parameters())
        held = sum(weight.nbytes for weight in weights)
        if how.method == "all":  # gradients, float32 copies and two float32 moments of each weight
            held += sum(weight.nbytes + weight.numel() * (8 + 4 * (weight.itemsize < 4)) for weight in weights)
        free = free_memory(self._device)
        if free is not None and held > free:
            other = "; give method: lora" if how.method == "all" else ""
            raise BadInput(f"{where}: needs {held:,} bytes on {self._device}, which has {free:,} left{other}")

    def healed(self, plan: CachePlan, corpus: Corpus, length: int, how: Healing, on_step: Progress) -> "Healed":
        """A copy of the model, distilled from the full cache on the training split."""
        size = min(length, LONGEST)
        windows = training_windows(corpus, length, -(-how.tokens // size), self.begin, self._device, seed=1)
        made = PlannedModel(copy.deepcopy(self._model), plan, self.rule, self._rates)
        distil(made, windows, how, teacher=self._model, on_step=on_step)
        return Healed(self, made, how)

    def healed_at(self, plan: CachePlan, path: Path, how: Healing) -> "Healed":
        """The copy whose weights `Healed.save` wrote."""
        made = PlannedModel(copy.deepcopy(self._model), plan, self.rule, self._rates)
        weights, _ = read_tensors(path)
        own = dict(made.model.named_parameters())
        if own.keys() != weights.keys():
            raise BadInput(f"{path}: contains the weights of another model")
        with torch.no_grad():
            for name, weight in weights.items():
                own[name].copy_(weight)
        return Healed(self, made, how)

    @property
    def _device(self) -> torch.device:
        device: torch.device = self._model.get_input_embeddings().weight.device
        return device

    def read_by(self, reader: PlannedModel, tokens: Rows) -> Read:
        """A window [t] read by a model with a plan, behind the start token of this one."""
        with torch.inference_mode():
            return self._read(reader, tokens)


class Healed:
    """A model whose weights were adapted to its plan."""

    def __init__(self, start: StartModel, made: PlannedModel, how: Healing) -> None:
        self._start, self.made, self.how = start, made, how

    def read(self, tokens: Rows) -> Read:
        """A window [t]."""
        return self._start.read_by(self.made, tokens)

    def cut(self, tokens: Rows, contexts: Iterable[int]) -> dict[int, float]:
        """See StartModel.cut."""
        return self._start.cut_by(self.made, tokens, contexts)

    def save(self, path: Path) -> None:
        """Its weights, each once."""
        write_tensors(path, dict(self.made.model.named_parameters()), {"of": "healed"})


def free_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has left; None where tensors are in the machine's own memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def late_of(tokens: Rows) -> int:
    """Tokens of the second half of a window [t]."""
    return len(tokens) - len(tokens) // 2


def finite(loss: float) -> float:
    """The loss. Raises WorkFailed where it is none."""
    if not np.isfinite(loss):
        raise WorkFailed(
            "the model's losses are not finite: its weights contain NaN or infinities, or its activations overflow"
        )
    return loss


def speed(device: str) -> float:
    """Operations a second that a model may reach on a device, about: half of those of a product of matrices."""
    place = pick_device(device)
    size = 4096 if place.type == "cuda" else 768
    a = torch.ones(size, size, device=place, dtype=torch.bfloat16 if place.type == "cuda" else torch.float32)
    rounds = []
    for _ in range(4):
        began = time.perf_counter()
        float((a @ a)[0, 0])
        rounds.append(time.perf_counter() - began)
    return 0.5 * 2 * size**3 / min(rounds)
