"""Interrupts wait for the end of a training step, so that model, optimiser and progress are kept at one step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def whole_step() -> Iterator[None]:
    """Ctrl-C and SIGTERM that arrive inside take effect at the end, with the handlers that were there before.

    In any other thread than the main one nothing changes: Python handles no signals there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before: dict[int, Any] = {}
    try:
        for each in SIGNALS:
            before[each] = signal.signal(each, lambda number, frame: arrived.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if arrived:
            signal.raise_signal(arrived[0])
