"""Three ways to better a searched plan of SmolLM2-135M, each held against it on validation and on test windows.

Run: python benchmarks/plan_neighbours.py small|competing|around [--budget 0.125], after `l2m search
configs/smollm2-1024.yaml`, to whose folder in runs/ it adds what it measures. small: a window of 17 tokens for layers
that cost little. competing: all heads compete, with an offset to the worth of each layer by which it holds on average
what the plan gives it. around: the next smaller and larger cache of each layer, measured in the plan instead of in the
model, and the best plan by these.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from plan_recall import CONFIG
from scipy.optimize import LinearConstraint

from l2m_design.architecture.plans import CachePlan, Kept
from l2m_design.estimates import Floats
from l2m_design.library.adopt import open_adoption
from l2m_design.model.planned import PlannedModel
from l2m_design.model.resumed import recorded, resumed
from l2m_design.search.adoption.bench import Bench
from l2m_design.search.adoption.knapsack import Knapsack, Unit
from l2m_design.search.adoption.table import costs_of
from l2m_design.training.adoption import training_windows
from l2m_design.training.start import StartModel, behind_start, late_of

SMALL = Kept("sinks+window", window=13, sinks=4)
CHEAP = (1, 3, 6, 9, 10, 11, 12, 13, 16, 22, 25, 27, 28, 29)  # layers that cost little
ROUNDS, TEXTS, DAMPED, PIECE = 5, 2, 0.7, 256


class Held:
    """The study's model, table and knapsack."""

    def __init__(self) -> None:
        work = open_adoption(CONFIG)
        self.settings, self.knapsack = work.settings, work.knapsack(None)
        start = StartModel(work.settings.start, "cpu")
        start.begins_as(work.corpus)
        self.bench = Bench(work.settings, work.corpus, start, work.folder.path, lambda what, done, total: None)
        self.bench.fit()

    def costs(self, units: list[Unit]) -> Floats:
        """[units, options] nats per token; what is not in the table is measured."""
        self.bench.measure_costs(units)
        return costs_of(self.bench.costs, units, self.settings.windows.costs)

    def told(self, name: str, plan: CachePlan) -> None:
        """Print what a plan loses to the model."""
        lost = {s: self.bench.losses(plan, s) - self.bench.losses(None, s) for s in ("validation", "test")}
        words = ", ".join(f"{split} {nats.mean():+.4f}" for split, nats in lost.items())
        print(f"{name:44} {words}  {plan.picture}", flush=True)

    def small(self, budget: float) -> tuple[Knapsack, Floats, CachePlan]:
        """The solution where cheap layers may have the small window."""
        units = [replace(u, options=(*u.options, SMALL)) if u.layer in CHEAP else u for u in self.knapsack.units]
        knapsack = Knapsack(self.knapsack.shape, units, self.knapsack.rules)
        costs = self.costs(units)
        return knapsack, costs, solution(knapsack, costs, budget)

    def around(self, knapsack: Knapsack, plan: CachePlan, changes: list[tuple[int, int]]) -> Floats:
        """[changes] what each option of a unit loses in the plan, a mean over validation windows."""
        return np.mean([self._around(knapsack, plan, changes, w) for w in range(self.settings.windows.costs)], axis=0)

    @torch.inference_mode()
    def _around(self, knapsack: Knapsack, plan: CachePlan, changes: list[tuple[int, int]], window: int) -> Floats:
        start, tokens = self.bench.start, self.bench.windows["validation"].tokens(slice(window, window + 1))[0]
        given, late = behind_start(torch.from_numpy(tokens[None]), start.begin), late_of(tokens)
        with recorded(start._model) as hidden:
            own = start._late(start.planned(plan), given, late)
        found = []
        for unit, option in ((knapsack.units[u], o) for u, o in changes):
            with resumed(start._model, unit.layer, hidden[unit.layer]):
                changed = start.planned(plan.but(unit.layer, unit.heads, unit.options[option]))
                found.append(start._late(changed, given, late) - own)
        return np.array(found)


def solution(knapsack: Knapsack, costs: Floats, budget: float) -> CachePlan:
    """Of a share of the model's state."""
    plan = knapsack.solve(costs, budget * knapsack.own_bytes)
    assert plan
    return plan


