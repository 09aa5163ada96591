"""Similarities of generations to their nearest training image, and of unseen images to theirs, measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.sources.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.sources.copies import HEADLINES, corrected, measure_corrected
from pytest_diffprivacy.sources.copy_control import check_left_out
from pytest_diffprivacy.sources.method_records import external_method
from pytest_diffprivacy.sources.score_figures import histogram_record
from pytest_diffprivacy.sources.source import Pair, Vector, as_scores
from pytest_diffprivacy.statistics import AlikeRate, Measured, check_coherence, rate
from pytest_diffprivacy.statistics.arguments import as_number
from pytest_diffprivacy.statistics.detector import Detector
from pytest_diffprivacy.statistics.similarity import AlikeRateStatistic
from pytest_diffprivacy.statistics.statistic import Statistic

UNKNOWN: Final = (
    "The similarities were measured elsewhere. What this run cannot know: whether each row was compared with the whole "
    "training set, and whether the generations are independent draws of the audited model."
)
NO_SPLIT: Final = Control(
    kind="split",
    name="Split: unseen images against training images",
    done="An image on both sides is refused.",
    outcome=ControlOutcome.NOT_APPLICABLE,
    meaning="Similarities were given without their images: whether the unseen images are of the training images' "
    "kind, and none of them, is not checked.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityRule:
    """From what similarity on a generation is a copy; as in `assert_no_extraction`."""

    copy_from: float
    max_false_match_rate: float
    detector: Detector | None
    confidence: float

    @classmethod
    def of(
        cls, copy_from: float | None, max_false_match_rate: float, detector: Detector | None, confidence: float
    ) -> SimilarityRule:
        """The rule of an assertion's arguments.

        Raises:
            UsageError: there is no smallest similarity of a copy.
        """
        if copy_from is None:
            raise UsageError(
                "`copy_from` must be the similarity from which a generation is a copy where a ScoreTable holds the "
                "similarities, got None. Higher = more like a copy."
            )
        least = as_number("copy_from", copy_from)
        return cls(copy_from=least, max_false_match_rate=max_false_match_rate, detector=detector, confidence=confidence)


@final
class Similarities:
    """Similarities of generations and of unseen images, **higher = more like a copy**.

    Args:
        auditor: gives the seed.
        pair: of generations and of unseen images.
        names: of both, e.g. of the columns that held them.
        where: parameters of the record that say where they came from.
        model: whose name a plan tells.
        rule: what counts as a copy.
    """

    headlines, unit, evaluations, slug = HEADLINES, "a generation", 0, "extraction-table"
    terms: Mapping[str, float] = {}

    def __init__(
        self,
        auditor: Auditor,
        pair: Pair,
        names: tuple[str, str],
        where: Mapping[str, str],
        model: object,
        rule: SimilarityRule,
    ) -> None:
        self._auditor, self._pair, self._names, self._where = auditor, pair, names, where
        self.model, self._rule = model, rule
        self.counts = len(pair[0]), len(pair[1])
        self.units = self.counts[0]
        self.share = f"generations at least {rule.copy_from:.4g} alike to a training image"
        self.title = f"{names[0]}, measured elsewhere"
        self._own = AlikeRateStatistic(
            copy_from=rule.copy_from,
            max_false_match_rate=rule.max_false_match_rate,
            rule_confidence=rule.confidence,
            confidence=rule.confidence,
        )

    @classmethod
    def of_tables(cls, auditor: Auditor, generations: ScoreTable, unseen: object, rule: SimilarityRule) -> Similarities:
        """From the only columns of two tables.

        Raises:
            UsageError: no table of unseen images, several columns, or one table in both places.
        """
        if not isinstance(unseen, ScoreTable):
            raise UsageError(
                f"`probes` must be a ScoreTable of unseen images where the model is one of generations, got "
                f"{type(unseen).__name__}. How alike unseen images are to their nearest training images says which "
                "similarity means a copy; a copy rate without them is no evidence."
            )
        tables, names = (generations, unseen), (generations.only, unseen.only)
        made, others = (table.of(table.ids, column) for table, column in zip(tables, names, strict=True))
        if generations.ids == unseen.ids and np.array_equal(made, others):
            raise UsageError(f"`probes` must be a table of unseen images, got the generations' own: {unseen.origin}.")
        where = {
            "table": f"{generations.origin}, {unseen.origin}",
            "sha256": ", ".join(table.sha256 or "made in memory" for table in tables),
            "unseen": names[1],
        }
        return cls(auditor, (made, others), names, where, generations, rule)

    @classmethod
    def of_arrays(cls, auditor: Auditor, generations: Any, unseen: Any, rule: SimilarityRule) -> Similarities:
        """From two arrays, (generations,) and (unseen images,).

        Raises:
            UsageError: what is no vector of numbers, or one array in both places.
        """
        pair = as_scores("generation", generations), as_scores("unseen image", unseen)
        if np.array_equal(*pair):
            raise UsageError("`probes` must be similarities of unseen images, got the generations' own.")
        return cls(auditor, pair, ("similarity", "similarity"), {}, None, rule)

    @property
    def statistic(self) -> Statistic:
        """The rate of copies, corrected where the rule's errors are known."""
        detector = self._rule.detector
        if detector is None:
            return self._own
        return corrected(detector, self._rule.confidence, self._auditor.seed, self._own)

    @property
    def subject(self) -> Subject:
        """Nobody is known besides the similarities."""
        return Subject(counts=f"{self.counts[0]} generations, {self.counts[1]} unseen images")

    def measure(self, findings: Findings, limit: float) -> Measured:
        """The rate of copies by the rule that half of the unseen images calibrate."""
        rule, name = self._rule, self._names[0]
        parameters = {"copy_from": rule.copy_from, "max_false_match_rate": rule.max_false_match_rate}
        findings.methods = [
            external_method(
                name,
                f"{name} (similarities measured elsewhere)",
                "the caller's own similarities",
                {**self._where, **parameters},
                threshold="`copy_from`, or higher where half of the unseen images say so",
                label_use="evaluation only; what the similarities were measured with is the caller's to say",
            )
        ]
        findings.notes.append(UNKNOWN)
        findings.controls.append(NO_SPLIT)
        no_positive_control(self.title, ELSEWHERE, findings)
        self._check_order(findings)
        measured = self._measured(findings, limit)
        if rule.detector is None:
            return measured
        statistic = corrected(rule.detector, rule.confidence, self._auditor.seed)
        return measure_corrected(findings, measured.is_copy(self._pair[0]), statistic, limit)

    def _measured(self, findings: Findings, limit: float) -> AlikeRate:
        made, null, control = self._pair[0], *self._halves()
        arrays = {"similarities": made, "null": null, "control": control}
        names = {"similarities": "similarities", "null": "null_similarities", "control": "control_similarities"}
        stored = {role: {names[role]: array} for role, array in arrays.items()}
        measured = findings.measure(self._own, stored, limit)
        assert isinstance(measured, AlikeRate)
        false = rate(measured.false_matches, measured.controls, confidence=self._rule.confidence)
        counts = f"{measured.controls} unseen images that did not calibrate the rule"
        title = "False matches: unseen images that the rule calls copies"
        findings.also_measured.append(estimate(title, false, counts))
        if measured.threshold > self._rule.copy_from:
            findings.notes.append(
                f"A share of unseen images above {self._rule.max_false_match_rate:g} may be "
                f"{self._rule.copy_from:.4g} alike to a training one: a generation counts as a copy from "
                f"{measured.threshold:.4g} on."
            )
            every, least = np.concatenate([null, control]), self._rule.copy_from
            remedy = "Look at the unseen images that are most alike: nearly training images, they make a rule blind"
            check_left_out(made >= least, every >= least, limit, self._rule.confidence, remedy, findings)
        title, axis = "Similarity to the nearest training image", "higher = more like a copy"
        drawn = histogram_record(
            title, axis, made, np.concatenate([null, control]), names=("generations", "unseen images"),
            mark=measured.threshold, mark_label="copy threshold",
        )  # fmt: skip
        findings.histograms.append(drawn)
        return measured

    def _halves(self) -> tuple[Vector, Vector]:
        """Unseen images that calibrate, and that are the control; by value, so that the order of rows plays no part."""
        others = self._pair[1]
        shuffled = np.sort(others)[np.random.default_rng([self._auditor.seed, 1]).permutation(len(others))]
        half = len(others) // 2
        return shuffled[:half], shuffled[half:]

    def _check_order(self, findings: Findings) -> None:
        """Silence of a column that may be the wrong way round is no PASS, unless the rule is known to find copies."""
        if check_coherence(*self._pair, title=self._names[0]).ranked_last:
            text = "Generations are less alike to training images than unseen images are, beyond chance"
            findings.notes.append(
                f"{text}: a model that generates badly looks so, and so do copies in a column of distances."
            )
            if self._rule.detector is None:
                findings.unproven = (
                    f"{text}: a column of distances, lower = closer, would look the same. Check its sign, and show by "
                    "a `detector`, what the rule did on known copies, that it finds them"
                )
