"""Outputs of an earlier run, taken away before anything of this one is loaded: none may stand for the new run."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.options.declared import BY_NAME
from pytest_diffprivacy.options.model_index import with_results
from pytest_diffprivacy.options.values import report_path

REPORT, CARD = BY_NAME["report"], BY_NAME["card"]
BEGIN: Final = "<!-- diffprivacy: begin -->"
END: Final = "<!-- diffprivacy: end -->"
BEGUN: Final = "INCOMPLETE: an audit began and has not ended."


def typed_reports() -> list[str]:
    """The reports that this process was started with; pytest may refuse the rest of the line before it tells us."""
    words = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *sys.argv[1:]]
    apart = [after for word, after in itertools.pairwise(words) if word == REPORT.flag]
    return apart + [word.partition("=")[2] for word in words if word.startswith(f"{REPORT.flag}=")]


def take_away(reports: Sequence[str], folder: Path) -> None:
    """Remove reports that an earlier run left where this one is to write; other files are left alone.

    Raises:
        UsageError: one cannot be removed.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for text in reports:
        path = folder / Path(text).expanduser()
        try:
            if path.is_file() and report_path(text):
                path.unlink()
        except ValueError:  # refused later, with its name
            continue
        except OSError as error:
            raise UsageError(
                f"{REPORT.flag} must name a file that can be replaced, got {text!r}: {error.strerror}. An old report "
                "would stand for this run: remove it."
            ) from None


def withdraw_card(path: str | None) -> None:
    """Say in the block of a model card that its audit has begun: what an earlier one said does not stand for it.

    Raises:
        UsageError: its metadata hold results of an earlier run and cannot be read.
    """
    try:
        text = Path(path or "").expanduser().read_bytes().decode()
    except (OSError, UnicodeDecodeError):  # named where the block is to be written
        return
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if path and begin and end:
        newline = "\r\n" if "\r\n" in text else "\n"
        before = with_results(before, (), name=Path(path).name)
        Path(path).expanduser().write_bytes(f"{before}{BEGIN}{newline}{BEGUN}{newline}{END}{after}".encode())


def take_away_outputs(config: Any) -> None:
    """The reports of an earlier run, wherever this one was told of them; and the block of a card that was typed."""
    typed = getattr(config.known_args_namespace, REPORT.ini, None) or os.environ.get(REPORT.env, "").split()
    here = Path(config.invocation_params.dir)
    card = getattr(config.known_args_namespace, CARD.ini, None) or os.environ.get(CARD.env)
    withdraw_card(card and str(here / card))
    ini_dir = config.inipath.parent if config.inipath else here
    take_away(*((typed, here) if typed else (str(config.getini(REPORT.ini) or "").split(), ini_dir)))
