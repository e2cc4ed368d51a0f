"""Terminal: progress bars on stderr, tables and JSON on stdout, options that several verbs share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a dotted key; repeatable.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, in numbers, and stop.")]

PATIENCE = 2.0


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    from l2m_design.settings import to_json

    typer.echo(to_json(data), nl=False)


def say(*sentences: str) -> None:
    """Sentences on stdout, a line each."""
    for sentence in sentences:
        typer.echo(sentence)


def warn(*sentences: str) -> None:
    """Remarks on stderr."""
    for sentence in sentences:
        typer.echo(sentence, err=True)


def table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: the first column to the left, the others to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    grid = Table(box=box.SIMPLE, pad_edge=False)
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr by name, shown once the work has taken PATIENCE seconds; finished inner bars go away.

    Where stderr is no terminal, a line every few seconds instead.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, transient=True)
    tasks: dict[str, Any] = {}
    began = time.monotonic()

    def advance(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)
        if not bars.live.is_started and time.monotonic() - began > PATIENCE:
            bars.start()
        if done >= total:
            bars.remove_task(tasks.pop(what))

    try:
        yield advance
    finally:
        bars.stop()


def _plain_progress() -> Callable[[str, int, int], None]:
    began = last = time.monotonic()

    def advance(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - began > PATIENCE and now - last > 5 * PATIENCE:
            last = now
            warn(f"{what}: {done} of {total}, {now - began:.0f} s")

    return advance
