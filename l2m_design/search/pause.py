"""Pause: a store that failed is left alone for a while; within: a call that is not waited for without end."""

import threading
import time
from collections.abc import Callable
from typing import Any

from l2m_design.errors import BadInput, first_line

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """A call's answer. Raises what it raises, or TimeoutError; a call that is too slow is left behind."""
    answers, errors = list[Any](), list[BaseException]()

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no response within {seconds:.0f} s")
    return answers[0]


class Pause:
    """How long a store that failed is left alone: FIRST_PAUSE seconds, each time twice as long, at most LONGEST_PAUSE.

    trouble: what went wrong, in one line; none while all is well.
    """

    def __init__(self) -> None:
        self.well()

    def well(self) -> None:
        """The store answered."""
        self.trouble: str | None = None
        self._next, self._until = FIRST_PAUSE, 0.0

    def failed(self, error: Exception) -> None:
        """Note that a call to the store failed."""
        self.trouble = (
            first_line(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {first_line(error)}"
        )
        self._until, self._next = time.monotonic() + self._next, min(LONGEST_PAUSE, 2 * self._next)

    @property
    def lasts(self) -> bool:
        """Is the store to be left alone?"""
        return time.monotonic() < self._until

    def end(self) -> None:
        """Ask again at once."""
        self._until = 0.0
