"""A claim before it is judged, whom it is about, and what its audit leaves behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, TypeAlias, TypeVar

from numpy.typing import NDArray

from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.policy import TERMS
from pytest_diffprivacy.probes import ImageSet, ProbeSet, PromptSet
from pytest_diffprivacy.statistics import Measured, Verdict
from pytest_diffprivacy.statistics.statistic import Statistic, recorded_arguments

S = TypeVar("S", bound=Statistic)
Named: TypeAlias = Mapping[str, Mapping[str, NDArray[Any]]]
"""Role in a statistic -> name in the record -> array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence and its limit.

    Attributes:
        kind: "extraction", "membership", "sharpness", "memorization", ...
        slug: short name, part of the record's id.
        sentence: the claim with its limit, as a sentence.
        limit: the largest value that is allowed.
        headlines: what each verdict means, in plain language.
        confidence: of each one-sided bound.
        name: of the assertion without "assert_", by which a policy binds it; empty: no policy can.
        terms: what a policy may bind besides the limit and the confidence, e.g. {"max_fpr": 0.01}.

    Raises:
        UsageError: a term of which no policy knows whether more of it is stricter.
    """

    kind: str
    slug: str
    sentence: str
    limit: float
    headlines: Mapping[Verdict, str]
    confidence: float
    name: str = ""
    terms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = self.terms.keys() - set(TERMS)
        if unknown:
            raise UsageError(f"`terms` must be some of {', '.join(TERMS)}, got {', '.join(sorted(unknown))}.")

    @property
    def bound_terms(self) -> dict[str, float]:
        """All that a policy may bind."""
        return {"limit": self.limit, "confidence": self.confidence, **self.terms}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a claim is about, and what the model was asked.

    Attributes:
        model: who is audited; None where scores were made elsewhere.
        probes: the images; None where there are none.
        prompts: what the model was asked for, audited prompts first.
        counts: the sizes behind the estimate, e.g. "412 members, 409 non-members".
        asked: how the model was asked; None where none was.
    """

    model: ModelIdentity | None = None
    probes: ProbeSet | None = None
    prompts: tuple[PromptSet, ...] = ()
    counts: str = ""
    asked: records.Asked | None = None

    @property
    def image_sets(self) -> tuple[ImageSet, ...]:
        """Members, and non-members where there are any."""
        if self.probes is None:
            return ()
        return (self.probes.members, *([self.probes.nonmembers] if self.probes.has_nonmembers else []))

    @property
    def sides(self) -> list[Sequence[bytes]]:
        """Digests of members and non-members, or of prompts and reference prompts, in the order of their scores."""
        if self.probes is not None and self.probes.has_members:
            return [images.digests for images in self.image_sets]
        return [[hashlib.sha256(text.encode()).digest() for text in prompts.texts] for prompts in self.prompts]

    def private_texts(self) -> Iterator[tuple[str, str]]:
        """Names, captions and prompts, which a redacted record may not hold, and the ids in their place."""
        for prompts in self.prompts:
            yield from prompts.private_texts()
        for images in self.image_sets:
            yield from images.private_texts()


@dataclass(slots=True)
class Findings:
    """What an audit leaves behind besides its measurement; filled while it runs.

    `confounded` says why no verdict follows whatever was measured (INCONCLUSIVE), `cannot_pass` why silence proves
    nothing here (ERROR in the place of PASS), `unproven` why too few probes show whether it would (INCONCLUSIVE in the
    place of PASS). `sides` are the digests of the probes that were scored, in the order of their scores, where they are
    not all of the subject's. `settings` are the arguments of the statistic that judges. `level` is the confidence of
    this attempt's bounds where that of the claim is given (METHODS 7.9), `next_level` that of the attempt after it.
    """

    methods: list[records.Method] = field(default_factory=list)
    needed: Callable[[], str] = lambda: ""
    controls: list[records.Control] = field(default_factory=list)
    confounded: str = ""
    cannot_pass: str = ""
    unproven: str = ""
    also_measured: list[records.Estimate] = field(default_factory=list)
    curves: list[records.Curve] = field(default_factory=list)
    histograms: list[records.Histogram] = field(default_factory=list)
    charts: list[records.Chart] = field(default_factory=list)
    tables: list[records.Table] = field(default_factory=list)
    strips: list[records.Strip] = field(default_factory=list)
    strips_title: str = ""
    notes: list[str] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    recipe: records.Recipe | None = None
    recognised: list[records.Recognised] = field(default_factory=list)
    sides: Sequence[Sequence[bytes]] = ()
    work: Work = field(default_factory=Work)
    settings: str = ""
    level: Callable[[float], float] = lambda confidence: confidence
    next_level: Callable[[float], float] = lambda confidence: confidence

    def at_attempt(self, statistic: S) -> S:
        """The statistic at the confidence of this attempt; `measure` does so too, one that stops early must before."""
        self.settings = self.settings or str({**recorded_arguments(statistic), "confidence": None})
        return _at(statistic, self.level)

    def measure(self, statistic: Statistic, arrays: Mapping[str, Mapping[str, NDArray[Any]]], limit: float) -> Measured:
        """Measure what is judged, and keep what another person needs to measure it again.

        Args:
            statistic: what is measured, with its arguments.
            arrays: role in the statistic -> name in the record -> array.
            limit: of the claim; enters only what would decide.

        Raises:
            InsufficientProbes: the statistic is undefined for so few probes.
        """
        statistic, later = self.at_attempt(statistic), _at(statistic, self.next_level)
        for named in arrays.values():
            self.arrays |= named
        self.recipe = records.Recipe(
            statistic=statistic.name,
            arrays={role: tuple(named) for role, named in arrays.items()},
            arguments=recorded_arguments(statistic),
        )
        stored = {role: list(named.values()) for role, named in arrays.items()}
        measured = statistic.measure(stored)
        self.needed = lambda: later.needed(stored, _seen_at(measured, later.confidence), limit)
        return measured


def _seen_at(measured: Measured, confidence: float) -> Measured:
    """The same estimate, for whoever plans at another confidence."""
    if confidence == measured.confidence or not is_dataclass(measured):
        return measured
    return replace(measured, confidence=confidence)


def _at(statistic: S, level: Callable[[float], float]) -> S:
    """The statistic at the confidence of an attempt."""
    confidence = level(statistic.confidence)
    return statistic if confidence == statistic.confidence else replace(statistic, confidence=confidence)  # type: ignore[type-var]
