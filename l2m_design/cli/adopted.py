"""`l2m search` for a study that starts from a trained model: print the plan, show progress, print the result."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from l2m_design.cli.status import live
from l2m_design.cli.terminal import print_json, print_plan, runs_in_mlflow, say, table, warn

if TYPE_CHECKING:
    from l2m_design.library.adopt import AdoptionResult
    from l2m_design.search.adoption.results import PlanRow
    from l2m_design.search.adoption.run import Adoption


class SearchOptions(NamedTuple):
    """The options of `l2m search`. dry_run: print what would run. reselect: choose again from stored results."""

    runs: Path
    reports: Path
    tracking: str | None
    fresh: bool
    resume: bool
    dry_run: bool
    reselect: bool
    as_json: bool

    def resume_command(self, study: Path, overrides: list[str], further: list[str]) -> str:
        """Return the command that continues an interrupted search."""
        sets = [word for override in overrides for word in ("--set", override)]
        folders = ["--runs", str(self.runs), "--reports", str(self.reports)]
        folders += (["--tracking", self.tracking] if self.tracking else []) + further
        return shlex.join(["l2m", "search", str(study), *sets, *folders, "--resume"])


def search(study: Path, overrides: list[str], how: SearchOptions) -> None:
    """Run the search, or print what would run."""
    from l2m_design.library.adopt import adopted, finished, open_adoption
    from l2m_design.search.driver import Listener
    from l2m_design.search.run import Interrupted

    work = open_adoption(study, overrides, runs=how.runs, reports=how.reports, tracking=how.tracking)
    if how.dry_run:
        _plan(work, how.as_json)
        return
    if how.reselect:
        _show(adopted(work, work.reselect()), how.as_json)
        return
    warn(*work.corpus.notes)
    try:
        with live() as below:
            listener = Listener(below.bars, below.bars, status=below.show)
            summary = work.run(how.fresh, how.resume, listener)
    except Interrupted as stopped:
        warn(f"l2m: interrupted: {stopped}; continue with: {how.resume_command(study, overrides, [])}")
        raise typer.Exit(1) from None
    _show(finished(work, summary), how.as_json)


def _plan(work: "Adoption", as_json: bool) -> None:
    """Print what would run, in numbers."""
    planned, layers = work.work(), len(work.shape.layers)
    speed = work.settings.teraflops
    plan: dict[str, object] = {
        "study": work.settings.name,
        "start": work.settings.start,
        "corpus": work.corpus.name,
        "layers": layers,
        "kv_heads": work.shape.kv_heads,
        "tokens_a_window": work.settings.length,
        "replacements": sum(len(unit.options) - 1 for unit in work.units),
        "passes": planned.passes,
        "cost_passes_a_layer": round(planned.passes["costs"] / work.settings.windows.costs / layers, 2),
        "operations": planned.total,
        "hours": round(work.hours(), 3),
        "runs": str(work.folder.path),
        "reports": str(work.report_folder),
    }
    if as_json:
        print_json(plan)
        return
    plan["passes"] = ", ".join(f"{name} {count:,.0f}" for name, count in planned.passes.items() if count)
    plan["operations"] = f"{planned.total:.3g}"
    plan["hours"] = f"about {plan['hours']:,}, " + (f"at {speed:g} teraflops" if speed else "on this machine")
    print_plan(plan)


def _show(result: "AdoptionResult", as_json: bool) -> None:
    """Print the result; exit with code 1 if no plan was chosen."""
    if as_json:
        told = {key: value for key, value in result.data.items() if key != "settings"}
        print_json(told | {"files": result.files, "runs_page": result.runs_page})
    else:
        _print(result)
        runs_in_mlflow(result.found.tracking_uri, result.runs_page)
    raise typer.Exit(0 if result.chosen else 1)


def _print(result: "AdoptionResult") -> None:
    summary = result.found
    rows = [
        _cells(row)
        for budget in summary.budgets
        for row in (budget.best, *([budget.healed] if budget.healed else []), *budget.others)
    ]
    target = f"{summary.settings.condition.length:,}"
    columns = ["plan", "layers", f"state at {target}", "share", "predicted loss, nats", "measured loss, nats"]
    table([*columns, "recall", "condition"], rows)
    say(
        *result.sentences,
        f"Time: {summary.seconds:.0f} s.",
        f"Report: {result.files[0]}",
        *(f"Plan: {file}" for file in result.files[1:]),
    )
    warn(*summary.notes)


def _cells(row: "PlanRow") -> list[str]:
    from l2m_design.report.adoption import lost, recalled
    from l2m_design.report.words import MARKS, size

    return [
        row.name,
        row.picture.replace(" ", ""),
        size(row.state_bytes),
        f"{row.share:.3g}",
        f"{row.predicted:+.3f}" if row.predicted is not None else "-",
        lost(row),
        recalled(row.recall) if row.recall else "-",
        "-" if row.meets is None else MARKS[row.meets],
    ]
