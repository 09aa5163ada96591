"""The command that judges a claim again: its test, and every option that its verdict may hang on."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.options.declared import OPTIONS, Option

KEPT: Final = ("-c", "-o", "-p", "-W", "--config-file", "--override-ini", "--rootdir", "--import-mode", "--confcutdir")
NO_MATTER: Final = frozenset(
    {"report", "card", "plan", "fresh", "seed", "update-baseline", "incomplete"}
    | {"cache-dir", "cache-limit", "engine", "workers", "batch-size"}
)
PRIVATE_PATHS: Final = frozenset({"members", "nonmembers"})


@dataclass(frozen=True, slots=True)
class Redo:
    """How this run was called.

    Attributes:
        root: what node ids are relative to.
        folder: where pytest was called.
        words: its options that matter, ours and pytest's own.
    """

    root: Path
    folder: Path
    words: tuple[str, ...] = ()

    def command(self, node_id: str, seed: int) -> str:
        """The command, quoted for the shell."""
        file, separator, name = node_id.partition("::")
        place = Path(os.path.relpath(self.root / file, self.folder)).as_posix()
        name = re.sub(r"@[^\]]*$", "", name)  # the group that xdist writes behind it
        return shlex.join(["pytest", f"{place}{separator}{name}", f"--diffprivacy-seed={seed}", *self.words])


def called(config: Any) -> Iterator[str]:
    """Pytest's own options that matter, and the ini file where the test alone might not lead to it."""
    typed = [*typed_words([str(word) for word in config.invocation_params.args])]
    yield from typed
    folder, ini = Path(config.invocation_params.dir), config.inipath
    if ini and not {"-c", "--config-file"} & {*typed} and (ini.parent != folder or len(config.args) > 1):
        yield f"--config-file={Path(os.path.relpath(ini, folder)).as_posix()}"


def typed_words(arguments: Sequence[str]) -> Iterator[str]:
    """Pytest's own options of a command line that decide what is run and how."""
    words = iter(arguments)
    for word in words:
        if word in KEPT:
            yield from (word, next(words, ""))
        elif word.startswith(KEPT) and (not word.startswith("--") or "=" in word):
            yield word


def option_words(flags: Mapping[str, object], folder: Path) -> Iterator[str]:
    """Our options that the command line or the environment set, as flags."""
    for option in OPTIONS:
        given = flags.get(option.name) or os.environ.get(option.env)
        if given and option.name not in NO_MATTER:
            yield option.flag if given is True else f"{option.flag}={_shown(option, str(given), folder)}"


def _shown(option: Option, text: str, folder: Path) -> str:
    """A path as it can be typed in the same folder; of what lies elsewhere the last part only: reports are shown."""
    if not option.is_path or not Path(text).is_absolute():
        return text
    if Path(text).is_relative_to(folder):
        return Path(text).relative_to(folder).as_posix()
    return Path(text).name
