"""What sparse layers keep: the streamed, the whole and the token-by-token form agree on sets and logits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import Architecture, SparseAttention
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model import LanguageModel, build
from l2m_design.model.attention import KeyValues
from l2m_design.model.eviction import Eviction
from l2m_design.model.lifetimes import best_lifetimes, held_attention, held_blocks, still_held
from l2m_design.model.mixer import Pass
from l2m_design.model.rules import RECEIVED
from l2m_design.model.use import power_sum

VOCABULARY, LENGTH = 13, 61

BUDGETS: list[dict[str, Any]] = [
    {"exponent": 0.6, "keep": 1.5, "allocate": "global"},
    {"schedule": "log", "keep": 0.7, "allocate": "global"},
    {"schedule": "sinks+window", "window": 5, "sinks": 2, "allocate": "global"},
]
CHOICES = [
    *({"choose": choose, **budget} for choose in ("spread", "learned", "surprise", "value") for budget in BUDGETS),
    *({"choose": choose, **BUDGETS[0]} for choose in ("key_norm", "attention_mass", "recency")),
    *({"choose": choose, "exponent": 0.6} for choose in ("spread", "learned", "key_norm")),
    *({"choose": "use", **budget, "allocate": allocate} for allocate in ("global", "layer") for budget in BUDGETS),
    {"choose": "spread", "schedule": "log"},
    {"choose": "spread", "schedule": "sinks+window", "window": 8, "sinks": 3},
]


def model_of(*layers: dict[str, Any], seed: int = 0) -> LanguageModel:
    plain = [{"kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 6, "chunk": 4} | z for z in layers]
    torch.manual_seed(seed)
    model = build(Architecture.parse({"vocabulary": VOCABULARY, "width": 16, "layers": plain}, "drawn")).double()
    for name, p in model.named_parameters():
        if ".score." in name or ".use." in name:
            torch.nn.init.normal_(p, std=0.3)
    return model


def tokens(batch: int = 2, length: int = LENGTH) -> Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(7))


class TokenByToken:
    """One layer, one sequence, one token at a time, sets as lists: the rule as it is written."""

    def __init__(self, model: Any, row: Tensor) -> None:
        self.block, self.model, self.row = model.blocks[0], model, row
        self.mixer, self.spec = self.block.mixer, model.architecture.layers[0]
        x = model.embedding(row)[None]
        self.x = x
        query, key, value, _, score = self.mixer.project(self.block.mixer_norm(x), self.mixer.empty(1))
        self.query, self.key, self.value = query[0], key[0], value[0]
        if self.spec.choose == "use":
            self.records, score = score[0].double().clone(), None
        self.score = None if score is None else score[0].expand(2, -1).clone()
        self.held: list[list[int]] = [[], []]
        self.logits = torch.stack([self.read(t) for t in range(len(row))])

    def read(self, t: int) -> Tensor:
        if t % self.spec.chunk == 0:
            self.held = (
                self.competed(t // self.spec.chunk)
                if self.spec.choose == "use"
                else [self.staying(head, t // self.spec.chunk) for head in range(2)]
            )
        y = []
        for head in range(4):
            held = self.held[head // 2] + [t] if head % 2 == 0 else self.held[head // 2]
            self.held[head // 2] = held
            scores = self.key[head // 2, held] @ self.query[head, t] / math.sqrt(6)
            if self.spec.choose == "learned":
                scores = scores + F.logsigmoid(self.score[head // 2, held])
            weights = scores.softmax(-1)
            if self.spec.choose == "attention_mass":
                self.score[head // 2, held] += weights
            if self.spec.choose == "use":
                before = [place for place, p in enumerate(held) if p // self.spec.chunk < t // self.spec.chunk]
                self.records[head // 2, [held[place] for place in before], RECEIVED] += weights[before] / 2
            y.append(weights @ self.value[head // 2, held])
        x = self.x[:, t] + self.mixer.merge(torch.stack(y)[None, :, None])[:, 0]
        x = x + self.block.mlp(self.block.mlp_norm(x))
        logits: Tensor = F.linear(self.model.norm(x), self.model.embedding.weight)[0]
        if self.spec.surprised:
            if t == 0:
                self.score[:, 0] *= math.log(VOCABULARY)
            if t + 1 < len(self.row):
                self.score[:, t + 1] *= -logits.log_softmax(-1)[self.row[t + 1]]
        return logits

    def competed(self, current: int) -> list[list[int]]:
        """Heads share the slots of the layer, or have each their own."""
        border = (current - 1) * self.spec.chunk
        old = [(head, p) for head in range(2) for p in self.held[head] if p < border]
        rivals = [old] if self.spec.allocate == "layer" else [[z for z in old if z[0] == head] for head in range(2)]
        kept = set()
        for group in rivals:
            budget = self.spec.growth.budget(current) * (2 if self.spec.allocate == "layer" else 1)
            kept |= set(sorted(group, key=lambda z: -self.use(*z, current))[:budget])
        return [[p for p in self.held[head] if p >= border or (head, p) in kept] for head in range(2)]

    def use(self, head: int, p: int, current: int) -> float:
        """ln of the loss avoided by a slot."""
        if p < self.spec.sinks:
            return math.inf
        ln_u, alpha, received, _ = self.records[head, p].tolist()
        age, prior = current - p // self.spec.chunk, self.mixer.use.ln_prior[head].exp().item()
        expected = self.spec.chunk * math.exp(ln_u) * float(power_sum(torch.tensor(age - 1.0), torch.tensor(alpha)))
        found = ln_u - alpha * math.log(age) + math.log((prior + received) / (prior + expected))
        return found + self.mixer.use.ln_worth[head].item()

    def staying(self, head: int, current: int) -> list[int]:
        held, c, growth = self.held[head], self.spec.chunk, self.spec.growth
        old = [p for p in held if p < (current - 1) * c]
        local = [p for p in held if p >= (current - 1) * c]
        if isinstance(growth, GlobalBudget):
            return sorted(self.greatest(head, old, growth.budget(current))) + local
        kept: list[int] = []
        for chunk, count in enumerate(growth.survivors(current)):
            inside = [p for p in old if p // c == chunk]
            if self.spec.choose == "spread":
                mirrored = {0: 0, 1: 2, 2: 1, 3: 3}
                kept += [p for p in inside if mirrored[p % c] < count or p < self.spec.sinks]
            else:
                kept += sorted(self.greatest(head, inside, count))
        return kept + local

    def greatest(self, head: int, old: list[int], count: int) -> list[int]:
        def worth(p: int) -> float:
            if p < self.spec.sinks:
                return math.inf
            if self.spec.choose == "recency":
                return p
            found = -self.key[head, p].norm() if self.score is None else self.score[head, p]
            return float(found if self.spec.choose == "spread" else found.bfloat16())

        return sorted(old, key=lambda p: (-worth(p), p))[:count]


@pytest.mark.parametrize("layer", CHOICES, ids=lambda z: " ".join(map(str, z.values())))
@torch.no_grad()
def test_a_token_by_token_loop_keeps_the_same_and_says_the_same(layer: dict[str, Any]) -> None:
    model: Any = model_of(layer)
    x = tokens()
    logits, state = model.prefill(x)
    for row in range(2):
        slow = TokenByToken(model, x[row])
        torch.testing.assert_close(logits[row], slow.logits, atol=1e-9, rtol=0)
        for head in range(2):
            torch.testing.assert_close(cached(state[0], row, head), slow.key[head, slow.held[head]], atol=1e-9, rtol=0)


def cached(state: KeyValues, row: int, head: int) -> Tensor:
    """[slots k] keys of a head, older ones first."""
    near = state.keys[row, head]
    if state.slots is None:
        return near
    old = state.slots.keys[row].split(state.slots.counts[row].tolist())[head]
    return torch.cat([old, near])


@pytest.mark.parametrize("choose", ["surprise", "value"])
def test_training_in_one_pass_reads_what_a_stream_keeps(choose: str) -> None:
    """Two layers of different chunks and a reader of the first one's cache."""
    first = {"exponent": 0.5, "keep": 2.0, "allocate": "global", "choose": choose}
    other = {"exponent": 0.7, "chunk": 8, "allocate": "global", "choose": "surprise"}
    model = model_of(first, other, first | {"share": 0})
    x = tokens(length=90)
    trained = model(x)
    with torch.no_grad():
        streamed, _ = model.prefill(x)
        state, pieces = None, []
        for piece in x.split([1, 3, 17, 9, 60], dim=1):
            logits, state = model.prefill(piece, state)
            pieces.append(logits)
    torch.testing.assert_close(trained.detach(), streamed, atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.cat(pieces, dim=1), streamed, atol=1e-9, rtol=0)


