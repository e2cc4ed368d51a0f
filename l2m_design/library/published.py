"""What is shown of a study in MLflow once its page is written: the description of its run, the page, the files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from l2m_design.search.tracking.tracker import Tracker

Draw = Callable[[Path], Iterable[Path]]


def publish(
    tracker: Tracker | None, note: str, files: Iterable[str | Path], draw: Draw | None = None, known: Iterable[str] = ()
) -> list[str]:
    """Send them; what could not be done, in one line each, but for what is known already. No tracker, nothing sent.

    note: Markdown. draw: writes the figures of the page into a folder and answers the files.
    """
    if tracker is None:
        return []
    with TemporaryDirectory() as made:
        figures = draw(Path(made)) if draw and not tracker.trouble else []
        placed = [*((Path(file), None) for file in files), *((file, "figures") for file in figures)]
        tracker.publish(note, placed)
    return [line for line in tracker.notes if line not in set(known)]
