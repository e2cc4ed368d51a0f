"""What a user sees in one line: input that cannot be used (exit code 2), work that failed (exit code 1), notices."""

from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """The input cannot be used; the message is one line that says what is wrong, where, and what is allowed.

    The message names settings in backquotes as functions take them (`bytes_per_token`); the command line replaces them
    by its options (--bytes-per-token).

    Examples:
        >>> import l2m_design as l2m
        >>> try:
        ...     l2m.open_corpus("markof:stay=0.9")
        ... except l2m.BadInput as error:
        ...     print(str(error)[:23])
        markof: no such corpus;
    """


class WorkFailed(RuntimeError):
    """The work failed although the input was right; the message is one line that says how to continue."""


class Notice(UserWarning):
    """The work continues, but the user should know something; the command line prints the message as one line."""


@contextmanager
def named(where: str) -> Iterator[None]:
    """Prefix the message of a BadInput that is raised in this block with `where`."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, or the name of its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