@torch.no_grad()
def test_surprise_is_the_stream_s_own_fixed_point() -> None:
    """Sets from losses, losses under these sets: repeated, any first guess ends where the stream is."""
    model = model_of({"exponent": 0.6, "keep": 1.5, "allocate": "global", "choose": "surprise"})
    x = tokens(batch=3)
    streamed = model.surprise(x)
    guess = torch.rand(3, LENGTH, dtype=torch.float64)
    for _ in range(LENGTH // 4 + 1):
        logits = model.pass_over(x, Pass(surprise=guess))
        nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), x[:, 1:], reduction="none")
        guess = torch.cat([torch.full((3, 1), math.log(VOCABULARY), dtype=torch.float64), nats], dim=1)
    torch.testing.assert_close(guess, streamed, atol=1e-9, rtol=0)


def test_the_best_that_ever_joined_stay_but_none_returns() -> None:
    budget = GlobalBudget(2, "power", 0.5, 1.0)
    score = torch.tensor([[[5.0, 1.0, 4.0, 3.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]]])
    # borders at tokens 4, 6, 8, 10: budgets 2, 2, 2, 3
    assert [budget.budget(current) for current in range(2, 6)] == [2, 2, 2, 3]
    assert still_held(best_lifetimes(budget, score), 2).tolist() == [[[0, 4, 6, 8, 9, 10, 11]]]
    assert best_lifetimes(budget, score)[0, 0, 2] == 4  # worth more than what joins later, and gone all the same


