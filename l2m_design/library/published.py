"""What is shown of a study in MLflow once its page is written: the description of its run, the page, the files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from l2m_design.search.tracking.tracker import Tracker


def publish(tracker: Tracker | None, note: str, files: Iterable[str | Path], known: Iterable[str] = ()) -> list[str]:
    """Send them; what could not be done, in one line each, but for what is known already. No tracker, nothing sent.

    note: Markdown. files: the page first; the figures beside it go with it.
    """
    if tracker is None:
        return []
    tracker.publish(note, placed(files))
    return [line for line in tracker.notes if line not in set(known)]


def placed(files: Iterable[str | Path]) -> Iterator[tuple[Path, str | None]]:
    """Each file with its folder among the artifacts: figures apart."""
    paths = [Path(file) for file in files]
    for path in paths:
        yield path, None
    for figure in sorted(paths[0].parent.glob("figures/*.svg")) if paths else []:
        yield figure, "figures"
