"""Database: where a study's trials are kept; one that is full or away is waited for, and that is said once."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.settings import masked

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

PATIENCE = 900.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
AWAY = (optuna.exceptions.StorageInternalError, SQLAlchemyError)
Say = Callable[[str], None]
T = TypeVar("T")


class DatabaseAway(WorkFailed):
    """The database did not come back within the patience."""


class Database:
    """Studies in sqlite, PostgreSQL or MySQL, one driver at a time a study.

    Raises BadInput when it cannot be opened (a wrong password, no server, no driver). One that is away or full later is
    asked again for `patience` seconds; then DatabaseAway is raised.
    """

    def __init__(self, url: str, say: Say = lambda sentence: None) -> None:
        self.shown, self.patience, self._say = shown(url), PATIENCE, say
        try:
            self.storage = RDBStorage(driven(url), _arguments(url))
        except (ImportError, NoSuchModuleError) as error:
            raise BadInput(f"storage {self.shown}: {_driver_hint(url, error)}") from None
        except (*AWAY, RuntimeError) as error:
            raise BadInput(f"storage {self.shown}: cannot be opened ({reason(error)})") from None

    @property
    def studies(self) -> list[str]:
        """Names of the studies that are there."""
        return self.patiently(lambda: optuna.get_all_study_names(self.storage))

    def study(self, name: str, directions: int = 1) -> optuna.Study:
        """The study of this name, made where there is none."""
        return self.patiently(
            lambda: optuna.create_study(
                study_name=name, storage=self.storage, directions=["minimize"] * directions, load_if_exists=True
            )
        )

    def rename(self, old: str, new: str) -> None:
        """Give a study another name, if it is there."""
        if old in self.studies:
            self.patiently(lambda: self._copy(old, new))
            self.patiently(lambda: optuna.delete_study(study_name=old, storage=self.storage))

    def _copy(self, old: str, new: str) -> None:
        if new in optuna.get_all_study_names(self.storage):  # half a copy, left when the database went away
            optuna.delete_study(study_name=new, storage=self.storage)
        optuna.copy_study(from_study_name=old, from_storage=self.storage, to_storage=self.storage, to_study_name=new)

    def patiently(self, call: Callable[[], T]) -> T:
        """A call's answer, asked for again while the database is away or full; said when that begins and ends."""
        began, wait, said = time.monotonic(), FIRST_WAIT, False
        while True:
            try:
                answer = call()
            except AWAY as error:
                gone = time.monotonic() - began
                if gone > self.patience:
                    raise DatabaseAway(
                        f"storage {self.shown}: unreachable for {gone:.0f} s ({reason(error)}); finished trials are "
                        "saved, "
                        "continue with --resume"
                    ) from None
                if not said:
                    said = True
                    self._say(f"storage {self.shown}: {reason(error)}; retrying for {self.patience:.0f} s")
            else:
                if said:
                    self._say(f"storage {self.shown}: reachable again after {time.monotonic() - began:.0f} s")
                return answer
            time.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)


def _arguments(url: str) -> dict[str, Any]:
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}


def shown(url: str) -> str:
    """A storage URL without its password. Raises BadInput when it is none."""
    try:
        return masked(make_url(url).render_as_string(hide_password=True))
    except (ArgumentError, ValueError):
        raise BadInput(
            f"storage {url.partition('://')[0]}: not a database URL, such as sqlite:///study.db, postgresql://user@host/name"
        ) from None


def check_file(url: str) -> None:
    """Raises BadInput where the URL names a sqlite file that is not there, instead of making one."""
    place = shown(url)
    file = make_url(url).database if place.startswith("sqlite") else None
    if file and not Path(file).exists():
        raise BadInput(f"storage {place}: unable to open database file: it does not exist")


def driven(url: str) -> str:
    """The URL with the driver psycopg, if it names none."""
    parts = make_url(url)
    if parts.drivername == "postgresql":
        parts = parts.set(drivername="postgresql+psycopg")
    return parts.render_as_string(hide_password=False)


def reason(error: BaseException) -> str:
    """What a database says, in one line, without SQL."""
    cause = error
    while not isinstance(cause, DBAPIError) and cause.__cause__ is not None:
        cause = cause.__cause__
    return first_line(cause.orig if isinstance(cause, DBAPIError) and cause.orig else cause)


def _driver_hint(url: str, error: Exception) -> str:
    if url.startswith("postgres"):
        return "needs a driver: pip install 'psycopg[binary]'"
    return f"no driver for it ({first_line(error)})"