def test_a_spread_budget_goes_on_taking_tokens_in() -> None:
    """Far beyond the steps in which other scores are compared, held tokens lie evenly over the past."""
    layer = SparseAttention.parse(
        {"kind": "sparse_attention", "heads": 1, "kv_heads": 1, "head_dim": 2, "chunk": 64}
        | {"schedule": "window", "window": 16, "allocate": "global", "choose": "spread"},
        "spread",
    )
    eviction, t = Eviction(layer), 2**15
    scores = eviction.new_scores(1, 0, t, torch.device("cpu"))
    held = still_held(eviction.lifetimes(torch.zeros(1, 1, t, 2), scores), 64)[0, 0, :16]
    assert held.diff().max() < 2 * t / 16
    assert held[-1] > t * 0.9


@pytest.mark.parametrize("chunk", [4, 16, 64])
@pytest.mark.parametrize("budget", [(0.5, 1.0), (0.5, 16.0), (0.8, 1.0), (0.01, 1.0)])
def test_blocks_read_less_than_twice_what_is_needed(chunk: int, budget: tuple[float, float]) -> None:
    t = 2048
    until = best_lifetimes(GlobalBudget(chunk, "power", *budget), torch.rand(1, 1, t))
    at = torch.arange(t)
    needed = ((at[None, :] <= at[:, None]) & (until[0, 0] > at[:, None] // chunk)).sum()
    read = sum(
        (block.rows.stop - block.rows.start)
        * (block.columns.stop - block.columns.start + (0 if block.far is None else block.far.shape[-1]))
        for block in held_blocks(until, chunk)
    )
    assert needed <= read < 2 * needed


def test_the_gradient_of_held_attention_equals_a_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, h, 300, 5, generator=generator, dtype=torch.float64) for h in (4, 2, 2))
    until = best_lifetimes(GlobalBudget(8, "power", 0.6, 2.0), torch.rand(2, 2, 300, generator=generator))
    at = torch.arange(300)
    mask = (at[None, :] <= at[:, None]) & (at[:, None] // 8 < until[:, :, None])
    inputs = [z.requires_grad_() for z in (query, key, value)]
    wide = [z.repeat_interleave(2, dim=1) for z in (key, value)]
    expected = F.scaled_dot_product_attention(query, *wide, attn_mask=mask.repeat_interleave(2, dim=1))
    y = held_attention(query, key, value, until, 8)
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
    dy = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(torch.autograd.grad(y, inputs, dy), torch.autograd.grad(expected, inputs, dy), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_a_stream_is_not_read_faster_than_its_losses_are_known() -> None:
    mixer: Any = model_of({"exponent": 0.6, "allocate": "global", "choose": "surprise"}).blocks[0].mixer  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="at most one chunk"):
        mixer(torch.zeros(1, 20, 16, dtype=torch.float64), mixer.empty(1))


def test_fields_say_how_much_is_held() -> None:
    spec = SparseAttention(heads=4, kv_heads=2, head_dim=6, chunk=4, exponent=0.6, allocate="global", choose="value")
    held = spec.growth.count(100)
    assert held == math.floor(96**0.6) + 8 == GlobalBudget(4, "power", 0.6).count(100)
    assert spec.state_law(16).elements(100) == held * (2 * 2 * 6 + 2)
    assert spec.state_law(16).bytes(100) == held * (2 * 2 * 2 * 6 + 4 * 2)  # keys in bfloat16, scores in float32


@pytest.mark.parametrize("choose", ["value", "surprise", "attention_mass", "learned", "use"])
def test_prompts_of_different_lengths_are_continued_as_if_alone(choose: str) -> None:
    model = model_of({"exponent": 0.5, "keep": 1.5, "allocate": "global", "choose": choose}, {"exponent": 0.6}).double()
    prompts = [tokens(1, length)[0].tolist() for length in (33, 6, 20)]
    together = model.generate(prompts, 9, temperature=0)
    assert together == [model.generate([prompt], 9, temperature=0)[0] for prompt in prompts]


@pytest.mark.parametrize("choose", ["value", "use"])
def test_recomputed_layers_learn_the_same(choose: str) -> None:
    layer = {"exponent": 0.5, "keep": 2.0, "allocate": "global", "choose": choose}
    gradients = []
    for recompute in (False, True):
        model = model_of(layer, layer)
        model.recompute = recompute
        model(tokens()).logsumexp(-1).sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_the_gradient_of_a_layer_whose_heads_compete_equals_a_mask() -> None:
    """Of what is read: sets are those of the forward pass, and nothing goes through them."""
    model = model_of({"exponent": 0.5, "keep": 2.0, "allocate": "layer", "choose": "use"})
    mixer: Any = model.blocks[0].mixer
    x = torch.randn(2, LENGTH, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    dy = torch.randn(2, LENGTH, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((mixer(x, mixer.empty(2))[0] * dy).sum(), [x, mixer.query.weight, mixer.key.weight])
    read = torch.zeros(2, 2, LENGTH, LENGTH, dtype=torch.bool)
    state = mixer.empty(2)
    with torch.no_grad():
        keys = mixer.project(x, mixer.empty(2)).key
        for t in range(LENGTH):
            _, state = mixer(x[:, t : t + 1], state)
            for row in range(2):
                for head in range(2):
                    off = torch.cdist(cached(state, row, head), keys[row, head])
                    read[row, head, t, off.argmin(-1)] = True
    new = mixer.project(x, mixer.empty(2))
    wide = [z.repeat_interleave(2, dim=1) for z in (new.key, new.value)]
    y = F.scaled_dot_product_attention(new.query, *wide, attn_mask=read.repeat_interleave(2, dim=1))
    theirs = torch.autograd.grad((mixer.merge(y) * dy).sum(), [x, mixer.query.weight, mixer.key.weight])
    assert not read[:, 0].equal(read[:, 1])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)
