"""Storage: the database of studies; one that is away or full is waited for, and that is said once."""

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from l2m_design.errors import BadInput, WorkFailed, first_line

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

PATIENCE = 900.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
Say = Callable[[str], None]
PATIENT = (
    "create_new_trial",
    "get_all_trials",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_system_attrs",
    "record_heartbeat",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "_get_stale_trial_ids",
)


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

    Raises BadInput when it cannot be opened (a wrong password, no server, no driver); later, a database that is away or
    full is asked again for PATIENCE seconds, then StorageAway is raised. grace: seconds without a sign of life after
    which a worker counts as dead.
    """

    def __init__(self, url: str, grace: float = 600.0, say: Say = lambda sentence: None) -> None:
        self.shown = shown(url)
        self.patience, self._say = PATIENCE, say
        self.beat = max(1, int(grace / 10))
        arguments: dict[str, Any] = {"pool_pre_ping": True}
        if url.startswith("sqlite"):
            arguments = {"connect_args": {"timeout": 60}}
        try:
            tables = _Tables(driven(url), arguments, heartbeat_interval=self.beat, grace_period=max(2, int(grace)))
        except (ImportError, NoSuchModuleError) as error:
            raise BadInput(f"storage {self.shown}: {_driver_hint(url, error)}") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise BadInput(f"storage {self.shown}: cannot be opened ({reason(error)})") from None
        super().__init__(tables)

    @property
    def engine(self) -> Engine:
        """The database's connections."""
        return self._backend.engine

    def patiently(self, call: Callable[[], Any]) -> Any:
        """A call's answer, asked for again while the database is away or full."""
        began, wait = None, FIRST_WAIT
        while True:
            try:
                answer = call()
            except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
                now = time.monotonic()
                if began is None:
                    began = now
                    self._say(f"storage {self.shown}: {reason(error)}; asked again for {self.patience:.0f} s")
                if now - began > self.patience:
                    message = f"storage {self.shown}: away for {now - began:.0f} s ({reason(error)})"
                    raise StorageAway(f"{message}; nothing finished is lost, go on with --resume") from None
                time.sleep(wait)
                wait = min(LONGEST_WAIT, 2 * wait)
            else:
                if began is not None:
                    self._say(f"storage {self.shown}: back after {time.monotonic() - began:.0f} s")
                return answer


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(_CachedStorage, name)

    @functools.wraps(method)
    def call(self: Storage, *arguments: Any, **named: Any) -> Any:
        return self.patiently(lambda: method(self, *arguments, **named))

    return call


for _name in PATIENT:
    setattr(Storage, _name, _patient(_name))


def shown(url: str) -> str:
    """A storage URL without its password. Raises BadInput when it is none."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise BadInput(
            f"storage {url.partition('://')[0]}: not a database URL; as sqlite:///study.db, postgresql://user@host/name"
        ) from None


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
