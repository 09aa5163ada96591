"""Which options exist? Every option once: flag, ini key, environment variable, default and help.

A flag `--diffprivacy-x-y` equals the ini key `diffprivacy_x_y` and the environment variable
`PYTEST_DIFFPRIVACY_X_Y`. Precedence: command line > call argument > environment > ini > default. Standard library
only: the plugin imports this file in suites that have no audit at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from pytest_diffprivacy.errors import UsageError

if TYPE_CHECKING:
    from pytest_diffprivacy.policy import Policy

INCONCLUSIVE_CHOICES: Final = ("fail", "warn", "skip")
COMPARE_CHOICES: Final = ("never", "worse", "undecided")
IMAGES_CHOICES: Final = ("none", "redacted", "full")
DTYPE_CHOICES: Final = ("float64", "float32", "bfloat16", "float16")
REPORT_EXTENSIONS: Final = (".html", ".json", ".sarif", ".md", ".intoto.json")


def _text(value: str) -> str:
    return value


def _seed(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError("negative")
    return number


def _fraction(value: str) -> float:
    number = float(value)
    if not 0.5 < number < 1.0:
        raise ValueError("not in (0.5, 1)")
    return number


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("not positive")
    return number


def _switch(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("not a switch")


@dataclass(frozen=True, slots=True)
class CompareRule:
    """Which outcomes of a comparison with the last release fail a test.

    Attributes:
        on: "never"; "worse": shown to be worse; "undecided": not shown to be no worse.
        margin: increase that counts as not worse.
    """

    on: str = "never"
    margin: float = 0.0

    def __str__(self) -> str:
        return f"{self.on}:{self.margin:g}" if self.margin else self.on

    def fails_on(self, outcome: str) -> bool:
        """Whether the outcome fails a test."""
        return outcome == "worse" if self.on == "worse" else self.on == "undecided" and outcome != "not worse"


def _compare_rule(value: str) -> CompareRule:
    on, colon, text = value.partition(":")
    margin = float(text) if colon else 0.0
    if on not in COMPARE_CHOICES or not 0.0 <= margin < 1.0:
        raise ValueError("unknown outcome or margin")
    return CompareRule(on, margin)


def _report_path(value: str) -> str:
    if not value.lower().endswith(REPORT_EXTENSIONS):
        raise ValueError("unknown extension")
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, in all the places where a user may write it."""

    name: str
    help: str
    condition: str
    default: str | None = None
    parse: Callable[[str], object] = _text
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False
    is_path: bool = False

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--diffprivacy-" + self.name

    @property
    def ini(self) -> str:
        """The ini key, also the attribute name on pytest's option namespace."""
        return "diffprivacy_" + self.name.replace("-", "_")

    @property
    def env(self) -> str:
        """The environment variable."""
        return "PYTEST_DIFFPRIVACY_" + self.name.replace("-", "_").upper()

    def read(self, text: str, origin: str) -> object:
        """Turn text into a value.

        Raises:
            UsageError: the text does not fit the option; the message names it and what it takes.
        """
        if self.choices and text not in self.choices:
            raise UsageError(f"{origin} must be one of {', '.join(self.choices)}, got {text!r}.")
        try:
            return self.parse(text)
        except ValueError:
            raise UsageError(f"{origin} must be {self.condition}, got {text!r}.") from None


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "model",
        "Model under audit: a diffusers folder, or hub:owner/name[@revision].",
        "a folder or hub:owner/name",
        is_path=True,
    ),
    Option("members", "Images the model was trained on: folder, .npz or .safetensors.", "a path", is_path=True),
    Option("nonmembers", "Images of the same kind it was not trained on.", "a path", is_path=True),
    Option(
        "prompts",
        "Prompts to ask a text-to-image model for: .txt with one a line, or .csv, .jsonl, .parquet with captions.",
        "a path",
        is_path=True,
    ),
    Option("device", "Where the model runs, e.g. cpu or cuda:0.", "a torch device", default="cpu"),
    Option("dtype", "Precision of the model.", "a precision", default="float32", choices=DTYPE_CHOICES),
    Option(
        "batch-size",
        "Images in one network call; halved when memory runs out.",
        "a positive whole number",
        default="256",
        parse=_positive,
    ),
    Option("seed", "Seed of every random number of the audit.", "a whole number >= 0", default="0", parse=_seed),
    Option(
        "confidence",
        "Confidence of each one-sided bound.",
        "a number above 0.5 and below 1",
        default="0.95",
        parse=_fraction,
    ),
    Option(
        "inconclusive",
        "What an INCONCLUSIVE claim does to its test.",
        "a choice",
        default="fail",
        choices=INCONCLUSIVE_CHOICES,
    ),
    Option(
        "cache-dir",
        "Folder of stored results and run records.",
        "a path",
        default=".diffprivacy",
        is_path=True,
    ),
    Option(
        "fresh",
        "Compute everything again instead of continuing from stored results.",
        "true or false",
        default="false",
        parse=_switch,
        switch=True,
    ),
    Option(
        "report",
        "Write a report; the format follows the extension (.html, .json, .sarif, .md, .intoto.json); repeatable.",
        f"a path that ends in {', '.join(REPORT_EXTENSIONS[:-1])} or {REPORT_EXTENSIONS[-1]}",
        parse=_report_path,
        repeatable=True,
        is_path=True,
    ),
    Option(
        "card",
        "Write the verdicts into a model card (Markdown), in place of the block of an earlier run.",
        "a path",
        is_path=True,
    ),
    Option(
        "images",
        "Images in the report: none, redacted (pixelated) or full.",
        "a choice",
        default="redacted",
        choices=IMAGES_CHOICES,
    ),
    Option(
        "baseline",
        "Committed JSON of the last release, to compare with on the same probes; holds ranks, no images and no scores.",
        "a path",
        is_path=True,
    ),
    Option(
        "compare-fail",
        "Which comparisons with the baseline fail: never, worse, or undecided (whatever is not shown to be no worse); "
        "worse:0.02 allows an increase of 0.02.",
        "never, worse or undecided, and perhaps a margin below 1 such as worse:0.02",
        default="never",
        parse=_compare_rule,
    ),
    Option(
        "plan",
        "Judge nothing: say for every claim what it will cost and what its probes can show, without loading the model.",
        "true or false",
        default="false",
        parse=_switch,
        switch=True,
    ),
    Option(
        "update-baseline",
        "Write the baseline from this run; needs a complete run in one process.",
        "true or false",
        default="false",
        parse=_switch,
        switch=True,
    ),
)

BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in OPTIONS}


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


@dataclass(frozen=True, slots=True)
class Session:
    """A pytest run as the audits in it see it.

    Attributes:
        settings: the resolved options.
        run_id: names the run's folder; the same in all workers.
        progress: where progress bars go, outside pytest's capture; None: nowhere.
        policy: the limits that bind every audit; None: there is no policy.
    """

    settings: Settings
    run_id: str
    progress: TextIO | None = None
    policy: Policy | None = None


_session: Session | None = None


def activate(session: Session | None) -> Session | None:
    """Make a session that of this process (the plugin does it once a run); None forgets it.

    Returns:
        The session before, which a run inside another run (pytester) puts back.
    """
    global _session
    before, _session = _session, session
    return before


def active() -> Session | None:
    """The pytest session of this process; None outside pytest."""
    return _session
