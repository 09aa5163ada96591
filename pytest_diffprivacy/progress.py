"""Stream of progress bars, beside pytest's capture of what tests print."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TextIO, final

LOG_EVERY: Final = 19.0


@final
class Uncaptured:
    """A text stream to the terminal that pytest's capture does not swallow."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._watched: bool | None = None
        self._next = 0.0

    def _target(self) -> TextIO:
        return sys.stderr

    def _beside_capture(self) -> AbstractContextManager[None]:
        manager = self._config.pluginmanager.getplugin("capturemanager")
        paused: AbstractContextManager[None] = manager.global_and_fixture_disabled() if manager else nullcontext()
        return paused

    def write(self, text: str) -> int:
        """Write between two captured outputs."""
        watched = self.isatty()
        if not watched:  # a log file: now and then a line, whatever bar it is of, instead of one that is drawn over
            text, now = text.replace("\r", "\n"), time.monotonic()
            if not text.strip() or now < self._next:
                return 0
            self._next = now + LOG_EVERY
        with self._beside_capture():
            if watched:
                self._leave_line()
            written = self._target().write(text)
            self._target().flush()
        return written

    def _leave_line(self) -> None:
        """Go to a line of our own, lest a bar be drawn over the test's name or the dots of those before it."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return
        reporter.ensure_newline()
        if reporter._tw.width_of_current_line:
            reporter.line("")

    def flush(self) -> None:
        """Nothing is buffered here."""

    def isatty(self) -> bool:
        """Whether a person watches; asked beside the capture, which puts a file in the terminal's place."""
        if self._watched is None:
            with self._beside_capture():
                self._watched = os.isatty(2)
        return self._watched
