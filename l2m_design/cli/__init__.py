"""The command line: `l2m COMMAND`. A command parses its options, calls the library and prints; it imports lazily."""

import _thread
import os
import re
import signal
import sys
import threading
import warnings
from inspect import signature
from typing import Any

import typer

from l2m_design import __version__
from l2m_design.cli import (
    cache,
    calibrate,
    check,
    doctor,
    estimate,
    export,
    generate,
    report,
    search,
    space,
    status,
    train,
)
from l2m_design.cli.terminal import OPTIONS, with_options
from l2m_design.errors import BadInput, Notice, WorkFailed

SUMMARY = (
    "Measure how fast the mutual information of your data grows with context length, and search for the architecture "
    "with the smallest history state that keeps up with it."
)

app = typer.Typer(
    help=SUMMARY,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130  # the exit code that typer returns after Ctrl-C; it prints nothing


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"l2m-design {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Handle `--version`; the commands do the rest."""


for module in (estimate, check, calibrate, space, search, status, train, cache, report, export, generate, doctor):
    app.command(module.__name__.rpartition(".")[2])(module.command)
    for option in signature(module.command).parameters:
        OPTIONS.setdefault(option, f"--{option.replace('_', '-')}")


def main() -> None:
    """Entry point: bad input is one line and exit 2, failed work one line and exit 1."""
    sys.unraisablehook = interrupt_again
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.formatwarning = _formatted
    sys.argv[1:] = [expand_home(word) for word in sys.argv[1:]]
    try:
        code = app(standalone_mode=False)
        sys.exit(_print_error("interrupted", 1) if code == INTERRUPTED else code)
    except BadInput as error:
        sys.exit(_print_error(str(error), 2))
    except WorkFailed as error:
        sys.exit(_print_error(str(error), 1))
    except typer.TyperException as error:
        sys.exit(_print_error(f"{error.format_message()} (l2m --help)", 2))
    except typer.Abort:
        sys.exit(_print_error("interrupted", 1))
    except KeyboardInterrupt:
        sys.exit(_print_error("interrupted", 1))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(_unexpected(error, f"{error.filename}: {error.strerror}" if error.filename else None))
    except Exception as error:
        sys.exit(_unexpected(error))


def expand_home(word: str) -> str:
    """Expand `~` in an argument, also where the shell does not: in quotes, and after the `=` of `--out=~/folder`."""
    name, equals, value = word.partition("=") if re.match(r"[-\w.]+=~", word) else ("", "", word)
    return name + equals + os.path.expanduser(value)


def _unexpected(error: Exception, message: str | None = None) -> int:
    """Print an unexpected error as one line; with L2M_DEBUG set, raise it so that the traceback is shown."""
    if os.environ.get("L2M_DEBUG"):
        raise error
    return _print_error(message or f"{type(error).__name__}: {error} (set L2M_DEBUG=1 for the traceback)", 1)


def _interrupt(number: int, frame: Any) -> None:
    """Treat SIGTERM, which batch systems and containers send before they kill a process, like Ctrl-C."""
    raise KeyboardInterrupt


def interrupt_again(lost: Any) -> None:
    """Repeat an interrupt that arrived in a finaliser, where Python would print it and go on."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()  # later, or it would interrupt this call
    else:
        sys.__unraisablehook__(lost)


def _print_error(message: str, code: int) -> int:
    """Print one line, whatever characters a path or a config contains: control characters are escaped."""
    message = with_options(message)
    line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in " ".join(message.split()))
    print(f"l2m: {line}", file=sys.stderr)
    return code


_of_python = warnings.formatwarning


def _formatted(message: Warning | str, category: type[Warning], *where: Any, **line: Any) -> str:
    """A notice as one line, other warnings as Python prints them."""
    return f"l2m: {message}\n" if issubclass(category, Notice) else _of_python(message, category, *where, **line)
