"""The answer of a study in Markdown: the description of its run in MLflow."""

from collections.abc import Iterable, Sequence

from l2m_design.report import adoption, words
from l2m_design.report.words import size
from l2m_design.search.adoption.results import AdoptionSummary
from l2m_design.search.results.values import AtLength, Summary, TrialRow

FILES = "The report is `index.html` under Artifacts, beside `study.json` and the chosen architecture."
WARNINGS, ANSWERS = ("These losses", "Beware"), ("Chosen:", "None chosen:")
CHOSEN = "In the table of runs, the filter `tags.chosen = 'yes'` shows the chosen one."


def of_study(summary: Summary) -> str:
    """A search of architectures: its answer, and a table of finalists, or of the trials of the Pareto front."""
    at = f"state at {summary.demand.terms.length:,} tokens"
    if summary.finalists:
        titles = ["finalist", "layers", "test loss, nats", "minus reference", "effective context", at, "growth"]
        rows = [
            [
                _bold(row.name, summary.chosen is not None and row.fingerprint == summary.chosen.fingerprint),
                f"`{row.picture}`",
                *(
                    (f"{found.test_loss:.3f}", words.estimate(found.difference, sign=True), _tokens(found))
                    if (found := row.lengths.get(summary.choice.length))
                    else ("failed", "-", "-")
                ),
                size(row.state_bytes),
                f"t^{row.growth_exponent:.2f}",
            ]
            for row in summary.finalists
        ]
    else:
        titles = ["trial", "layers", "validation loss, nats", "effective context", at, "growth"]
        rows = [
            [
                _bold(row.name, summary.chosen is not None and row.trial == summary.chosen.trial),
                f"`{row.picture}`",
                "-" if row.loss is None else f"{row.loss:.3f}",
                _tokens(row),
                size(row.state_bytes),
                f"t^{row.growth_exponent:.2f}",
            ]
            for row in summary.front
        ]
    return _page(words.outcome(summary), _table(titles, rows), summary.notes)


def of_adoption(summary: AdoptionSummary) -> str:
    """A search of a model's cache: its answer, and a table of the best plan of each budget."""
    titles = ["plan", "layers", "test loss minus the model's, nats", "state", "share of the model's state"]
    rows = []
    for row in (budget.healed or budget.best for budget in summary.budgets):
        chosen = summary.chosen is not None and row.fingerprint == summary.chosen.fingerprint
        cells = [adoption.lost(row), size(row.state_bytes), f"{row.share:.3g}"]
        rows.append([_bold(row.name, chosen), f"`{row.picture}`", *cells])
    return _page(adoption.outcome(summary), _table(titles, rows), summary.notes)


def _page(said: Iterable[str], table: str, notes: Sequence[str]) -> str:
    listed = "\n".join(f"- {note}" for note in notes)
    parts = [*sorted(said, key=_rank), table, *([f"## Notes\n\n{listed}"] if notes else []), f"{FILES} {CHOSEN}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rank(sentence: str) -> int:
    """Warnings first, then the answer."""
    ranks = {WARNINGS: 0, ANSWERS: 1}
    return next((rank for begins, rank in ranks.items() if sentence.startswith(begins)), len(ranks))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) if rows else ""
    )


def _bold(name: str, chosen: bool) -> str:
    return f"**{name} (chosen)**" if chosen else name


def _tokens(found: TrialRow | AtLength) -> str:
    return "-" if found.effective_context is None else f"{found.effective_context:,}"
