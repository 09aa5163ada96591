"""Copies among generations: of a model that is asked, by the adaptive distance to the training set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction import CopyRule, Extraction, calibrate_rule, filter_generations
from pytest_diffprivacy.extraction.generate_and_filter import GENERATE_AND_FILTER
from pytest_diffprivacy.models.protocols import Generator, require_generator
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.copy_control import check_rule, note_left_out, rule_control
from pytest_diffprivacy.sources.copy_figures import show_copies
from pytest_diffprivacy.sources.generations import Request, generated, stops_early, unasked, unprompted
from pytest_diffprivacy.sources.looks import DECIDED, kept, show_looks
from pytest_diffprivacy.sources.method_records import published_record
from pytest_diffprivacy.sources.seeds import seed_control
from pytest_diffprivacy.sources.source import Audited
from pytest_diffprivacy.sources.wiring import generator_wiring
from pytest_diffprivacy.sources.without_model import stored_search
from pytest_diffprivacy.statistics import Measured, Verdict, decide, rate
from pytest_diffprivacy.statistics.copies import CopyRateStatistic
from pytest_diffprivacy.statistics.detector import CorrectedRateStatistic, Detector
from pytest_diffprivacy.statistics.early_plan import look_sizes, share_at_zero
from pytest_diffprivacy.statistics.statistic import Statistic

HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.PASS: "Training images come back no more often than allowed.",
    Verdict.FAIL: "Training images come back more often than allowed.",
    Verdict.INCONCLUSIVE: "These generations do not decide how often training images come back.",
    Verdict.ERROR: "Extraction could not be judged.",
}


class CopySource(Audited, Protocol):
    """Generations, or prompts, of which some are copies of training images; what is counted comes first in `counts`."""

    @property
    def share(self) -> str:
        """Of what, in the claim's sentence."""
        ...

    @property
    def units(self) -> int:
        """Of what `evaluations` counts, how many there are at the most."""
        ...

    @property
    def headlines(self) -> Mapping[Verdict, str]:
        """What each verdict means."""
        ...

    @property
    def terms(self) -> Mapping[str, float]:
        """What a policy may bind."""
        ...

    @property
    def statistic(self) -> Statistic:
        """What is judged."""
        ...

    def measure(self, findings: Findings, limit: float) -> Measured:
        """The judged rate; what a reader wants besides it goes into the findings."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """What counts as a copy, and how it is looked for; as in `assert_no_extraction`."""

    generations: int
    steps: int
    delta: float
    max_false_match_rate: float
    early_stop: bool | None
    embedding: Embedding | None
    detector: Detector | None

    def __post_init__(self) -> None:
        if self.detector is not None and self.early_stop:
            raise UsageError(
                "`early_stop` must be False with a `detector`: its correction needs a fixed number of trials."
            )

    def stops(self, generator: object) -> bool:
        """Whether generating may stop early.

        Raises:
            UsageError: it must, and the images were made elsewhere.
        """
        return stops_early(generator, self.early_stop) and self.detector is None


@final
class ModelCopies:
    """Copies among a model's generations.

    Args:
        auditor: generates.
        model: a generator.
        probes: the training set, and as many unseen images as calibrate the rule and are its control.
        copying: what counts as a copy.
        limit: the largest rate allowed, by which it is known when to look.
        confidence: of each bound.
    """

    headlines, unit = HEADLINES, "a generation"
    share, title, slug = "generations that copy a training image", "", "extraction"

    def __init__(
        self, auditor: Auditor, model: object, probes: ProbeSet, copying: Copying, limit: float, confidence: float
    ) -> None:
        self._auditor, self.model, self._probes = auditor, model, probes
        self._copying, self._limit, self._confidence = copying, limit, confidence
        self._early = copying.stops(model)
        self.counts = copying.generations, probes.members.source_count, probes.nonmembers.source_count
        self.evaluations, self.terms = copying.steps, {"delta": copying.delta}
        self.units = copying.generations

    @cached_property
    def _generator(self) -> Generator:
        return require_generator(self.model, "Extraction")

    @cached_property
    def _looks(self) -> list[int]:
        """After how many generations to look whether they decide; the last are all."""
        count, level = self._copying.generations, self._confidence
        if not self._early:
            return [count]
        return look_sizes(self._limit, count, confidence=level, at_zero=self._own(None).at_zero)

    def _own(self, rule: CopyRule | None) -> CopyRateStatistic:
        """As far as it is known before the rule is calibrated, or after."""
        copying, level = self._copying, self._confidence
        known = None if rule is None else rule.threshold
        return CopyRateStatistic(
            delta=copying.delta,
            max_false_match_rate=copying.max_false_match_rate,
            ceiling=0.0 if known is None else known.ceiling,
            rule_confidence=None if known is None else known.confidence,
            confidence=level,
            planned=copying.generations if self._early else 0,
            at_zero=share_at_zero(self._limit, copying.generations, confidence=level),
        )

    @cached_property
    def _request(self) -> Request:
        request = Request(self._copying.generations, self._copying.steps)
        return unprompted(self._generator, self._probes.members, request, self._auditor.seed)

    @property
    def statistic(self) -> Statistic:
        """What is judged."""
        own, detector = self._own(None), self._copying.detector
        return own if detector is None else corrected(detector, self._confidence, self._auditor.seed, own)

    @property
    def subject(self) -> Subject:
        """The generator and the probes."""
        identity = self._generator.identity
        self._probes.check_split()
        most = "at most " if self._early else ""
        counts = f"{most}{self._copying.generations} generations, {len(self._probes.members)} members"
        told = asked(self._generator, self._request.prompts or None)
        return Subject(model=identity, probes=self._probes, counts=counts, asked=told)

    def extraction(
        self, findings: Findings, limit: float, of_subject: NDArray[np.int64] | None = None
    ) -> tuple[Extraction, CopyRateStatistic]:
        """Calibrate the rule, generate, and find the copies; `of_subject` as in `calibrate_rule`."""
        copying, probes, level = self._copying, self._probes, self._confidence
        search = stored_search(self._auditor, findings.work)
        rule = calibrate_rule(
            probes, delta=copying.delta, max_false_match_rate=copying.max_false_match_rate, confidence=level,
            seed=self._auditor.seed, search=search, of_subject=of_subject,
        )  # fmt: skip
        self._describe(findings, rule)
        note_left_out(probes, rule, findings)
        rule_control(probes, rule, self._auditor.seed, search, findings)
        seed_control(self._auditor, self._generator, self._request, findings)
        generator_wiring(self._auditor, self._generator, probes.nonmembers, findings)
        findings.notes += unasked(self._generator, self._request.prompts)
        looks, statistic = self._looks, findings.at_attempt(self._own(rule))
        requests = [self._request.part(first, last) for first, last in itertools.pairwise([0, *looks])]
        images = generated(self._auditor, self._generator, requests, probes, findings)
        found = filter_generations(
            images, probes.members, rule, looks=looks if self._early else (), search=search,
            enough=lambda found: decide(statistic.measure(kept(stored_distances(found))), limit).verdict in DECIDED,
        )  # fmt: skip
        show_copies(findings, self._auditor, probes, found, level, embedding=copying.embedding)
        check_rule(probes, found, limit if of_subject is None else 0.0, level, findings)
        return found, statistic

    def measure(self, findings: Findings, limit: float) -> Measured:
        """The rate of copies among the generations."""
        copying, level = self._copying, self._confidence
        found, statistic = self.extraction(findings, limit)
        if copying.detector is None:
            stored = stored_distances(found)
            if self._early:
                stored |= show_looks(findings, statistic, kept(stored), self._looks, limit)
            return findings.measure(statistic, stored, limit)
        for named in stored_distances(found).values():
            findings.arrays |= named
        measured = measure_corrected(
            findings, found.copies, corrected(copying.detector, level, self._auditor.seed), limit
        )
        compared, false = int(found.compared_copies.sum()), int(found.false_matches.sum())
        if compared <= false:
            findings.notes.append(
                f"No copying was shown: {false} generations match unseen images and {compared} match as many training "
                "images, so there is nothing to correct but what the rule may miss."
            )
        return measured

    def _describe(self, findings: Findings, rule: CopyRule) -> None:
        """The method and its rule, fixed before any generation was seen."""
        threshold, copying = rule.threshold, self._copying
        parameters: dict[str, float | str] = {
            "generations": copying.generations,
            "steps": copying.steps,
            "delta": rule.delta,
            "adaptive_threshold": threshold.threshold,
            "max_false_match_rate": threshold.max_false_match_rate,
        }
        if self._request.prompt is not None:
            parameters["classes"] = "drawn as often as the members have them"
        findings.methods = [
            published_record(
                GENERATE_AND_FILTER,
                parameters | ({"early_stop": "as soon as PASS or FAIL is certain"} if self._early else {}),
                threshold=(
                    f"calibrated on {threshold.nulls} unseen images before any generation was seen: at most "
                    f"{threshold.max_false_match_rate:.2%} of them pass for copies, with confidence "
                    f"{threshold.confidence:g}"
                ),
                label_use="membership labels enter the search for the nearest image and the control only",
            )
        ]


def stored_distances(found: Extraction) -> dict[str, dict[str, NDArray[np.generic]]]:
    """From the stored distances to the verdict: calibrate the threshold, find copies, bound their rate."""
    return {
        "l2": {"l2": found.matches.l2},
        "adaptive": {"adaptive": found.matches.adaptive},
        "nearest": {"nearest_member": found.matches.nearest},
        "compared": {"compared_members": found.rule.compared},
        "control_l2": {"control_l2": found.control_matches.l2},
        "control_adaptive": {"control_adaptive": found.control_matches.adaptive},
        "control_nearest": {"nearest_control": found.control_matches.nearest},
        "null": {"null_adaptive": found.rule.null},
    }


def corrected(
    detector: Detector, confidence: float, seed: int, rule: Statistic | None = None
) -> CorrectedRateStatistic:
    """The rate of copies corrected for what the rule did on labelled pairs; a `rule` plans."""
    return CorrectedRateStatistic(
        detected=detector.detected,
        copies=detector.copies,
        false_alarms=detector.false_alarms,
        others=detector.others,
        confidence=confidence,
        seed=seed,
        rule=rule,
    )


def measure_corrected(
    findings: Findings, copies: NDArray[np.bool_], statistic: CorrectedRateStatistic, limit: float
) -> Measured:
    """The copy rate corrected for the rule's measured sensitivity and specificity; the plain rate stands beside it.

    Raises:
        InsufficientProbes: fewer than 30 generations.
        AuditError: fewer copies than false alarms alone explain.

    Source: Implements METHODS 6.1, detector-corrected rate.
    """
    measured = findings.measure(statistic, {"hits": {"copy": copies}}, limit)
    plain, detector = rate(int(copies.sum()), len(copies), confidence=statistic.confidence), statistic.detector
    counts = f"{len(copies)} generations"
    findings.also_measured.append(estimate("Copies that the rule reports, uncorrected", plain, counts))
    findings.notes.append(
        f"The rate is corrected for a sensitivity of {detector.sensitivity:.3g} ({detector.detected} of "
        f"{detector.copies} known copies) and a specificity of {detector.specificity:.3g} ({detector.false_alarms} of "
        f"{detector.others} others called copies); its bounds include the error of both."
    )
    return measured
