"""What is asked, and what does an attack leave behind? The question of a claim and the findings of its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.probes import ProbeSet, PromptSet
from pytest_diffprivacy.statistics import Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """A claim before it is judged.

    Attributes:
        kind: "extraction", "membership", "sharpness", "memorization", ...
        slug: short name, part of the record's id.
        sentence: the claim with its limit, as a sentence.
        limit: the largest value that is allowed.
        headlines: what each verdict means, in plain language.
        model: who is audited; None where scores were made elsewhere.
        probes: what the model was asked about; None where scores were made elsewhere.
        counts: the sizes behind the estimate, e.g. "412 members, 409 non-members".
        confidence: of each one-sided bound.
        prompts: what the model was asked for, audited prompts first.
        name: of the assertion without "assert_", by which a policy binds it; empty: no policy can.
        terms: what a policy may bind besides the limit and the confidence, e.g. {"max_fpr": 0.01}.
    """

    kind: str
    slug: str
    sentence: str
    limit: float
    headlines: Mapping[Verdict, str]
    model: ModelIdentity | None
    probes: ProbeSet | None
    counts: str
    confidence: float
    prompts: tuple[PromptSet, ...] = ()
    name: str = ""
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def bound_terms(self) -> dict[str, float]:
        """All that a policy may bind."""
        return {"limit": self.limit, "confidence": self.confidence, **self.terms}

    @property
    def sides(self) -> list[Sequence[bytes]]:
        """Digests of members and non-members, or of prompts and reference prompts, in the order of their scores."""
        if self.probes is not None and self.probes.has_members:
            others = [self.probes.nonmembers.digests] if self.probes.has_nonmembers else []
            return [self.probes.members.digests, *others]
        return [[hashlib.sha256(text.encode()).digest() for text in prompts.texts] for prompts in self.prompts]


@dataclass(slots=True)
class Findings:
    """What an attack leaves behind besides its measurement; filled while it runs.

    `confounded` says why no verdict follows whatever was measured (INCONCLUSIVE), `cannot_pass` why silence proves
    nothing here (ERROR in the place of PASS), `unproven` why too few probes show whether it would (INCONCLUSIVE in the
    place of PASS). `sides` are the digests of the probes that were scored, in the order of
    their scores, where they are not all of the question's.
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
    sides: Sequence[Sequence[bytes]] = ()
    work: Work = field(default_factory=Work)
