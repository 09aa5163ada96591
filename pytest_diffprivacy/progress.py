"""Where do progress bars go while pytest captures the output of tests?"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, final


@final
class Uncaptured:
    """A text stream to the terminal that pytest's capture does not swallow."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def _target(self) -> TextIO:
        return sys.stderr

    def write(self, text: str) -> int:
        """Write between two captured outputs."""
        if not self.isatty():  # a log file: a line an update instead of one line that is drawn over
            text = text.replace("\r", "\n")
            if not text.strip():
                return 0
        manager = self._config.pluginmanager.getplugin("capturemanager")
        if manager is None:
            return self._target().write(text)
        with manager.global_and_fixture_disabled():
            written = self._target().write(text)
            self._target().flush()
        return written

    def flush(self) -> None:
        """Nothing is buffered here."""

    def isatty(self) -> bool:
        """Whether a person watches."""
        return os.isatty(2)
