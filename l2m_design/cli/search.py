"""`l2m search STUDY`: from a corpus to an exported architecture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli import adopted
from l2m_design.cli.status import live
from l2m_design.cli.terminal import DryRun, Json, Set, print_json, say, table, warn

if TYPE_CHECKING:
    from l2m_design.library.search import StudySummary
    from l2m_design.search.results.values import AtLength, Finalist, Summary, TrialRow
    from l2m_design.search.run import Search


def command(
    study: Annotated[Path, typer.Argument(help="A study, as configs/quickstart.yaml.")],
    overrides: Set = [],  # noqa: B006 - typer copies it
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted search; it must exist.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an earlier search is moved aside.")] = False,
    runs: Annotated[Path, typer.Option(help="Where databases, records and weights go.")] = Path("runs"),
    reports: Annotated[Path, typer.Option(help="Where the report and the chosen drawing go.")] = Path("reports"),
    tracking: Annotated[str | None, typer.Option(help="MLflow URI; by default a sqlite file here.")] = None,
    storage: Annotated[str | None, typer.Option(help="Database of trials; by default sqlite in --runs.")] = None,
    reselect: Annotated[
        bool, typer.Option("--reselect", help="Choose again from what is stored; nothing is trained.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search architectures under the L²M condition, or the least cache of a model (a study with `start`).

    A search that was stopped goes on where it was.
    """
    from l2m_design.errors import BadInput

    if fresh + resume + reselect > 1:
        raise BadInput("--fresh, --resume and --reselect exclude each other")
    from l2m_design.search.adoption.settings import is_adoption

    how = adopted.How(runs, reports, tracking, fresh, resume, dry_run, reselect, as_json)
    if not is_adoption(study):
        _architectures(study, overrides, how, storage)
    elif storage:
        raise BadInput("--storage: a study with `start` keeps its tables in --runs; leave it out")
    else:
        adopted.search(study, overrides, how)


def _architectures(study: Path, overrides: list[str], how: "adopted.How", storage: str | None) -> None:
    """Search a space of architectures."""
    from l2m_design.library.search import open_study, written
    from l2m_design.library.search import reselect as choose_again
    from l2m_design.report import words
    from l2m_design.search.driver import Listener
    from l2m_design.search.run import Interrupted
    from l2m_design.search.study.database import shown

    work = open_study(study, overrides, runs=how.runs, reports=how.reports, tracking=how.tracking, storage=storage)
    if how.dry:
        _plan(work, how.as_json)
        return
    if how.again:
        _show(choose_again(work, Listener(trouble=_trouble)), how.as_json)
        return
    warn(*work.corpus.notes)
    try:
        with live() as below:
            listener = Listener(below.bars, below.bars, lambda r: below.note(words.trial(r)), _trouble, below.show)
            summary = work.run(how.fresh, how.resume, listener)
    except Interrupted as stopped:
        kept = ["--storage", shown(storage)] if storage else []
        warn(f"l2m: interrupted: {stopped}; go on with: {how.again_with(study, overrides, kept)}")
        raise typer.Exit(1) from None
    _show(written(summary, work.corpus), how.as_json)


def _trouble(sentence: str) -> None:
    warn(f"l2m: {sentence}")


def _show(found: "StudySummary", as_json: bool) -> None:
    """Print what was found; exit 1 where nothing was chosen."""
    if as_json:
        left_out = ("records", "settings", "space")
        print_json({key: value for key, value in found.data.items() if key not in left_out} | {"files": found.files})
    else:
        _print(found.found, found.files)
    raise typer.Exit(0 if found.chosen else 1)


