"""The folder of a study: what it is, who may work in it, how long that took."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput
from l2m_design.search.settings import differences
from l2m_design.settings import read_mapping, to_json, write_atomically


class StudyFolder:
    """runs/NAME: identity.json, demand.json, trials/, weights/, optuna.db; its lock lies beside it."""

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

    def open(self, identity: dict[str, Any], fresh: bool, resume: bool) -> None:
        """Make the folder or find the same study in it; nothing that is there is ever deleted. Raises BadInput."""
        known = self.path / "identity.json"
        if fresh and self.path.exists():
            self._move_aside()
        if not known.exists():
            if resume:
                raise BadInput(f"--resume: there is no study in {self.path}")
            if self.path.exists() and any(self.path.iterdir()):
                raise BadInput(f"{self.path}: holds files that are no study; give another name or --runs")
            write_atomically(known, to_json(identity))
        elif changed := differences(read_mapping(known), json.loads(to_json(identity))):
            raise BadInput(
                f"{self.path}: holds a study of this name with other settings ({'; '.join(changed[:3])}); "
                "give --fresh, or another name"
            )

    def _move_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(aside)

    @property
    def seconds(self) -> float:
        """Wall time of the sittings so far."""
        kept = self.path / "seconds.json"
        return float(json.loads(kept.read_text())["total"]) if kept.exists() else 0.0

    def spend(self, seconds: float) -> None:
        """Add a sitting's wall time."""
        write_atomically(self.path / "seconds.json", to_json({"total": self.seconds + seconds}))
