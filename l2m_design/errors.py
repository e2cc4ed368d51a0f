"""What a user may be told in one line: input that cannot be used (exit 2), work that could not be done (exit 1)."""

from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """What the user gave cannot be used; the message is one line naming where, what and what is allowed.

    Settings are named as functions take them, in backquotes: `bytes_per_token`. The command line prints its options in
    their places: --bytes-per-token.

    Examples:
        >>> import l2m_design as l2m
        >>> try:
        ...     l2m.open_corpus("markof:stay=0.9")
        ... except l2m.BadInput as error:
        ...     print(str(error)[:23])
        markof: no such corpus;
    """


class WorkFailed(RuntimeError):
    """What was asked could not be finished, through no fault of the input; one line saying how to go on."""


@contextmanager
def named(where: str) -> Iterator[None]:
    """Bad input meanwhile is said to be there."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
