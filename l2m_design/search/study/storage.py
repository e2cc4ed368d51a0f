"""Storage: the database of studies; one that is away or full is waited for, and that is said once."""

import functools
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import StudyModel, TrialModel
from optuna.trial import TrialState
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.settings import masked

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

PATIENCE = 900.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
Say = Callable[[str], None]
ANSWER_WITHIN = {"connect_timeout": 10, "tcp_user_timeout": 30_000}  # of PostgreSQL: seconds, milliseconds
BEGINNINGS = 5
PASSING = (  # said by a PostgreSQL that goes down or comes up
    "terminating connection due to",
    "server closed the connection",
    "is starting up",
    "is shutting down",
    "in recovery mode",
    "not yet accepting connections",
)
PATIENT = (
    "create_new_study",
    "create_new_trial",
    "get_all_studies",
    "get_all_trials",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_system_attrs",
    "record_heartbeat",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "_get_stale_trial_ids",
)


AWAY = (optuna.exceptions.StorageInternalError, SQLAlchemyError)


class StorageAway(WorkFailed):
    """The database did not come back within the patience."""


class _Tables(RDBStorage):
    """Optuna's tables, in which a waiting trial begins in one statement: of several workers one succeeds.

    Optuna reads the state first and sets it later; in sqlite two workers can then begin the same trial.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's, but for the beginning."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        begin = (
            TrialModel.__table__.update()
            .where(TrialModel.trial_id == trial_id, TrialModel.state == TrialState.WAITING)
            .values(state=TrialState.RUNNING, datetime_start=datetime.now())
        )
        with self.engine.begin() as connection:
            return connection.execute(begin).rowcount == 1


class Storage(_CachedStorage):
    """Studies in sqlite, PostgreSQL or MySQL.

    Raises BadInput when it cannot be opened (a wrong password, no server, no driver). One that is just going down or
    coming up, and later one that is away or full, is asked again for PATIENCE seconds; then StorageAway is raised.
    grace: seconds without a sign of life after which a worker counts as dead.
    """

    def __init__(self, url: str, grace: float = 600.0, say: Say = lambda sentence: None) -> None:
        self.shown = shown(url)
        self.patience, self._say = PATIENCE, say
        self._lock, self._waiting, self._back = threading.Lock(), 0, -math.inf
        try:
            tables = self._open(driven(url))
        except (ImportError, NoSuchModuleError) as error:
            raise BadInput(f"storage {self.shown}: {_driver_hint(url, error)}") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise BadInput(f"storage {self.shown}: cannot be opened ({reason(error)})") from None
        super().__init__(tables)
        self.keep_grace(grace)

    def _open(self, url: str) -> _Tables:
        try:
            return _opened(url)
        except AWAY as error:
            if not _passing(error):
                raise
        return self.patiently(lambda: _opened(url))

    def keep_grace(self, seconds: float) -> None:
        """Count a worker as dead after so many seconds without a sign of life, and give ten in that time."""
        self.beat = max(1, int(seconds / 10))
        self._backend.heartbeat_interval, self._backend.grace_period = self.beat, max(2, int(seconds))

    @property
    def settled(self) -> bool:
        """False while the database is away, and until all workers could give a sign of life once it is back."""
        return not self._waiting and time.monotonic() - self._back > LONGEST_WAIT + 2 * self.beat

    def rename(self, old: str, new: str) -> bool:
        """Give a study another name; False where there is none, or where that name is taken."""
        studies = StudyModel.__table__
        change = studies.update().where(studies.c.study_name == old).values(study_name=new)
        try:
            with self.engine.begin() as connection:
                return connection.execute(change).rowcount == 1
        except IntegrityError:
            return False

    @property
    def engine(self) -> Engine:
        """The database's connections."""
        return self._backend.engine

    def patiently(self, call: Callable[[], Any]) -> Any:
        """A call's answer, asked for again while the database is away or full; of many calls one says so."""
        try:
            return call()
        except AWAY as error:
            began, last = time.monotonic(), error
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._since = began
                self._say(f"storage {self.shown}: {reason(last)}; asked again for {self.patience:.0f} s")
        try:
            return self._again(call, began, last)
        finally:
            with self._lock:
                self._waiting -= 1

    def _again(self, call: Callable[[], Any], began: float, last: Exception) -> Any:
        wait = FIRST_WAIT
        while True:
            if time.monotonic() - began > self.patience:
                message = f"storage {self.shown}: away for {time.monotonic() - began:.0f} s ({reason(last)})"
                raise StorageAway(f"{message}; nothing finished is lost, go on with --resume") from None
            time.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)
            try:
                answer = call()
            except AWAY as error:
                last = error
            else:
                with self._lock:
                    self._back = time.monotonic()
                    if self._waiting == 1:
                        self._say(f"storage {self.shown}: back after {self._back - self._since:.0f} s")
                return answer


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(_CachedStorage, name)

    @functools.wraps(method)
    def call(self: Storage, *arguments: Any, **named: Any) -> Any:
        return self.patiently(lambda: method(self, *arguments, **named))

    return call


for _name in PATIENT:
    setattr(Storage, _name, _patient(_name))


def _passing(error: BaseException) -> bool:
    """Is a server there, but on its way down or up?"""
    return any(words in reason(error) for words in PASSING)


def _opened(url: str) -> _Tables:
    """The tables, made where there are none; of several that make them at once, the slower ones look again."""
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        arguments = {"connect_args": {"timeout": 60}}
    elif url.startswith("postgresql"):
        asked = make_url(url).query
        arguments["connect_args"] = {name: value for name, value in ANSWER_WITHIN.items() if name not in asked}
    for left in reversed(range(BEGINNINGS)):
        try:
            return _Tables(url, arguments, heartbeat_interval=1)
        except AWAY as error:
            if not left or not any(words in str(error).lower() for words in ("already exists", "unique")):
                raise
            time.sleep(FIRST_WAIT)
    raise AssertionError("unreachable")


def shown(url: str) -> str:
    """A storage URL without its password. Raises BadInput when it is none."""
    try:
        return masked(make_url(url).render_as_string(hide_password=True))
    except (ArgumentError, ValueError):
        raise BadInput(
            f"storage {url.partition('://')[0]}: not a database URL; as sqlite:///study.db, postgresql://user@host/name"
        ) from None


def check_file(url: str) -> None:
    """Raises BadInput where the URL names a sqlite file that is not there, instead of making one."""
    place = shown(url)
    file = make_url(url).database if place.startswith("sqlite") else None
    if file and not Path(file).exists():
        raise BadInput(f"storage {place}: unable to open database file: there is none")


def driven(url: str) -> str:
    """The URL with the driver that `l2m-design[postgres]` installs, where it names none."""
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
        return "needs a driver: pip install 'l2m-design[postgres]'"
    return f"no driver for it ({first_line(error)})"
