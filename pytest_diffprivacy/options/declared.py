"""Every option once: flag, ini key, environment variable, default and help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.options import values


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, in all the places where a user may write it.

    Attributes:
        name: as in its flag.
        about: what it is; `{}` stands for what is listed.
        condition: what its text must be; `{}` as above.
        default: as a user would write it; None: not set.
        parse: turns its text into a value, or raises ValueError.
        choices: the only texts that it takes, where they are few.
        repeatable: whether it takes several values.
        switch: whether its flag stands alone.
        is_path: whether its value is a path, relative to where it was written.
        listed: what stands for `{}`, looked up whenever it is shown.
    """

    name: str
    about: str
    condition: str
    default: str | None = None
    parse: Callable[[str], object] = str
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False
    is_path: bool = False
    listed: Callable[[], Sequence[str]] = tuple

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
        return "PYTEST_" + self.ini.upper()

    @property
    def help(self) -> str:
        """What it is, and its default."""
        return self.about.format(", ".join(self.listed())) + (f" Default: {self.default}." if self.default else "")

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
            *others, last = self.listed() or ("",)
            condition = self.condition.format(" or ".join([", ".join(others), last]))
            raise UsageError(f"{origin} must be {condition}, got {text!r}.") from None


def _path(name: str, about: str, condition: str = "a path", default: str | None = None) -> Option:
    return Option(name, about, condition, default, is_path=True)


def _choice(name: str, about: str, default: str, choices: tuple[str, ...]) -> Option:
    return Option(name, about, "a choice", default, choices=choices)


def _switch(name: str, about: str) -> Option:
    return Option(name, about, "true or false", "false", values.switch, switch=True)


OPTIONS: Final[tuple[Option, ...]] = (
    _path(
        "model",
        "Model under audit: a diffusers folder, or hub:owner/name[@revision].",
        "a folder or hub:owner/name",
    ),
    Option(
        "null-label",
        'Class of a class-conditional model that was trained as "no class"; without it, guidance is refused.',
        "a whole number >= 0",
        parse=values.whole_from(0),
    ),
    _path("members", "Images the model was trained on: folder, .npz or .safetensors."),
    _path("nonmembers", "Images of the same kind it was not trained on."),
    _path(
        "prompts",
        "Prompts to ask a text-to-image model for: .txt with one a line, or .csv, .jsonl, .parquet with captions.",
    ),
    Option(
        "captions",
        "Ask about images with what stands beside them: true, or the column of metadata or table to take (captions, or "
        "class indices); folder index or folder name: the subfolder an image lies in.",
        "true, false or the name of a column",
        parse=values.captions,
    ),
    Option(
        "subjects",
        "Whom images show, for claims that count persons: true for the name of each image's folder, or the column of "
        "metadata or table.",
        "true, false or the name of a column",
        parse=values.captions,
    ),
    Option(
        "resize",
        "Resize images as training did: pixels of the shorter side and perhaps Pillow's filter, e.g. 512 (bilinear) or "
        "512:bicubic.",
        "a size such as 512 or 512:bicubic",
        parse=values.resize,
    ),
    Option(
        "crop",
        "Side of the square to cut out of the middle of images, as training did.",
        "a positive whole number",
        parse=values.whole_from(1),
    ),
    Option("device", "Where the model runs, e.g. cpu or cuda:0.", "a torch device", "cpu"),
    _choice(
        "dtype",
        "Precision of the model; of half precision the record says how far eps is from float32.",
        "float32",
        ("float64", "float32", "bfloat16", "float16"),
    ),
    _switch(
        "channels-last",
        "Lay the network's weights out channels last, which some GPUs prefer; the record says how far eps moves.",
    ),
    _switch(
        "compile",
        "Run the network as code that torch.compile makes of it in minutes; the record says how far eps moves.",
    ),
    Option(
        "batch-size",
        "Images in one network call; halved when memory runs out.",
        "a positive whole number",
        "256",
        values.whole_from(1),
    ),
    Option(
        "max-pixels",
        "Pixels that an image may have; larger ones than 16 million need to be allowed.",
        "a positive whole number",
        parse=values.whole_from(1),
    ),
    Option(
        "engine",
        "Where work runs: local, ray (a Ray cluster that this machine belongs to, or a new one on it), or ray://host:port.",
        "local, ray or ray://host:port",
        "local",
        values.engine,
    ),
    Option(
        "workers",
        "Processes that share the work; without it one, and with Ray one a GPU, or one for every four CPUs.",
        "a positive whole number",
        parse=values.whole_from(1),
    ),
    Option(
        "budget",
        "Time of the whole audit, e.g. 90s, 30m or 2h; what is undecided then is INCONCLUSIVE and can be continued.",
        "a time such as 90s, 30m or 2h",
        parse=values.duration,
    ),
    Option("seed", "Seed of every random number of the audit.", "a whole number >= 0", "0", values.whole_from(0)),
    Option(
        "confidence",
        "Confidence of each one-sided bound.",
        "a number above 0.5 and below 1",
        "0.95",
        values.fraction,
    ),
    _choice(
        "attempts",
        "Error of the first attempt at a claim about one model: first (all of it; later ones add at most half as much "
        "again) or shared (half of it, so that all attempts together keep the confidence).",
        "first",
        ("first", "shared"),
    ),
    _choice("inconclusive", "What an INCONCLUSIVE claim does to its test.", "fail", ("fail", "warn", "skip")),
    _choice(
        "incomplete",
        "What a run does that left audits out: fail, warn, or auto (fail where a report is asked for or CI is set).",
        "auto",
        ("fail", "warn", "auto"),
    ),
    _path("cache-dir", "Folder of stored results and run records.", default=".diffprivacy"),
    _switch("fresh", "Compute everything again instead of continuing from stored results."),
    Option(
        "cache-limit",
        "Size of the stored results, e.g. 20GB, above which the least recently used ones go; a run keeps its own.",
        "a size such as 500MB or 20GB",
        parse=values.size,
    ),
    Option(
        "report",
        "Write a report; the format follows the extension ({}); repeatable.",
        "a path that ends in {}",
        parse=values.report_path,
        repeatable=True,
        is_path=True,
        listed=values.report_extensions,
    ),
    _path("card", "Write the verdicts into a model card (Markdown), in place of the block of an earlier run."),
    _choice(
        "images",
        "Images in the report: none, redacted (one of three greys each) or full.",
        "redacted",
        ("none", "redacted", "full"),
    ),
    _path(
        "baseline",
        "Committed JSON of the last release, to compare with on the same probes; holds ranks, no images and no scores.",
    ),
    Option(
        "compare-fail",
        "Which comparisons with the baseline fail: never, worse, or undecided (whatever is not shown to be no worse); "
        "worse:0.02 allows an increase of 0.02.",
        "never, worse or undecided, and perhaps a margin below 1 such as worse:0.02",
        "never",
        values.compare_rule,
    ),
    _switch(
        "plan",
        "Judge nothing: say for every claim what it will cost and what its probes can show, without loading the model.",
    ),
    _switch("update-baseline", "Write the baseline from this run; needs a complete run in one process."),
)

BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in OPTIONS}
