"""The page and the sentences of a study with `start`: the smallest cache with which a model loses at most delta."""

from pathlib import Path

from l2m_design.laws import PowerLaw
from l2m_design.report import words
from l2m_design.report.figures import adoption as figures
from l2m_design.report.interactive import plans as live
from l2m_design.report.interactive.caches import cost_map
from l2m_design.report.picture import rendered, save_figures
from l2m_design.report.plans import MOST_ROWS, kinds, title
from l2m_design.report.words import estimate, letter, size
from l2m_design.search.adoption.results import AdoptionSummary, BudgetRow, PlanRow
from l2m_design.search.results.paired import Gap
from l2m_design.settings import Json, to_yaml, write_atomically


def write_adoption(summary: AdoptionSummary, path: Path) -> None:
    """Render the summary to `path`, atomically."""
    text = rendered(
        "adoption.html.j2",
        {
            "summary": summary,
            "outcome": outcome(summary),
            "caveats": caveats(summary),
            "svgs": svgs(summary),
            "figures": interactive(summary),
            "colours": {row.key: kind.colour for kind in kinds(summary) for row in kind.rows},
            "title": title,
            "most_rows": MOST_ROWS,
            "settings": to_yaml(summary.settings.plain()),
            "size": size,
            "estimate": estimate,
            "letter": letter,
            "recall": bool(summary.start.recall) or any(row.recall for row in summary.rows),
            "marks": words.MARKS,
            "plan": to_yaml(summary.chosen.layers) if summary.chosen else None,
        },
    )
    write_atomically(path, text)


def write_figures(summary: AdoptionSummary, folder: Path) -> list[Path]:
    """Every figure of the page as an SVG file of a folder; returns the files."""
    return save_figures(svgs(summary), folder)


def svgs(summary: AdoptionSummary) -> dict[str, str]:
    """SVG by name of figure, of those that have something to show."""
    found = {"front": figures.front(summary), "map": figures.cost_map(summary)}
    return found | ({"check": figures.check(summary.check)} if summary.check.measured else {})


def interactive(summary: AdoptionSummary) -> dict[str, Json]:
    """Traces and layout by name of figure, of the same."""
    found = {"front": live.front(summary), "map": cost_map(summary), "check": live.check(summary.check)}
    return {name: figure for name, figure in found.items() if figure}


def outcome(summary: AdoptionSummary) -> list[str]:
    """The answer in sentences, the most important first."""
    start, choice = summary.start, summary.settings.choice
    target = f"{summary.settings.condition.length:,} tokens, counted in {summary.settings.cache_dtype}"
    said = [*_demanded(summary), *_chosen(summary, target)]
    if summary.test_documents:
        windows = summary.settings.windows.test
        said.append(
            f"Test losses are means over {windows} windows of {summary.test_documents} documents; differences are "
            "paired over documents."
        )
    for budget in summary.budgets:
        said += compared(budget)
    if summary.check.spearman:
        said.append(
            f"Over {len(summary.check.measured)} random plans the rank correlation of predicted and measured losses is "
            f"{estimate(summary.check.spearman)}."
        )
    if start.recall:
        told = "; ".join(filter(None, map(_recall, summary.budgets)))
        said.append(f"Recalled digits of needle and keys: {recalled(start.recall)} by the model itself; {told}.")
    said += _contexts(summary)
    if summary.chosen is None:
        said.append(f"Every state is that at {target}.")
    if summary.budgets and not any(budget.best.difference for budget in summary.budgets):
        said.append("The plans were chosen again from stored costs. Losses that were not measured are predicted.")
    return [*said, *([] if choice.delta else ["With delta 0, no plan that loses anything can be confirmed."])]


def _recall(budget: BudgetRow) -> str:
    """What the searched plan of a budget recalls, and the best uniform one; nothing where it was not measured."""
    row = budget.healed or budget.best
    rival = next((other for other in budget.others if other.name == budget.rival and other.recall), None)
    beside = f" ({recalled(rival.recall)} by the best uniform plan)" if rival else ""
    return f"{recalled(row.recall)} with {row.share:.3g} of the state{beside}" if row.recall else ""


def _contexts(summary: AdoptionSummary) -> list[str]:
    own = summary.start.effective_context
    rows = [budget.healed or budget.best for budget in summary.budgets]
    known = [(row.share, row.effective_context) for row in rows if row.effective_context is not None]
    if own is None or not known:
        return []
    told = "; ".join(f"{reached:,} tokens with {share:.3g} of the state" for share, reached in known)
    return [
        "Effective context, beyond which more context does not significantly lower the loss: "
        f"{own:,} tokens for the model itself; {told}."
    ]


def _demanded(summary: AdoptionSummary) -> list[str]:
    demand = summary.demand
    if demand is None:
        return []
    if demand["growth"] == "none":
        return _nothing_required(summary, PowerLaw.of_plain(demand["law"]), demand["measurement"] is not None)
    level = "" if demand["has_level"] else "; the amount is not known, so the capacity condition is not judged"
    return [f"Required growth: {demand['growth']} ({demand['formula']} nats){level}."]


