"""Records: what is written down so that another person can redo a verdict; one schema for terminal, JSON and HTML."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.statistics.verdict import Verdict

SCHEMA_VERSION: Final = 1


def changed_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed, those of keys, lists and tuples too; a picture's bytes stay."""
    if type(value) is str:  # an enum's value stays what it is
        return change(value)
    if isinstance(value, dict):
        return {
            changed_texts(key, change): item if key == "png_base64" else changed_texts(item, change)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)) and any(isinstance(item, (str, dict, list, tuple)) for item in value):
        return type(value)(changed_texts(item, change) for item in value)
    return value


def _as_unicode(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class Record(BaseModel):
    """Base of all records: immutable, no unknown fields, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _unicode(cls, fields: Any) -> Any:
        r"""Bytes of a file name or message that are no UTF-8 are written out, e.g. as `\udcff`."""
        return changed_texts(fields, _as_unicode) if isinstance(fields, dict) else fields

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> Self:
        """A record that is made has all fields; one that is read has those that it was written with, and no others."""
        if info.mode == "python":
            self.__pydantic_fields_set__.update(type(self).model_fields)
        return self


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(kind: type[AnyRecord], path: Path) -> AnyRecord:
    """A record from its JSON file.

    Raises:
        EvidenceError: the file cannot be read or is no such record; the message names it and what is wrong.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        what = f"record of a {kind.__name__.lower()}"
        raise EvidenceError(f"{str(path)!r} is no {what}: {where}: {first['msg']}.") from error


class Estimate(Record):
    """A number with its one-sided bounds and the counts it came from."""

    name: str
    value: float
    low: float
    high: float
    confidence: float
    counts: str


class Timestep(Record):
    """A timestep as the method asked for it and the model's own index that was used."""

    requested: int
    index: int
    requested_log_snr: float
    log_snr: float
    matched: bool = Field(description="True: matched by signal-to-noise ratio; False: the model's own index.")


class Method(Record):
    """The attack or score that was run, with all its parameters."""

    name: str
    title: str
    access: str
    source: str
    parameters: dict[str, str]
    timesteps: tuple[Timestep, ...] = ()
    evaluations_per_image: int | None = None
    kind: str = Field(default="", description="What it finds out; empty: what its claim is about.")
    label: str = Field(default="", description="What tells it from other members of its family.")
    function: str = Field(default="", description="Qualified name of the function; empty where it has none.")
    version: int | None = Field(default=None, description="Of its scores; none where they are never stored.")
    label_use: str = Field(description="What the labels were used for.")
    threshold: str = Field(description="Where the decision threshold comes from.")

    @property
    def family(self) -> str:
        """Its name without the label that tells it from other members of its family."""
        return self.name.removesuffix(f" {self.label}") if self.label else self.name


class Adapter(Record):
    """What was loaded on top of a model: a LoRA or a textual inversion."""

    name: str
    kind: str
    digest: str
    scale: str = Field(description="Factor of its layers, or their range; empty where it has none.")
    parameters: int


class Model(Record):
    """Which model was audited."""

    name: str
    family: str
    digest: str
    parameters: int
    dtype: str
    device: str
    access: str
    adapters: tuple[Adapter, ...] = Field(default=(), description="Loaded on top; part of the digest.")
    layout: str = Field(
        default="",
        description="How the network's weights lie in memory and its code is run, where it is not the usual way.",
    )
    deviation: str = Field(default="", description="How far its predictions are from float32, where it runs otherwise.")


class Images(Record):
    """One side of the probe set."""

    role: str
    origin: str
    count: int = Field(description="Distinct images.")
    total: int = Field(description="Images with their repetitions.")
    shape: tuple[int, int, int]
    digest: str


class Prompts(Record):
    """A set of prompts that a text-to-image model was asked for; their texts are not recorded."""

    role: str
    origin: str
    count: int = Field(description="Distinct prompts.")
    total: int = Field(description="Prompts with their repetitions.")
    digest: str


class Asked(Record):
    """How the model was asked."""

    conditioning: str = Field(description='"none", "null label", "empty prompt", "class" or "prompt".')
    guidance: tuple[float, ...] = Field(default=(), description="Scales; empty: no guidance, or the model's own.")
    prompts: int | None = Field(default=None, description="Distinct classes or prompts; none where there were none.")
    classes: int | None = Field(default=None, description="That the model knows, where it knows classes.")
    digest: str = Field(default="", description="sha256 of the distinct classes or prompts.")

    @property
    def sentence(self) -> str:
        """What a reader sees."""
        guided = f", guidance {' and '.join(f'{scale:g}' for scale in self.guidance)}" if self.guidance else ""
        if self.prompts is None:
            return {"none": "without conditioning"}.get(self.conditioning, f"with the {self.conditioning}") + guided
        of = f" of {self.classes} classes" if self.classes else f" {self.conditioning}{'s' * (self.prompts > 1)}"
        return f"with {self.prompts}{of}{guided}"


class Curve(Record):
    """An ROC curve with a pointwise band: TPR bounds at FPR limits."""

    title: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    band_fpr: tuple[float, ...] = ()
    band_low: tuple[float, ...] = ()
    band_high: tuple[float, ...] = ()
    working_fpr: float | None = None
    limit: float | None = None
    confidence: float
    smallest_fpr: float = Field(description="One over the number of non-members: the resolution of the curve.")


class Histogram(Record):
    """Counts of two groups over common bins."""

    title: str
    label: str
    edges: tuple[float, ...]
    groups: dict[str, tuple[int, ...]]
    mark: float | None = None
    mark_label: str = ""


class Series(Record):
    """One line of a chart: points in order, each with its bounds where it has any."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Chart(Record):
    """One quantity against another, e.g. extraction against repetitions or a spectrum."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    joined: bool = Field(default=True, description="Whether the points of a series are joined by a line.")
    confidence: float | None = Field(default=None, description="Of the bounds, where the series have any.")
    note: str = ""


class Table(Record):
    """A table of texts; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class ControlOutcome(StrEnum):
    """What became of a control."""

    HELD = "held"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


class Control(Record):
    """A question with a known answer, asked by the same code: it shows that silence means something.

    A positive control plants a leak that must be found, a negative one asks where there is none, a split control asks
    whether members and non-members differ without the model, and a wiring control whether the model denoises at all.
    """

    kind: Literal["positive", "negative", "split", "wiring"]
    name: str
    done: str = Field(description="What was done, as a sentence.")
    outcome: ControlOutcome
    meaning: str = Field(description="What follows from the outcome, or why the control does not apply.")
    estimate: Estimate | None = None


class Recognised(Record):
    """The members that one attack of a claim scores above every non-member: recognised at an observed FPR of 0."""

    attack: str
    ids: tuple[str, ...]
    members: int
    nonmembers: int


class ComparisonOutcome(StrEnum):
    """What a paired comparison with the last release showed."""

    WORSE = "worse"
    NOT_WORSE = "not worse"
    UNDECIDED = "undecided"
    NOT_COMPARABLE = "not comparable"


class Comparison(Record):
    """One claim beside the last release, on the same probes with the same noise."""

    baseline_run: str = Field(description="Run id of the last release; empty where its claim is missing.")
    baseline_model: str = Field(description="Digest of the model of the last release.")
    measured: str = Field(description='What was compared, e.g. "AUROC of SecMI" or "Share of copies".')
    outcome: ComparisonOutcome
    reason: str = Field(description="Why this outcome, with the numbers.")
    margin: float = Field(description="Increase that counts as not worse.")
    old: float | None = Field(default=None, description="The value of the last release.")
    new: float | None = Field(default=None, description="The value of this one.")
    increase: Estimate | None = Field(default=None, description="New minus old, paired.")
    old_only: int | None = Field(default=None, description="Probes flagged in the last release only (McNemar).")
    new_only: int | None = Field(default=None, description="Probes flagged in this release only (McNemar).")
    p_worse: float | None = Field(default=None, description="Exact McNemar p-value against 'not more often flagged'.")
    fails: bool = Field(default=False, description="Whether the run asked to fail on this outcome.")


class FamilyMember(Record):
    """One claim in the family of a run."""

    claim: str = Field(description="Id of the claim.")
    p_value: float = Field(description="Of its own test; at most this where it left only a verdict.")
    adjusted: float = Field(description="Holm-adjusted for the whole family.")
    refuted: bool = Field(description="Refuted after the correction.")


class Family(Record):
    """All claims of a run as one family: PASS needs every claim, FAIL is corrected for their number."""

    audits: int = Field(description="Audit tests collected, deselected ones included; fixed before any was run.")
    size: int = Field(description="Tests in the family: audits that judged nothing, and every claim at every attempt.")
    significance: float = Field(description="Chance of a false accusation in the whole run.")
    correction: str
    members: tuple[FamilyMember, ...]


class Attempts(Record):
    """A claim that was judged more than once in a run; the worst verdict counts."""

    claim: str = Field(description="Id of the claim.")
    verdicts: tuple[Verdict, ...] = Field(description="Every verdict, in order.")


class Policy(Record):
    """The policy that bound the run."""

    origin: str = Field(description="The file, by its last part.")
    sha256: str = Field(description="Of the policy table in canonical form.")
    entries: tuple[str, ...] = Field(description="Each limit as a sentence.")
    lacking: dict[str, tuple[str, ...]] = Field(
        default={},
        description="By the digest of each model under audit (empty: claims without a model), the entries that no "
        "claim about it covers: FAIL.",
    )

    @property
    def uncovered(self) -> tuple[str, ...]:
        """What is lacking, a sentence each; of several models it says of which."""
        several = len(self.lacking) > 1
        return tuple(
            f"{text} (model {digest[:16]})" if several else text
            for digest, texts in self.lacking.items()
            for text in texts
        )


class Picture(Record):
    """One image as PNG, made by us from pixels."""

    label: str
    png_base64: str
    width: int
    height: int


class Strip(Record):
    """Pictures that belong together: a generation beside its nearest training image, or what a restoration did."""

    pictures: tuple[Picture, ...]
    caption: str
    mark: str = Field(description="One or two words before the caption, e.g. match, no match, member.")
    conspicuous: bool = Field(description="Whether the mark is to catch the eye.")


class Artifact(Record):
    """A stored file of arrays that the verdict was computed from."""

    name: str
    path: str
    sha256: str
    arrays: dict[str, str] = Field(description="Array name -> type and shape.")


class Recipe(Record):
    """How the verdict follows from stored arrays: statistics.recompute gives value and bounds again."""

    statistic: str = Field(description="A name in statistics.STATISTICS.")
    arrays: dict[str, tuple[str, ...]] = Field(description="Role -> names of stored arrays.")
    arguments: dict[str, float | int | str] = Field(description="The statistic's other arguments.")


class Work(Record):
    """What it cost and what was reused."""

    units_computed: int
    units_reused: int
    seconds: float


class Attempt(Record):
    """Which attempt at a claim about this model this was, as far as the evidence folder knows."""

    number: int = Field(description="From 1; the same probes, seed and counts again are the same attempt.")
    earlier: tuple[str, ...] = Field(default=(), description="Run, verdict, confidence and counts of those before it.")
    confidence: float = Field(description="Of this attempt's bounds.")
    confidence_of_all: float = Field(description="That no attempt up to this one decided wrongly.")


class Claim(Record):
    """One claim, judged."""

    schema_version: int = SCHEMA_VERSION
    id: str
    node_id: str
    line: int | None = Field(default=None, description="Of the test's file, where the claim was made.")
    kind: str
    sentence: str
    headline: str
    verdict: Verdict
    reason: str
    rule: str
    limit: float
    estimate: Estimate | None
    needed: str = ""
    methods: tuple[Method, ...] = ()
    model: Model | None
    probes: tuple[Images, ...] = ()
    prompts: tuple[Prompts, ...] = ()
    asked: Asked | None = Field(default=None, description="How the model was asked; none where none was.")
    controls: tuple[Control, ...] = ()
    also_measured: tuple[Estimate, ...] = ()
    curves: tuple[Curve, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    strips: tuple[Strip, ...] = ()
    strips_title: str = ""
    notes: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    recipe: Recipe | None = None
    recognised: tuple[Recognised, ...] = Field(
        default=(), description="Of each attack on membership the members above every non-member, by id."
    )
    name: str = Field(default="", description="Of the claim in a policy, e.g. mia_tpr_below.")
    terms: dict[str, float] = Field(default={}, description="What the claim fixed that a policy may bind.")
    p_value: float | None = Field(default=None, description="Of the claim's own test against its limit.")
    attempt: Attempt | None = Field(default=None, description="Which one; none where no evidence folder counts them.")
    comparison: Comparison | None = Field(default=None, description="With the last release, where one was given.")
    seed: int
    confidence: float
    work: Work
    redo: str

    @property
    def value(self) -> float | None:
        """The point estimate that the verdict is about; None where it is undefined."""
        return None if self.estimate is None else self.estimate.value

    @property
    def low(self) -> float | None:
        """Its lower one-sided bound."""
        return None if self.estimate is None else self.estimate.low

    @property
    def high(self) -> float | None:
        """Its upper one-sided bound."""
        return None if self.estimate is None else self.estimate.high


class TestOutcome(Record):
    """What pytest made of an audit test."""

    __test__ = False

    node_id: str
    outcome: str
    expected_failure: bool = Field(default=False, description="Declared a demonstration: its claims are to be refuted.")
    detail: str = ""
    demonstration: str = Field(default="", description="What it demonstrates, where that was declared.")


class OptionValue(Record):
    """An option and where its value came from."""

    name: str
    value: str
    origin: str


class KnownMethod(Record):
    """One row of the catalogue: a published way to find out whether training images leak."""

    name: str = Field(description="As `Method.name` records it, without its label.")
    kind: str = Field(description="What it finds out: extraction, membership, sharpness, memorization, ...")
    title: str
    question: str = Field(description="What it asks about the model.")
    access: Access | None = Field(description="The least that it needs of a model; none: the caller chose.")
    needs: tuple[str, ...] = Field(default=(), description="What it needs besides the model and the probes.")
    source: str
    claim: str = Field(default="", description="Name of the claim that is this method, whatever it was judged from.")
    missing: str = Field(default="", description="Why no audit of this package can run it; empty: one can.")


class Run(Record):
    """A whole run: what was asked, what was judged, with what."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started: datetime
    finished: datetime
    command: str
    root: str = Field(default="", description="What the paths of tests are relative to, below the repository's root.")
    verdict: str
    verdict_reason: str
    images: str
    claims: tuple[Claim, ...]
    tests: tuple[TestOutcome, ...]
    missing: tuple[str, ...] = Field(default=(), description="Audit tests that left no record: the run is INCOMPLETE.")
    attempts: tuple[Attempts, ...] = Field(default=(), description="Claims judged more than once.")
    gone: tuple[str, ...] = Field(
        default=(), description="Claims of the last release that this run had to judge and did not: FAIL."
    )
    family: Family | None = Field(default=None, description="The claims of the run, corrected for their number.")
    policy: Policy | None = Field(default=None, description="The policy that bound the run, where there is one.")
    incidents: tuple[str, ...] = Field(default=(), description="Reruns, lost workers, earlier attempts.")
    options: tuple[OptionValue, ...]
    versions: dict[str, str]
    platform: str
    seals: dict[str, str] = Field(default={}, description="Other files of the run -> sha256 of each.")
    catalogue: tuple[KnownMethod, ...] = Field(
        default=(), description="The methods that were known when the run ended, whether or not it used them."
    )
    declared: dict[str, str] = Field(
        default={},
        description="Who audits and what for, as [tool.diffprivacy.report] of pyproject.toml says: field -> text, "
        "empty where the field is missing; without any entry nothing was declared.",
    )

    @property
    def expected_failures(self) -> frozenset[str]:
        """Node ids of the tests that are declared to be demonstrations."""
        return frozenset(test.node_id for test in self.tests if test.expected_failure)
