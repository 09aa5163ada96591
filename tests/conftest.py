"""One thread a process: the tests' models are too small for more, and their workers would fight over the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are loaded; processes of tests inherit it
