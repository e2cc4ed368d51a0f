"""Rows: what is measured of plans, as the values that a summary holds."""

from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from l2m_design import __version__
from l2m_design.architecture.plans import CachePlan
from l2m_design.condition import Judgement
from l2m_design.estimates import Estimate, Floats
from l2m_design.search.adoption.bench import Bench
from l2m_design.search.adoption.knapsack import Knapsack
from l2m_design.search.adoption.results import AdoptionSummary, BudgetRow, Check, PlanRow, Start, UnitRow
from l2m_design.search.adoption.table import plan_name
from l2m_design.search.results.paired import Difference, Gap, difference
from l2m_design.search.results.tables import gains_of
from l2m_design.training.start import Healed

REPLICATES = 1000
UNIFORM = "uniform "


class Rows:
    """Of one study. costs: [units, most options], nats per token."""

    def __init__(self, bench: Bench, knapsack: Knapsack, costs: Floats) -> None:
        self._bench, self._knapsack, self._costs = bench, knapsack, costs

    def validation(self, plan: CachePlan, healed: Healed | None = None) -> float:
        """Mean late loss above the model's own on validation windows, nats per token."""
        own = self._bench.losses(None, "validation")
        return float((self._bench.losses(plan, "validation", healed=healed) - own).mean())

    def row(
        self, name: str, budget: int, plan: CachePlan, *, measure: bool = False, healed: Healed | None = None
    ) -> PlanRow:
        """A plan; what was not measured is, if it is to be, and is None otherwise. Recall and context: see `asked`."""
        bench, knapsack = self._bench, self._knapsack
        tested = measure or bench.known(plan, "test", healed)
        chosen_by = bench.known(plan, "validation", healed)
        late = self._above(plan, "late", healed) if tested else None
        held = knapsack.bytes(plan)
        gains, reached = self._context(plan, healed)
        return PlanRow(
            name=name,
            budget=budget,
            layers=plan.plain(),
            picture=plan.picture,
            fingerprint=plan_name(plan),
            kept=knapsack.picks(plan),
            state_bytes=held,
            share=held / knapsack.own_bytes,
            judgement=self._judged(plan),
            predicted=knapsack.predicted(plan, self._costs),
            validation=self.validation(plan, healed) if chosen_by else None,
            difference=late.gap() if late else None,
            repeated=(gap.gap() if (gap := self._above(plan, "repeated", healed)) else None) if tested else None,
            p=late.p_at_most(bench.settings.choice.delta) if late else None,
            recall=bench.recall(plan, healed) if bench.known(plan, "recall", healed) else {},
            context_gain=gains,
            effective_context=reached,
            healed=healed is not None,
        )

    def asked(self, row: PlanRow, healed: Healed | None = None) -> PlanRow:
        """The row with the recall and the effective context of its plan, measured, as those of the model itself are."""
        plan = CachePlan.of_plain(row.layers, self._knapsack.shape.kv_heads)
        self._bench.cut(None)
        self._bench.cut(plan, healed)
        gains, reached = self._context(plan, healed)
        recall = self._bench.recall(plan, healed)
        return replace(row, recall=recall, context_gain=gains, effective_context=reached)

    def _context(self, plan: CachePlan | None, healed: Healed | None = None) -> tuple[dict[int, Gap], int | None]:
        """What the past beyond each context gains on test windows, paired, and the effective context, if known."""
        bench = self._bench
        if not (bench.known(plan, "context", healed) and bench.known(plan, "test", healed)):
            return {}, None
        whole, cut = bench.losses(plan, "test", healed=healed), bench.cut(plan, healed)
        count = next((len(losses) for losses in cut.values()), 0)
        own = {0: bench.by_document(whole[:count], "test")}
        return gains_of(own, {c: {0: bench.by_document(losses, "test")} for c, losses in cut.items()})

    def _above(self, plan: CachePlan, what: str, healed: Healed | None) -> Difference | None:
        """The loss above the model's own on test documents, paired."""
        bench = self._bench
        ours, theirs = bench.losses(plan, "test", what, healed), bench.losses(None, "test", what)
        if np.isnan(ours).all():
            return None
        return difference({0: bench.by_document(ours, "test")}, {0: bench.by_document(theirs, "test")})

    def _judged(self, plan: CachePlan) -> Judgement | None:
        demand = self._knapsack.rules.demand
        return demand.judge(plan.state(self._knapsack.shape.head_dim)).judgement if demand else None

    def gain(self, plan: CachePlan, healed: Healed) -> Gap | None:
        """By how much healing lowers the loss on test documents, paired."""
        bench = self._bench
        before, after = bench.losses(plan, "test"), bench.losses(plan, "test", healed=healed)
        found = difference({0: bench.by_document(before, "test")}, {0: bench.by_document(after, "test")})
        return found.gap() if found else None

    def budget(self, budget: float, best: PlanRow, others: list[PlanRow], seconds: float) -> BudgetRow:
        """A budget; its best plan is held against the uniform plan that loses least on test windows."""
        rival = rival_of([best, *others])
        over, lost = self._beside(best, rival) if rival else (None, None)
        others = [replace(r, part=self._beside(best, r)[1]) if r.name.startswith(UNIFORM) else r for r in others]
        return BudgetRow(
            bytes=round(budget),
            share=budget / self._knapsack.own_bytes,
            best=best,
            healed=None,
            others=others,
            over=over,
            lost=lost,
            gain=None,
            rival=rival.name if rival else None,
            seconds=seconds,
        )

    def _beside(self, ours: PlanRow, theirs: PlanRow) -> tuple[Gap | None, Estimate | None]:
        """Our test loss less theirs, paired; and what we lose above the model as a part of what they do, documents
        resampled: None where some resampled documents show no loss of theirs.
        """
        bench, losses = self._bench, []
        kv_heads = self._knapsack.shape.kv_heads
        if ours.difference is None or theirs.difference is None or ours.fingerprint == theirs.fingerprint:
            return None, None
        for row in (ours, theirs):
            plan = CachePlan.of_plain(row.layers, kv_heads)
            losses.append(np.array(bench.by_document(bench.losses(plan, "test") - bench.losses(None, "test"), "test")))
        found = difference({0: losses[0].tolist()}, {0: losses[1].tolist()})
        over = found.gap() if found else None
        drawn = np.random.default_rng(0).integers(0, len(losses[0]), (REPLICATES, len(losses[0])))
        means = losses[1][drawn].mean(1)
        if means.min() <= 0:
            return over, None
        return over, Estimate.of_draws(losses[0].mean() / losses[1].mean(), losses[0][drawn].mean(1) / means, 0.95)

    def check(self, plans: list[CachePlan], measured: list[float]) -> Check:
        """Random plans: predicted beside measured losses, and their rank correlation with its interval."""
        predicted = [float(self._knapsack.predicted(plan, self._costs) or 0.0) for plan in plans]
        spearman = None
        pairs = np.array([predicted, measured])
        if len(measured) > 3 and np.isfinite(_rank(pairs)):
            drawn = np.random.default_rng(0).integers(0, len(measured), (REPLICATES, len(measured)))
            draws = np.array([_rank(pairs[:, rows]) for rows in drawn])
            spearman = Estimate.of_draws(_rank(pairs), draws, 0.95)
        return Check(predicted=predicted, measured=measured, spearman=spearman)

    def summary(self, budgets: list[BudgetRow], check: Check) -> AdoptionSummary:
        """All of it, as far as it is known."""
        bench, settings = self._bench, self._bench.settings
        corpus = bench.corpus
        return AdoptionSummary(
            study=settings.name,
            version=__version__,
            settings=settings,
            start=self._start(),
            corpus={"name": corpus.name, "fingerprint": corpus.fingerprint},
            demand=None,
            units=self._units(),
            budgets=budgets,
            check=check,
            chosen=chosen(budgets, settings.choice.confidence),
            seconds=0.0,
            test_documents=len(set(bench.windows["test"].cluster.tolist())),
            notes=[*corpus.notes],
        )

    def _start(self) -> Start:
        bench, knapsack = self._bench, self._knapsack
        known = bench.known(None, "test")
        gains, reached = self._context(None)
        shape = knapsack.shape
        return Start(
            name=bench.settings.start,
            fingerprint=bench.start.fingerprint,
            layers=list(shape.layers),
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            bytes=knapsack.own_bytes,
            late_loss=float(bench.own_costs().mean()),
            test_loss=float(bench.losses(None, "test").mean()) if known else None,
            recall=bench.recall(None) if known else {},
            context_gain=gains,
            effective_context=reached,
        )

    def _units(self) -> list[UnitRow]:
        rules, shape, found = self._knapsack.rules, self._knapsack.shape, []
        for u, unit in enumerate(self._knapsack.units):
            held = [kept.state(shape.head_dim).bytes(rules.length, rules.dtypes) for kept in unit.options]
            found.append(
                UnitRow(
                    layer=unit.layer,
                    heads=list(unit.heads),
                    options=[str(kept) for kept in unit.options],
                    bytes=[each * len(unit.heads) for each in held],
                    costs=[float(cost) for cost in self._costs[u, : len(unit.options)]],
                )
            )
        return found


def _rank(pairs: Floats) -> float:
    """Spearman's correlation of two rows; NaN where one is constant."""
    return float("nan") if (np.ptp(pairs, axis=1) == 0).any() else float(spearmanr(pairs[0], pairs[1]).statistic)


def rival_of(rows: list[PlanRow]) -> PlanRow | None:
    """The uniform plan that loses least on test windows."""
    measured = [(row.difference.value, row) for row in rows if row.name.startswith(UNIFORM) and row.difference]
    return min(measured, key=lambda pair: pair[0])[1] if measured else None


def chosen(budgets: list[BudgetRow], confidence: float) -> PlanRow | None:
    """The least state of the plans that lose at most delta with confidence: budgets are tested from the largest state
    down, each at the same level, until one fails; so all answers together have that confidence (fixed sequence).
    """
    found = None
    for budget in sorted(budgets, key=lambda row: -row.bytes):
        rows = [row for row in (budget.healed, budget.best) if row is not None and row.p is not None]
        passing = [row for row in rows[:1] if row.p is not None and row.p <= 1 - confidence and row.meets is not False]
        if not passing:
            break
        found = passing[0]
    return found
