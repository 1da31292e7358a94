"""Requests to stop: a scheduler's SIGTERM or a person's Ctrl-C."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While entered, notes SIGTERM and SIGINT instead of dying of them.

    Training then finishes its step, saves and ends well. A second SIGINT stops at once.
    """

    def __init__(self) -> None:
        self.source: str | None = None
        """Who asks: the name of a signal, or a callback's."""
        self._previous: dict[signal.Signals, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> "StopRequest":
        """Begin to listen; only a program's main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore what listened before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.source == "SIGINT":
            raise KeyboardInterrupt
        self.source = signal.Signals(number).name


def leave_signals_to_the_trainer(worker: int) -> None:
    """Let a loader's worker process outlive signals to its whole group; it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
