"""The command line: `l2m VERB`. A command parses, makes its calls, prints; heavy imports wait inside it."""

import _thread
import os
import re
import signal
import sys
import threading
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
from l2m_design.errors import BadInput, WorkFailed

app = typer.Typer(
    help="Measure what your data ask a model to remember; search the smallest state that keeps it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130  # what typer makes of Ctrl-C, without a word


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"l2m-design {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Measure what your data ask a model to remember; search the smallest state that keeps it."""


for module in (estimate, check, calibrate, space, search, status, train, cache, report, export, generate, doctor):
    app.command(module.__name__.rpartition(".")[2])(module.command)
    for option in signature(module.command).parameters:
        OPTIONS.setdefault(option, f"--{option.replace('_', '-')}")


def main() -> None:
    """Entry point: bad input is one line and exit 2, failed work one line and exit 1."""
    sys.unraisablehook = interrupt_again
    signal.signal(signal.SIGTERM, _interrupt)
    sys.argv[1:] = [at_home(word) for word in sys.argv[1:]]
    try:
        code = app(standalone_mode=False)
        sys.exit(_complain("interrupted", 1) if code == INTERRUPTED else code)
    except BadInput as error:
        sys.exit(_complain(str(error), 2))
    except WorkFailed as error:
        sys.exit(_complain(str(error), 1))
    except typer.TyperException as error:
        sys.exit(_complain(f"{error.format_message()} (l2m --help)", 2))
    except typer.Abort:
        sys.exit(_complain("interrupted", 1))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", 1))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(_last_words(error, f"{error.filename}: {error.strerror}" if error.filename else None))
    except Exception as error:
        sys.exit(_last_words(error))


def at_home(word: str) -> str:
    """An argument with `~` expanded, also where a shell does not: in quotes, and behind the = of --out=~/made."""
    name, equals, value = word.partition("=") if re.match(r"[-\w.]+=~", word) else ("", "", word)
    return name + equals + os.path.expanduser(value)


def _last_words(error: Exception, said: str | None = None) -> int:
    """The last door: a user sees one line, a developer sets L2M_DEBUG."""
    if os.environ.get("L2M_DEBUG"):
        raise error
    return _complain(said or f"{type(error).__name__}: {error} (L2M_DEBUG=1 shows where)", 1)


def _interrupt(number: int, frame: Any) -> None:
    """What a batch system or a container says before it kills is heard as Ctrl-C is: work stops, and it is said how."""
    raise KeyboardInterrupt


def interrupt_again(lost: Any) -> None:
    """An interrupt that falls into a finaliser would be printed and forgotten there: let it come again right after."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()  # not at once: it would fall into this call
    else:
        sys.__unraisablehook__(lost)


def _complain(message: str, code: int) -> int:
    """One line, whatever a path or a config had in it: control characters are escaped."""
    message = with_options(message)
    line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in " ".join(message.split()))
    print(f"l2m: {line}", file=sys.stderr)
    return code
