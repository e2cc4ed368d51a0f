"""Is it the full layers of a searched plan that recall? Its recall beside that of plans changed in those layers alone.

Run: python benchmarks/plan_recall.py, after `l2m search configs/smollm2-1024.yaml`, to whose folder in runs/ it adds.
It prints the share of digits recalled by the chosen plan, by the plan with its full layers exchanged with other layers
(equal bytes) or made sparse, and by a plan of full layers at equal distances with windows between them.
"""

from pathlib import Path

import torch

from l2m_design.architecture.plans import FULL, CachePlan
from l2m_design.library.adopt import open_adoption
from l2m_design.search.adoption.bench import Bench
from l2m_design.search.adoption.designs import known
from l2m_design.search.adoption.results import load_adoption_summary
from l2m_design.training.start import StartModel

CONFIG = Path(__file__).parents[1] / "configs" / "smollm2-1024.yaml"
MOVED = 5, 11  # layers that the full ones are moved by
EVENLY = "every 8th layer full, windows with sinks between"


def exchanged(plan: CachePlan, by: int) -> CachePlan:
    """The caches of its full layers, and of the layers so many above them (round the model), change places."""
    layers, depth = list(plan.layers), len(plan.layers)
    for layer in (layer for layer, kept in enumerate(plan.layers) if FULL in kept):
        other = (layer + by) % depth
        layers[layer], layers[other] = layers[other], layers[layer]
    return CachePlan(tuple(layers))


def main() -> None:
    torch.set_num_threads(1)
    work = open_adoption(CONFIG)
    summary = load_adoption_summary(Path("reports") / work.settings.name)
    assert summary is not None
    assert summary.chosen is not None
    start = StartModel(work.settings.start, work.settings.device)
    start.begins_as(work.corpus)
    bench = Bench(work.settings, work.corpus, start, work.folder.path, lambda what, done, total: None)
    bench.fit()
    plan = CachePlan.of_plain(summary.chosen.layers, summary.start.kv_heads)
    largest = max((layer for layer in plan.layers if FULL not in layer), key=lambda layer: layer[0].window)
    plans = {
        "chosen": plan,
        "its full layers made sparse": CachePlan(tuple(largest if FULL in layer else layer for layer in plan.layers)),
    } | {f"its full layers exchanged with those {by} above": exchanged(plan, by) for by in MOVED}
    budget = summary.budgets[summary.chosen.budget].bytes
    plans[EVENLY] = known(work.knapsack(None), work.settings.templates, budget, work.settings.length)[EVENLY]
    own = bench.losses(None, "test")
    for name, each in plans.items():
        told = bench.recall(each)
        lost = (bench.losses(each, "test") - own).mean()
        print(
            f"{name:52}needle {told['needle']:4.0%}  keys {told['keys']:4.0%}  loss {lost:+.3f}  {each.picture}",
            flush=True,
        )


if __name__ == "__main__":
    main()
