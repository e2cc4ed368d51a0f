"""The folder of a study: what it is, who may work in it, how long that took."""

import contextlib
import fcntl
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput
from l2m_design.search.settings import differences
from l2m_design.settings import read_mapping, to_json, write_atomically

DATABASE = "optuna.db"
EVERY = 15.0  # seconds


class StudyFolder:
    """runs/NAME: identity.json, demand.json, weights/, checkpoints/, optuna.db; its lock lies beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process at a time. Raises BadInput when another one is at work."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{self.path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(f"{self.path}: another process is searching this study") from None
            yield

    def open(self, identity: dict[str, Any], fresh: bool, resume: bool) -> bool:
        """Make the folder or find the same study in it; nothing that is there is ever deleted. Raises BadInput.

        Answers whether the study is new here.
        """
        known = self.path / "identity.json"
        if fresh and self.path.exists():
            self._move_aside()
        if not known.exists():
            if resume:
                raise BadInput(f"--resume: {self.path} contains no study")
            if self.path.exists() and any(self.path.iterdir()):
                raise BadInput(
                    f"{self.path}: contains files that do not belong to a study; give another name or --runs"
                )
            write_atomically(known, to_json(identity))
            return True
        kept = read_mapping(known)
        kept.get("study", {}).pop("corpus", None)  # of earlier versions
        if changed := differences(kept, json.loads(to_json(identity))):
            raise BadInput(
                f"{self.path}: contains a study of this name with other settings ({'; '.join(changed[:3])}); "
                "give another name, or --fresh, which keeps the old study under another name"
            )
        return False

    def check_storage(self, storage: str | None, fresh: bool) -> None:
        """Raises BadInput where the study's trials lie in another database."""
        kept = read_kept(self.path / "storage.json")
        if fresh or not kept or kept["storage"] == storage:
            return
        there = (
            f"in {kept['storage']}; give --storage"
            if kept["storage"]
            else "in the folder of the study; leave --storage out"
        )
        raise BadInput(f"{self.path}: the trials of this study are {there}, or --fresh")

    def keep_storage(self, storage: str | None) -> None:
        """Remember the database of the trials, without its password; none is the study's own."""
        write_atomically(self.path / "storage.json", to_json({"storage": storage}))

    def forget(self) -> None:
        """Give a new study's name free again, when it was refused before anything was trained."""
        for name in ("identity.json", DATABASE, "seconds.json", "demand.json", "storage.json", "status.json"):
            (self.path / name).unlink(missing_ok=True)

    def _move_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(aside)

    @property
    def seconds(self) -> float:
        """Wall time of the sessions so far."""
        return float(read_kept(self.path / "seconds.json").get("total", 0.0))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Add the wall time of what happens inside; a killed session is known to the last EVERY seconds."""
        before, began, done = self.seconds, time.perf_counter(), threading.Event()

        def keep() -> None:
            with contextlib.suppress(OSError):  # a full disk costs the figure, not the study
                total = before + time.perf_counter() - began
                write_atomically(self.path / "seconds.json", to_json({"total": round(total, 3)}))

        def tick() -> None:
            while not done.wait(EVERY):
                keep()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            keep()


@contextlib.contextmanager
def leaving_no_trace(study: StudyFolder, reports: Path) -> Iterator[None]:
    """Folders that were made for a study which is then refused are taken away again, as far as they are empty."""
    wanted = [study.path, study.path.parent, reports, reports.parent]
    new = [folder for folder in wanted if not folder.exists()]
    lock = study.path.parent / f".{study.path.name}.lock"
    held = lock.exists()
    try:
        yield
    except BadInput:
        if not held:
            lock.unlink(missing_ok=True)
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def read_kept(path: Path) -> dict[str, Any]:
    """A small file that this program keeps; nothing where it is missing or damaged: such a file can be made again."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