def _print(summary: "Summary", files: list[str]) -> None:
    from l2m_design.report import words

    length = f"{summary.demand.terms.length:,}"
    titles = [
        "layers",
        f"late loss, nats ({'test' if summary.finalists else 'validation'})",
        "- reference",
        "effective context",
        f"state at {length}",
        "growth",
        "level",
    ]
    if summary.finalists:
        table([f"finalist, {summary.choice.length:,} tokens", *titles], _finalist_rows(summary))
    else:
        table(["design", *titles], _trial_rows(summary))
    trials, seconds = summary.trials, summary.seconds
    say(
        *words.outcome(summary),
        f"{trials.complete} trials complete, {trials.pruned} pruned, {words.rejected(summary)}, "
        f"{trials.failed} failed, {summary.duplicates} drawn before, "
        + (f"in {seconds.total:.0f} s ({seconds.training:.0f} s training)." if seconds.total else "stored."),
        f"Report: {files[0]}",
        *(f"Chosen: {file}" for file in files[1:3]),
        *(f"Tokenizer: {file}" for file in files[3:]),
        *([f"Trials and curves: mlflow ui --backend-store-uri {uri}"] if (uri := summary.tracking_uri) else []),
    )
    warn(*summary.notes)


def _trial_rows(summary: "Summary") -> list[list[str]]:
    """The chosen one, the front and the baselines, each trial once."""
    rows, seen = [], set[int | None]()
    for row in [summary.chosen, *summary.front, *summary.baselines]:
        if row is None or row.trial in seen:
            continue
        seen.add(row.trial)
        loss = f"{row.loss:.3f}" if row.loss is not None else f"{row.state}: {row.reason}"
        rows.append(_cells(("chosen: " if row is summary.chosen else "") + row.name, row, loss, row))
    return rows


def _finalist_rows(summary: "Summary") -> list[list[str]]:
    """Every finalist at the length of the choice, the chosen one first."""
    chosen = summary.chosen.fingerprint if summary.chosen else None
    rows = []
    for row in sorted(summary.finalists, key=lambda row: row.fingerprint != chosen):
        at = row.lengths.get(summary.choice.length)
        name = ("chosen: " if row.fingerprint == chosen else "") + row.name
        loss = f"{at.test_loss:.3f}" if at else f"failed: {', '.join(row.failed)}"
        rows.append(_cells(name, row, loss, at))
    return rows


def _cells(name: str, row: "TrialRow | Finalist", loss: str, found: "TrialRow | AtLength | None") -> list[str]:
    """found: what was measured, of the row's own trial or at the length of the choice."""
    from l2m_design.report import words
    from l2m_design.report.words import size

    reached = found.effective_context if found else None
    return [
        name,
        row.picture,
        loss,
        words.estimate(found.difference if found else None, sign=True),
        "-" if reached is None else f"{reached:,}",
        size(row.state_bytes),
        f"t^{row.growth_exponent:.2f} " + words.MARKS[row.meets_growth],
        words.MARKS[row.meets_level],
    ]


def _plan(search: "Search", as_json: bool) -> None:
    from l2m_design.report import words
    from l2m_design.search.results.finalists import tokens_at_most
    from l2m_design.search.space.known import known_designs

    settings, space = search.settings, search.space
    recipe, trials = settings.recipe, settings.search.trials
    resolved = space.resolved(settings.demand.beta or 0.7)
    designs = len(known_designs(resolved, settings.demand.beta or 0.7)) if settings.search.known_designs else 0
    named = settings.finalists.baselines if settings.finalists else None
    again = designs if named is None else min(designs, len(named) + 1)  # the best of all trials may be another
    baselines = designs * len(settings.search.rates)
    tokens, troubles = tokens_at_most(settings, baselines, again), search.rehearse()
    cost = search.cost()
    plan = {
        "study": settings.name,
        "corpus": search.corpus.name,
        "training_tokens_in_corpus": search.corpus.documents("train").size,
        "drawings": resolved.drawings,
        "baselines": baselines,
        "trials": trials,
        "steps_a_trial": recipe.steps,
        "tokens_a_trial": recipe.spent,
        "tokens_at_most": tokens,
        "training_flops_at_most": space.training_flops_per_token * tokens,
        "cost": cost.plain(),
        "runs": str(search.folder.path),
        "reports": str(search.report_folder),
    }
    if as_json:
        print_json(plan)
    else:
        warn(*(f"l2m: {trouble}" for trouble in troubles))
        say(
            *(
                f"{key.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{key.replace('_', ' ')}: {value}"
                for key, value in plan.items()
                if key != "cost"
            ),
            *words.cost(cost),
        )
