"""Which options exist? Every option once: flag, ini key, environment variable, default and help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.options import values


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, in all the places where a user may write it."""

    name: str
    help: str
    condition: str
    default: str | None = None
    parse: Callable[[str], object] = values.text
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
    Option(
        "dtype",
        "Precision of the model; of half precision the record says how far eps is from float32.",
        "a precision",
        default="float32",
        choices=values.DTYPE_CHOICES,
    ),
    Option(
        "channels-last",
        "Lay the network's weights out channels last, which some GPUs prefer; the record says how far eps moves.",
        "true or false",
        default="false",
        parse=values.switch,
        switch=True,
    ),
    Option(
        "compile",
        "Run the network as code that torch.compile makes of it in minutes; the record says how far eps moves.",
        "true or false",
        default="false",
        parse=values.switch,
        switch=True,
    ),
    Option(
        "batch-size",
        "Images in one network call; halved when memory runs out.",
        "a positive whole number",
        default="256",
        parse=values.positive,
    ),
    Option(
        "engine",
        "Where work runs: local, ray (a Ray cluster that this machine belongs to, or a new one on it), or ray://host:port.",
        "local, ray or ray://host:port",
        default="local",
        parse=values.engine,
    ),
    Option(
        "workers",
        "Processes that share the work; without it one, and with Ray one a GPU, or one for every four CPUs.",
        "a positive whole number",
        parse=values.positive,
    ),
    Option(
        "budget",
        "Time of the whole audit, e.g. 90s, 30m or 2h; what is undecided then is INCONCLUSIVE and can be continued.",
        "a time such as 90s, 30m or 2h",
        parse=values.duration,
    ),
    Option("seed", "Seed of every random number of the audit.", "a whole number >= 0", default="0", parse=values.seed),
    Option(
        "confidence",
        "Confidence of each one-sided bound.",
        "a number above 0.5 and below 1",
        default="0.95",
        parse=values.fraction,
    ),
    Option(
        "inconclusive",
        "What an INCONCLUSIVE claim does to its test.",
        "a choice",
        default="fail",
        choices=values.INCONCLUSIVE_CHOICES,
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
        parse=values.switch,
        switch=True,
    ),
    Option(
        "cache-limit",
        "Size of the stored results, e.g. 20GB, above which the least recently used ones go; a run keeps its own.",
        "a size such as 500MB or 20GB",
        parse=values.size,
    ),
    Option(
        "report",
        "Write a report; the format follows the extension (.html, .json, .sarif, .md, .intoto.json); repeatable.",
        f"a path that ends in {', '.join(values.REPORT_EXTENSIONS[:-1])} or {values.REPORT_EXTENSIONS[-1]}",
        parse=values.report_path,
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
        choices=values.IMAGES_CHOICES,
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
        parse=values.compare_rule,
    ),
    Option(
        "plan",
        "Judge nothing: say for every claim what it will cost and what its probes can show, without loading the model.",
        "true or false",
        default="false",
        parse=values.switch,
        switch=True,
    ),
    Option(
        "update-baseline",
        "Write the baseline from this run; needs a complete run in one process.",
        "true or false",
        default="false",
        parse=values.switch,
        switch=True,
    ),
)

BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in OPTIONS}