def _nothing_required(summary: AdoptionSummary, law: PowerLaw, measured: bool) -> list[str]:
    """A warning if the law of the data does not grow, since every plan then meets the condition."""
    admits = "every plan meets the growth condition"
    if law.at(summary.settings.condition.length / 2).high <= 0:
        admits = "every plan meets the growth condition and the capacity condition, and only the loss decides"
    instead = " Measure with more windows (demand.measure.windows) or another estimator, or give demand.beta."
    return [
        f"Beware: no growth is required. The law of the corpus is I(n;n) = {law.formula()} nats, which does not grow "
        f"with n, so {admits}.{instead if measured else ''}"
    ]


def _chosen(summary: AdoptionSummary, target: str) -> list[str]:
    row, choice = summary.chosen, summary.settings.choice
    if not any(each.p is not None for budget in summary.budgets for each in (budget.best,)):
        return []
    if row is None:
        first = max(summary.budgets, key=lambda budget: budget.bytes)
        if (first.healed or first.best).p is None:
            return ["None chosen: the best plan of the largest budget was not measured on test windows. Search again."]
        return [
            "None chosen: the tests do not confirm that the plan of the largest budget loses at most "
            f"{choice.delta:g} nats per token. Give a larger budget or delta, or more test windows."
        ]
    length, aimed = summary.settings.length, summary.settings.condition.length
    where = "" if length == aimed else f", measured at {length:,} tokens and not at {aimed:,} tokens,"
    return [
        f"Chosen: {row.picture} ({row.name}): {size(row.state_bytes)} of state at {target}: {row.share:.3g} of the "
        f"model's {size(summary.start.bytes)}. Its late loss{where} is {estimate(row.difference, sign=True)} nats per "
        f"token above the model's own; with {100 * choice.confidence:.0f}% confidence it is at most {choice.delta:g} "
        "above."
    ]


def compared(budget: BudgetRow) -> list[str]:
    """A budget in sentences: the best plan against the best uniform one, plans that were not measured, healing."""
    row, said, at = budget.best, [], f"At {budget.share:.3g} of the state"
    if row.name.startswith("uniform"):
        said.append(f"{at}, no plan has a lower loss than {row.name} on validation windows.")
    if budget.over is not None:
        part = f" ({estimate(budget.lost)} of the loss of the uniform plan)" if budget.lost else ""
        said.append(
            f"{at}, the searched plan loses {estimate(row.difference, sign=True)} nats per token. Its loss minus that "
            f"of the best uniform plan ({budget.rival}), paired over documents, is "
            f"{estimate(budget.over, sign=True)}{part}: {_better(budget.over)}."
        )
    said += [_unmeasured(at, each, budget) for each in (row, *budget.others) if each.difference is None]
    if budget.healed and budget.gain:
        said.append(
            f"{at}, the plan that was {budget.healed.name} loses "
            f"{estimate(budget.healed.difference, sign=True)} nats per token to the model itself. Healing lowers the "
            f"loss by {estimate(budget.gain)} nats per token, paired over documents."
        )
    return said


def _unmeasured(at: str, row: PlanRow, budget: BudgetRow) -> str:
    # of a plan that test windows were not read with: the solution, or the best on validation windows
    if row.validation is not None:
        return (
            f"{at}, {row.picture} ({row.name}) loses {row.validation:+.4f} nats per token on validation windows. It "
            "was not measured on test windows."
        )
    predicted = "" if row.predicted is None else f" with a predicted loss of {row.predicted:+.4f} nats per token"
    return f"{at}, the solution is {row.picture}{predicted} (solved in {budget.seconds:.2f} s). It was not measured."


def _better(over: Gap) -> str:
    if over.low <= 0 <= over.high:
        return "the difference is not significant"
    return "the searched plan is better" if over.value < 0 else "the uniform plan is better"


def recalled(recall: dict[str, float]) -> str:
    """Shares of recalled digits, in words."""
    return " and ".join(f"{100 * share:.0f}%" for share in recall.values())


def caveats(summary: AdoptionSummary) -> list[str]:
    """The limits of the numbers, in sentences."""
    said = [
        "The cost of each replacement is measured alone, and costs add up only approximately. Every stated loss of a "
        "plan is therefore measured with the whole plan, unless it is called predicted.",
        f"Losses are means over the second half of windows of {summary.settings.length:,} tokens. The caches of a plan "
        "are defined at longer contexts too, but no loss was measured there.",
        "A small loss does not imply good recall: the plan may fail to find a single line of the text that a later "
        "question needs.",
        "The L²M condition is necessary, not sufficient. It fixes how fast the state must grow, not how large it is.",
    ]
    return said if summary.demand else said[:-1]


def lost(row: PlanRow) -> str:
    """The loss of a plan on test windows, else its predicted loss."""
    if row.difference:
        return estimate(row.difference, sign=True)
    return "-" if row.predicted is None else f"{row.predicted:+.4f} (predicted)"
