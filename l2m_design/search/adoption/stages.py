"""The stages of an adoption study, from costs to tested and healed plans, each on what the one before it found."""

import time
from dataclasses import dataclass, replace
from itertools import chain, islice

from l2m_design.architecture.plans import CachePlan
from l2m_design.estimates import Floats
from l2m_design.search.adoption.bench import Bench
from l2m_design.search.adoption.designs import competing, known, random_plans, uniform
from l2m_design.search.adoption.knapsack import Knapsack
from l2m_design.search.adoption.results import AdoptionSummary, BudgetRow, Check, PlanRow
from l2m_design.search.adoption.rows import Rows, rival_of
from l2m_design.search.adoption.sent import contents, of_plan, plan_key
from l2m_design.search.adoption.table import costs_of, plan_name
from l2m_design.search.adoption.work import RANDOM, RANDOM_TESTED, of_budget
from l2m_design.search.driver import Listener
from l2m_design.search.study.correction import Neighbourhood
from l2m_design.search.tracking.tracker import Tracker


@dataclass(frozen=True)
class Solved:
    """A budget of bytes, the plan of least summed cost within it, and the seconds of solving."""

    budget: float
    plan: CachePlan
    seconds: float


class Measuring:
    """The stages of a study, each on what the one before it found."""

    def __init__(self, bench: Bench, knapsack: Knapsack, listener: Listener) -> None:
        self.settings, self.bench, self.knapsack, self.listener = bench.settings, bench, knapsack, listener

    def summary(self, budgets: list[float], tracker: Tracker) -> AdoptionSummary:
        """Measure everything."""
        bench = self.bench
        tracker.stage("costs")
        bench.fit()
        bench.measure_costs(self.knapsack.units)
        costs = costs_of(bench.costs, self.knapsack.units, self.settings.windows.costs)
        rows = Rows(bench, self.knapsack, costs)
        tracker.stage("correction")
        check = self._random(costs, budgets, rows)
        solved = [self._solved(costs, budget) for budget in budgets]
        names = [self._corrected(number, each, costs, rows) for number, each in enumerate(solved)]
        tracker.stage("test")
        found = []
        for number, each in enumerate(solved):
            found.append(self._tested(number, each, self._ranked(each, names[number], rows), rows, tracker))
            tracker.send(contents(rows.summary(found, check)))
        return rows.summary(found, check)

    def stored(self, budgets: list[float]) -> AdoptionSummary:
        """Solve again; the best are those of the measured plans, the solution where there is none."""
        costs = costs_of(self.bench.costs, self.knapsack.units, self.settings.windows.costs)
        rows = Rows(self.bench, self.knapsack, costs)
        found = []
        for number, budget in enumerate(budgets):
            solved = self._solved(costs, budget)
            names: dict[CachePlan, str] = {}
            for name, plan in self._others(solved).items():
                names.setdefault(plan, name)
            ranked = self._ranked(solved, names, rows)
            names |= {plan: name for name, plan in ranked}
            best = ranked[0][1] if ranked else solved.plan
            tested = [plan for plan in names if self.bench.known(plan, "test")]
            read = [rows.row(names[plan], number, plan) for plan in dict.fromkeys([best, solved.plan, *tested])]
            row = rows.budget(budget, read[0], read[1:], solved.seconds)
            found.append(self._healed_before(row, number, ranked, rows))
        return rows.summary(found, Check(predicted=[], measured=[], spearman=None))

    def _healed_before(self, row: BudgetRow, number: int, ranked: list[tuple[str, CachePlan]], rows: Rows) -> BudgetRow:
        """With the first of the ranked plans that the model was distilled with."""
        if self.settings.finetune is None:
            return row
        how = self.settings.finetune.how
        for _, plan in ranked:
            if healed := self.bench.kept(plan, how):
                found = rows.row(f"healed on {how}", number, plan, healed=healed)
                return replace(row, healed=found, gain=rows.gain(plan, healed))
        return row

    def _ranked(self, solved: Solved, names: dict[CachePlan, str], rows: Rows) -> list[tuple[str, CachePlan]]:
        """Every plan within a budget that validation windows were read with, the best there first, and its name."""
        shape = self.knapsack.shape
        own = [shape.own(layer) for layer in range(len(shape.layers))]
        kinds = {(kept.cache, kept.choose) for kept in [*own, *self.settings.kept, *self.settings.templates]}
        allowed = {"layer", self.settings.allocate}
        plans = [
            plan
            for plan in self.bench.measured()
            if (plan == solved.plan or self._fits(plan, solved.budget))
            and {(kept.cache, kept.choose) for kept in chain(*plan.layers)} <= kinds
            and {kept.allocate for kept in chain(*plan.layers)} <= allowed
        ]
        plans.sort(key=rows.validation)
        return [(names.get(p) or uniform(p, shape) or f"measured plan {plan_name(p)[:6]}", p) for p in plans]

    def _others(self, solved: Solved) -> dict[str, CachePlan]:
        """By name, what the best plan is compared with: the solution, known plans, and random ones."""
        settings, budget = self.settings, solved.budget
        drawn = random_plans(self.knapsack, budget, RANDOM_TESTED, settings.seed)
        return (
            {"solved": solved.plan}
            | self._known(budget)
            | {f"random plan {n + 1}": plan for n, plan in enumerate(drawn)}
        )

    def _known(self, budget: float) -> dict[str, CachePlan]:
        """Known plans within a budget, those in which all heads compete among them."""
        found = known(self.knapsack, self.settings.templates, budget, self.settings.length)
        return found | (competing(found) if self.settings.allocate == "model" else {})

    def _fits(self, plan: CachePlan, budget: float) -> bool:
        return self.knapsack.bytes(plan) <= budget and self.knapsack.meets(plan)

    def _solved(self, costs: Floats, budget: float) -> Solved:
        began = time.perf_counter()
        plan = self.knapsack.solve(costs, budget)
        assert plan  # the budget holds the least one
        return Solved(budget, plan, time.perf_counter() - began)

    def _random(self, costs: Floats, budgets: list[float], rows: Rows) -> Check:
        """Measured losses of random plans beside what the costs predict, budget after budget in turn."""
        count = self.settings.correction.random_plans
        plans = [
            plan
            for turn, budget in enumerate(budgets)
            for plan in random_plans(self.knapsack, budget, len(range(turn, count, len(budgets))), self.settings.seed)
        ]
        measured = []
        for done, plan in enumerate(plans):
            measured.append(rows.validation(plan))
            self.listener.progress(RANDOM, done + 1, len(plans))
        return rows.check(plans, measured)

    def _corrected(self, number: int, solved: Solved, costs: Floats, rows: Rows) -> dict[CachePlan, str]:
        """Measure the solution and plans around it on validation windows; their names."""
        settings, budget = self.settings, solved.budget
        eligible = {name: plan for name, plan in self._known(budget).items() if self._fits(plan, budget)}
        around = Neighbourhood(self.knapsack, costs, budget, eligible)
        tried = around.search(
            rows.validation,
            settings.correction.trials,
            settings.seed,
            lambda done, total: self.listener.progress(of_budget(number, "correction"), done, total),
        )
        names = {each.plan: each.name for each in tried}
        if settings.allocate == "model":
            new = (each for each in tried if (plan := each.plan.competing()) and plan not in names)
            for name, plan in competing({each.name: each.plan for each in islice(new, 1)}).items():
                rows.validation(plan)
                names[plan] = name
        return names

    def _tested(
        self, number: int, solved: Solved, ranked: list[tuple[str, CachePlan]], rows: Rows, tracker: Tracker
    ) -> BudgetRow:
        """Read the test windows with the best plan and its rivals, and heal the best."""
        (_, best), others, read = ranked[0], self._others(solved), []
        for done, (name, plan) in enumerate([ranked[0], *others.items()]):
            if done == 0 or plan != best:
                begin(tracker, rows.row(name, number, plan))
                read.append(rows.row(name, number, plan, measure=True))
            self.listener.progress(of_budget(number, "test"), done + 1, len(others) + 1)
            tracker.stream()
        read = self._asked(number, read, rows)
        found = rows.budget(solved.budget, read[0], read[1:], solved.seconds)
        if self.settings.finetune is None:
            return found
        how = self.settings.finetune.how
        begin(tracker, replace(rows.row(f"healed on {how}", number, best), healed=True))

        def on_step(done: int, total: int) -> None:
            self.listener.progress(of_budget(number, "healing"), done, total)
            tracker.stream()

        healed = self.bench.healed(best, how, on_step)
        row = rows.row(f"healed on {how}", number, best, measure=True, healed=healed)
        return replace(found, healed=rows.asked(row, healed), gain=rows.gain(best, healed))

    def _asked(self, number: int, read: list[PlanRow], rows: Rows) -> list[PlanRow]:
        """The rows of a budget, the best and its rival with their recall and effective context."""
        asked = [at for at, row in enumerate(read) if row in (read[0], rival_of(read))]
        for done, at in enumerate(asked):
            read = [*read[:at], rows.asked(read[at]), *read[at + 1 :]]
            self.listener.progress(of_budget(number, "recall"), done + 1, len(asked))
        return read


def begin(tracker: Tracker, row: PlanRow) -> None:
    """A plan's run starts, where test windows were not read with it before."""
    if not row.difference:
        tracker.begin(plan_key(row), lambda: of_plan(row))
