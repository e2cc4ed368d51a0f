"""`l2m status STUDY`: the state of a search, as a table; `l2m search` shows the same table while it runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Json, Progress, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from l2m_design.search.watch import Status

MOST_RUNS = 12
MARKS = {
    "running": "running",
    "finished": "finished",
    "interrupted": "interrupted; l2m search continues it",
    "failed": "failed; l2m search continues it",
    "lost": "its process has ended; l2m search continues it",
}


def command(
    study: Annotated[str, typer.Argument(help="Name of a study, its YAML file, or its folder in --runs.")],
    runs: Annotated[Path, typer.Option(help="Folder for databases, records and weights.")] = Path("runs"),
    follow: Annotated[bool, typer.Option("--follow", help="Update the table until the search ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show the state of a search: the best trial so far, running jobs, rejected trials, and the time left."""
    from dataclasses import asdict

    from l2m_design.errors import BadInput
    from l2m_design.search.watch import status_of

    if follow and as_json:
        raise BadInput("--follow: cannot be combined with --json; leave one of them out")
    folder = _folder(study, runs)
    status = status_of(folder)
    if as_json:
        print_json(asdict(status))
        return
    with live(stderr=False) as shown:
        while follow and status.state == "running":
            shown.show(status)
            time.sleep(1.0)
            status = status_of(folder)
    shown.console.print(status_table(status))


def _folder(study: str, runs: Path) -> Path:
    """Return the folder of a study, which is given by its name, its file or the folder itself."""
    from l2m_design.search.adoption.settings import is_adoption, load_adoption
    from l2m_design.search.settings import load_study

    if study.endswith((".yaml", ".yml")):
        return runs / (load_adoption(study) if is_adoption(study) else load_study(study)[0]).name
    return Path(study) if Path(study).is_dir() else runs / study


def status_table(status: "Status") -> "Table":
    """Return a status as a table of two columns: name and value."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for what, said in _rows(status):
        grid.add_row(what, said)
    return grid


def _rows(status: "Status") -> Iterator[tuple[str, str]]:
    from rich.markup import escape

    from l2m_design.report.words import size

    yield "study", escape(f"{status.study}: {MARKS[status.state]}")
    total = f" of {status.total}" if status.total else ""
    yield "stage", escape(f"{status.stage}: {status.done}{total}")
    yield from _measured(status)
    if best := status.best:
        name = f"trial {best.trial} {best.picture}" + (f" ({best.design})" if best.design else "")
        yield "best so far", escape(f"{name}: late loss {best.late_loss:.3f}, state {size(best.state_bytes)}")
    if (counts := status.trials) and not status.stages:
        trained = f"{counts['complete']} complete, {counts['pruned']} pruned, {counts['failed']} failed"
        yield "trials", trained
        yield "rejected", f"{counts['infeasible']}"
    for number, run in enumerate(status.running[:MOST_RUNS]):
        reached = f", {run.reached}" if run.reached else ""
        yield "" if number else "running", escape(f"{run.name}: {run.done} of {run.total} steps{reached}")
    if len(status.running) > MOST_RUNS:
        yield "", f"and {len(status.running) - MOST_RUNS} more"
    yield "time", clock(status.seconds)
    stage = status.stage if status.stages else status.stage.partition(":")[0]
    left = [] if status.seconds_left is None else [f"about {clock(status.seconds_left)} for {stage}"]
    if status.seconds_left_in_all is not None:
        left.append(f"about {clock(status.seconds_left_in_all)} in all")
    if left:
        yield "time left", escape(", ".join(left))


def _measured(status: "Status") -> Iterator[tuple[str, str]]:
    """The parts of a study with `start` that are measured, of all budgets together."""
    counts: dict[str, list[int]] = {}
    for stage in status.stages:
        count = counts.setdefault(stage.name.rpartition(": ")[2], [0, 0])
        count[:] = count[0] + stage.done, count[1] + stage.total
    for what, (done, total) in counts.items():
        yield what, f"{done:,} of {total:,} measured"


def clock(seconds: float) -> str:
    """Seconds as 2 h 05 min, 12 min 30 s, or 8 s."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Live:
    """A status that stays at the bottom of a terminal; without a terminal, lines of progress instead."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live as Shown

        self.console = console
        self._progress = None if console.is_terminal else Progress()
        self._live = Shown(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def bars(self, what: str, done: int, total: int, reached: str = "") -> None:
        """Print progress in lines if there is no terminal."""
        if self._progress:
            self._progress(what, done, total, reached)

    def show(self, status: "Status") -> None:
        """Draw the table anew."""
        if self._live:
            if not self._live.is_started:
                self._live.start()
            self._live.update(status_table(status), refresh=True)

    def note(self, sentence: str) -> None:
        """Print a line above the table; it stays."""
        self.console.print(sentence, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Remove the table."""
        if self._live and self._live.is_started:
            self._live.stop()


@contextmanager
def live(stderr: bool = True) -> Iterator[Live]:
    """Give a Live whose table is removed when the block ends."""
    from rich.console import Console

    shown = Live(Console(stderr=stderr, highlight=False))
    try:
        yield shown
    finally:
        shown.stop()
