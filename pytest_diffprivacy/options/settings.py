"""Settings: what every option is set to in a run, and where it was written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_diffprivacy.errors import UsageError
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

    def check(self, *, several_processes: bool) -> None:
        """Refuse what would be known to fail only after hours.

        Raises:
            UsageError: what was said about the last release cannot be done.
        """
        path, update = self.text("baseline"), bool(self["update-baseline"])
        if update and path is None:
            raise UsageError("--diffprivacy-update-baseline needs --diffprivacy-baseline: say where to write it.")
        if update and several_processes:
            raise UsageError("--diffprivacy-update-baseline needs one process, got several workers. Leave out -n.")
        if path is None and str(self["compare-fail"]) != "never":
            raise UsageError(
                f"`diffprivacy_compare_fail` must be left out without a baseline, got {self['compare-fail']}: nothing "
                "would be compared. Name the last release by --diffprivacy-baseline."
            )
        if path is not None and not update and not Path(path).is_file():
            raise UsageError(
                f"`diffprivacy_baseline` must be an existing file, got {Path(path).name!r}. "
                "Write it with --diffprivacy-update-baseline."
            )


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
    root = ini_dir or here
    values: dict[str, Setting] = {}
    for option in OPTIONS:
        places: tuple[tuple[str, object, str, Path], ...] = (
            ("command line", flags.get(option.name), option.flag, here),
            ("environment", environment.get(option.env) or None, option.env, here),
            ("ini file", ini.get(option.name) or None, option.ini, root),
            ("default", option.default, option.ini, root),
        )
        origin, given, name, base = next((p for p in places if p[1] not in (None, [], False)), places[-1])
        values[option.name] = Setting(_read(option, given, name, base), origin)
    return Settings(values=values, root=root)


def _read(option: Option, given: object, origin: str, base: Path) -> object:
    if given is None:
        return () if option.repeatable else None
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
