"""What is every option set to in this run, and where was it written?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_diffprivacy.options.declared import OPTIONS, Option


@dataclass(frozen=True, slots=True)
class Setting:
    """A resolved option value and where it came from (command line, environment, ini or default)."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All options, resolved once for a run."""

    values: Mapping[str, Setting]
    root: Path = field(default_factory=Path.cwd)

    def __getitem__(self, name: str) -> object:
        return self.values[name].value

    def text(self, name: str) -> str | None:
        """The value of a text option; None where it is not set."""
        value = self.values[name].value
        return None if value is None else str(value)

    def whole(self, name: str) -> int:
        """The value of a whole-number option."""
        value = self.values[name].value
        assert isinstance(value, int)
        return value

    def size(self, name: str) -> int | None:
        """The value of a size option; None where it is not set."""
        value = self.values[name].value
        return value if isinstance(value, int) else None

    def number(self, name: str) -> float:
        """The value of a fractional option."""
        value = self.values[name].value
        assert isinstance(value, float)
        return value

    def paths(self, name: str) -> tuple[Path, ...]:
        """The paths of a repeatable path option, relative ones resolved against where they were written."""
        value = self.values[name].value
        return tuple(Path(str(item)) for item in value) if isinstance(value, tuple) else ()

    def origin(self, name: str) -> str:
        """Where the value came from."""
        return self.values[name].origin


def resolve(
    flags: Mapping[str, object],
    ini: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    *,
    invocation_dir: Path | None = None,
    ini_dir: Path | None = None,
) -> Settings:
    """Resolve every option: command line > environment > ini > default.

    Args:
        flags: option name -> text, list of texts or True, as the command line gave it; absent or None: not given.
        ini: option name -> text of the ini file; absent or empty: not given.
        environment: the environment variables; the process's own by default.
        invocation_dir: what relative paths of command line and environment refer to.
        ini_dir: what relative paths of the ini file refer to.

    Raises:
        UsageError: a value does not fit its option.
    """
    environment = os.environ if environment is None else environment
    here = invocation_dir or Path.cwd()
    values: dict[str, Setting] = {}
    for option in OPTIONS:
        given = flags.get(option.name)
        if given not in (None, [], False):
            values[option.name] = Setting(_read(option, given, option.flag, here), "command line")
        elif environment.get(option.env):
            values[option.name] = Setting(_read(option, environment[option.env], option.env, here), "environment")
        elif ini.get(option.name):
            values[option.name] = Setting(_read(option, ini[option.name], option.ini, ini_dir or here), "ini file")
        else:
            default = None if option.default is None else _read(option, option.default, option.ini, ini_dir or here)
            values[option.name] = Setting(() if option.repeatable else default, "default")
    return Settings(values=values, root=ini_dir or here)


def _read(option: Option, given: object, origin: str, base: Path) -> object:
    if given is True:
        return True
    if option.repeatable:
        texts = given if isinstance(given, list) else str(given).split()
        return tuple(_anchored(option, option.read(str(text), origin), base) for text in texts)
    return _anchored(option, option.read(str(given), origin), base)


def _anchored(option: Option, value: object, base: Path) -> object:
    if not option.is_path or str(value).startswith("hub:"):
        return value
    return str(base / Path(str(value)).expanduser())
