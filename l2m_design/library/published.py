"""Send the report of a study to MLflow: the description of its run, the page and the files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from l2m_design.search.tracking.tracker import Tracker

Draw = Callable[[Path], Iterable[Path]]


def publish(
    tracker: Tracker | None, note: str, files: Iterable[str | Path], draw: Draw | None = None, known: Iterable[str] = ()
) -> list[str]:
    """Send them, and return a line for each failure that is not known yet. Without a tracker nothing is sent.

    note: description in Markdown. draw: writes the figures of the page to a folder and returns the files.
    """
    if tracker is None:
        return []
    with TemporaryDirectory() as made:
        figures = draw(Path(made)) if draw and not tracker.trouble else []
        placed = [*((Path(file), None) for file in files), *((file, "figures") for file in figures)]
        tracker.publish(note, placed)
    return [line for line in tracker.notes if line not in set(known)]