def small(held: Held, budget: float) -> None:
    """With and without small windows."""
    held.told("solved", solution(held.knapsack, held.costs(held.knapsack.units), budget))
    held.told("solved, small windows", held.small(budget)[2])


def around(held: Held, budget: float) -> None:
    """The best plan by costs in the solution, with some or any number of layers changed."""
    knapsack, costs, plan = held.small(budget)
    held.told("solved, small windows", plan)
    picks, changes = [pick or 0 for pick in knapsack.picks(plan)], list[tuple[int, int]]()
    size = dict(zip(knapsack._places, knapsack._bytes, strict=True))
    for u, unit in enumerate(knapsack.units):
        order = sorted(range(len(unit.options)), key=lambda o, u=u: size[u, o])
        at = order.index(picks[u])
        changes += [(u, order[near]) for near in (at - 1, at + 1) if 0 <= near < len(order)]
    there = np.full(costs.shape, 1.0)
    there[range(len(picks)), picks] = 0.0
    for (u, o), nats in zip(changes, held.around(knapsack, plan, changes), strict=True):
        there[u, o] = nats
        unit = knapsack.units[u]
        print(f"layer {unit.layer}: {unit.options[picks[u]]} to {unit.options[o]}: in the model", end=" ")
        print(f"{costs[u, o] - costs[u, picks[u]]:+.4f}, in the plan {nats:+.4f}", flush=True)
    flat = np.array([there[u, o] for u, o in knapsack._places])
    changed = np.array([float(o != picks[u]) for u, o in knapsack._places])
    fits = LinearConstraint(knapsack._bytes[None], 0, budget * knapsack.own_bytes)
    for most in (4, 8, len(picks)):
        found = knapsack._solved(flat, [fits, LinearConstraint(changed[None], 0, most)])
        assert found
        held.told(f"at most {most} layers changed, by costs in the plan", found)


def competing(held: Held, budget: float) -> None:
    """Offsets to the worth of layers, and what the plan loses without and with them."""
    plan = solution(held.knapsack, held.costs(held.knapsack.units), budget)
    pooled = plan.competing()
    assert pooled
    held.told("solved", plan)
    held.told("all heads compete", pooled)
    made, start = held.bench.start.planned(pooled), held.bench.start
    assert made.pool
    texts = training_windows(held.bench.corpus, held.settings.length, TEXTS, start.begin, torch.device("cpu"))
    sizes = torch.tensor(made.pool.sizes)
    layers, worth = torch.arange(len(sizes)).repeat_interleave(sizes), made.pool.rule.ln_worth.detach().clone()
    current = held.settings.length // made.pool.chunk
    wanted = torch.tensor([float(n) * k.budget.budget(current) for n, k in zip(sizes, made.pool.kept, strict=True)])
    offsets = torch.zeros(len(sizes))
    for _ in range(ROUNDS):
        made.pool.rule.ln_worth.data = worth + offsets[layers]
        share = torch.stack([occupied(made, text, layers) for text in texts]).mean(0) / wanted
        print("slots held, as a part of the plan's:", [round(float(x), 2) for x in share], flush=True)
        offsets -= DAMPED * share.clamp(min=1e-3).log()
    made.pool.rule.ln_worth.data = worth + offsets[layers]
    for split in ("validation", "test"):
        tokens = held.bench.windows[split].tokens()
        late = np.array([start.read_by(made, text).nats.mean() for text in tokens])
        print(f"with offsets, {split} {(late - held.bench.losses(None, split)).mean():+.4f}", flush=True)


@torch.inference_mode()
def occupied(made: PlannedModel, text: torch.Tensor, layers: torch.Tensor) -> torch.Tensor:
    """[layers] slots held at the end of a text and at three quarters of it, on average."""
    state, found = None, []
    for first in range(0, len(text), PIECE):
        _, state = made.prefill(text[None, first : first + PIECE], state, last=1)
        if first >= len(text) // 2:
            found.append(torch.zeros(int(layers[-1]) + 1).index_add(0, layers, state.pool[0].counts[0].float()))
    return torch.stack(found).mean(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way", choices=["small", "competing", "around"])
    parser.add_argument("--budget", type=float, default=0.125)
    words = parser.parse_args()
    {"small": small, "competing": competing, "around": around}[words.way](Held(), words.budget)
