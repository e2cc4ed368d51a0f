"""Terminal: progress bars on stderr, tables and JSON on stdout, options that several commands share."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file, dotted for nested keys; repeatable."),
]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda or cuda:N.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run, in numbers, and stop.")]

TargetLength = Annotated[str, typer.Option(metavar="TOKENS", help="Target context length, such as 131072 or 128k.")]

PATIENCE = 2.0
SETTING = re.compile(r"`([a-z_]+)`")
OPTIONS = {"overrides": "--set", "parameters": "--scale"}  # option by parameter of the library; commands add theirs
LABELS = {  # of keys in a plan, which JSON keeps
    "drawings": "architectures in the space",
    "runs": "folder of runs",
    "reports": "folder of reports",
    "exact_nats": "exact I(n;n) by window length, nats",
    "runs_kept": "runs already finished",
    "tokens_at_most": "training tokens at most",
    "training_flops_at_most": "training operations at most",
    "training_flops": "training operations",
    "replacements": "replacements to measure",
    "passes": "forward passes",
    "cost_passes_a_layer": "forward passes per layer to measure costs",
}


def with_options(text: str) -> str:
    """Replace the settings that the library names in backquotes by options of the command: `prime` by --prime."""
    return SETTING.sub(lambda found: OPTIONS.get(found[1], found[0]), text)


def print_json(data: Mapping[str, object]) -> None:
    """Print one JSON object on stdout; texts in it name settings as the library does."""
    from l2m_design.settings import to_json

    typer.echo(to_json(data), nl=False)


def say(*sentences: str) -> None:
    """Print sentences on stdout, one per line."""
    for sentence in sentences:
        typer.echo(with_options(sentence))


def print_plan(plan: Mapping[str, object], labels: Mapping[str, str] = LABELS) -> None:
    """Print what would run, one `label: value` per line."""
    for key, value in plan.items():
        label = labels.get(key) or key.replace("_a_", " per ").replace("_", " ")
        say(f"{label}: {value:,}" if isinstance(value, int) else f"{label}: {value}")


def warn(*sentences: str) -> None:
    """Print sentences on stderr, one per line."""
    for sentence in sentences:
        typer.echo(with_options(sentence), err=True)


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout: the first column aligned to the left, the others to the right."""
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


class Progress:
    """Progress bars on stderr, one for each name, shown after PATIENCE seconds and removed when finished.

    Call it with the name of the work, the number of finished parts, their total, and optionally a result so far in
    words. If stderr is not a terminal, a line with the estimated time left is printed every few seconds instead.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=self._console, transient=True) if self._console.is_terminal else None
        self._tasks: dict[str, TaskID] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._began = self._last = time.monotonic()

    def __call__(self, what: str, done: int, total: int, reached: str = "") -> None:
        """Show that `done` of `total` parts of `what` are finished."""
        now = time.monotonic()
        text = f"{what}, {reached}" if reached else what
        if self._bars is None:
            began, first = self._first.setdefault(what, (now, done))
            if now - self._began > PATIENCE and now - self._last > 5 * PATIENCE:
                self._last = now
                left = (total - done) * (now - began) / (done - first) if done > first else None
                about = f", about {left:.0f} s left" if left else ""
                warn(f"{text}: {done} of {total}, {now - self._began:.0f} s{about}")
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total, description=text)
        if not self._bars.live.is_started and now - self._began > PATIENCE:
            self._bars.start()
        if done >= total:
            self._bars.remove_task(self._tasks.pop(what))

    def note(self, sentence: str) -> None:
        """Print a line above the bars; it stays."""
        self._console.print(sentence, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def progress() -> Iterator[Progress]:
    """Give a Progress whose bars are removed when the block ends."""
    shown = Progress()
    try:
        yield shown
    finally:
        shown.stop()


def runs_in_mlflow(uri: str | None, page: str | None) -> None:
    """Print where a browser shows the runs of a study."""
    if page and uri and uri.startswith("http"):
        say(f"Runs and curves: {page}")
    elif uri:
        say(f"Runs and curves: mlflow ui --backend-store-uri {uri}", *([f"  at {page}"] if page else []))
