"""The claim "at most so much of this set was used for training"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.membership.shadow import PlannedShadows, ShadowScores
from pytest_diffprivacy.membership.usage_share import matched_scores
from pytest_diffprivacy.sources.usage import usage_losses
from pytest_diffprivacy.statistics import Measured, Verdict
from pytest_diffprivacy.statistics.arguments import as_number
from pytest_diffprivacy.statistics.usage_share import Rates, UsageShare, UsageShareStatistic

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "No more of the set was used for training than allowed.",
    Verdict.FAIL: "More of the set was used for training than allowed.",
    Verdict.INCONCLUSIVE: "These suspects and references do not decide how much of the set was used.",
    Verdict.ERROR: "The share of the set that was used could not be judged.",
}
ONE_TARGET = (
    "The interval resamples images. How trainings differ is seen on the references only: it reaches at least as far as "
    "their own shares, which are known, come out wrong. References that were trained otherwise than the target (size, "
    "length, data beside the suspects) say nothing about it."
)


@assertion
def assert_usage_share_below(
    model: object,
    suspects: object,
    *,
    references: ShadowScores | PlannedShadows,
    limit: float,
    rates: Rates = "global",
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most a share `limit` of a set of images was used to train the model.

    Target and references are attacked alike, by one pair of references after the other: the score of an image is the
    loss of that model of the pair that did not see it, minus the attacked model's. The other references give the
    threshold, TPR and FPR.

    Args:
        model: a model with grey-box access; a ScoreTable with one column, higher = more likely used; or the target's
            losses, (suspects,), lower = more likely used, in the order of the references.
        suspects: the images whose use is in question: what a ProbeSet takes as members, a ProbeSet with them as
            members, or None where losses are an array.
        references: models that were trained as the target, each on a known half of the suspects, in at least two pairs
            of which one saw what the other did not: `train_shadows(suspects, train, [loss_measure()], models=4, ...)`.
        limit: allowed share, in [0, 1).
        rates: "global", or "per_image" rates shrunk towards them.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record; `.value`, `.low` and `.high` are not clipped to [0, 1].

    Raises:
        PrivacyViolation: more was used.
        Inconclusive: neither bound decides, or the references' TPR and FPR are too close to tell.
        UsageError: a bad argument, references without partners, or suspects that they did not measure.
        AuditError: the model returns NaN, or the bounds hold no share at all: the references do not say how this
            target errs.

    Source: Follows Tong et al. 2025 (DUCI), except for matched attacks and bounds (METHODS 3.17).
    """
    auditor = auditor or current_auditor()
    level, allowed = auditor.confidence(confidence), as_number("limit", limit)
    if not 0.0 <= allowed < 1.0:
        raise UsageError(f"`limit` must be at least 0 and below 1, got {limit!r}. Every share is at most 1.")
    statistic = UsageShareStatistic(confidence=level, rates=rates, seed=auditor.seed)
    source = usage_losses(auditor, model, suspects, references)
    claim = Claim(
        kind="membership",
        name="usage_share_below",
        slug=source.slug,
        sentence=of(f"At most {allowed:.4g} of the suspects was used for training", source.title),
        limit=allowed,
        headlines=HEADLINES,
        confidence=level,
    )

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        known, places = source.references, source.places
        losses, seen = known.losses[:, places], known.membership[:, places]
        own = source.losses(findings)
        if len(own) > 1 and np.ptp(own) == 0.0:
            raise AuditError(
                f"All {len(own)} losses of the target equal {own[0]:g}: it was not asked about the images."
            )
        scores = matched_scores(own, losses, seen)
        measured = findings.measure(
            statistic,
            {
                "target": {"suspect_scores": scores.target},
                "references": {"reference_scores": scores.references},
                "members": {"reference_saw": scores.members},
            },
            allowed,
        )
        assert isinstance(measured, UsageShare)
        _explain(findings, measured)
        if not measured.transfers:
            raise AuditError(
                f"The share of used images is between {measured.low:.3f} and {measured.high:.3f}, which is none: the "
                "references do not say how this target errs. Were they trained and measured as it was, and are lower "
                "losses those of used images?"
            )
        return measured

    return conclude(auditor, claim, source, statistic, measure)


def _explain(findings: Findings, measured: UsageShare) -> None:
    """What stands behind the share."""
    rows = zip(measured.threshold, measured.tpr, measured.fpr, measured.counted, measured.each, strict=True)
    for number, (threshold, tpr, fpr, counted, share) in enumerate(rows, 1):
        findings.notes.append(
            f"Pair {number} attacks: at scores from {threshold:.4g} on, {tpr:.3f} of the images that other references "
            f"saw and {fpr:.3f} of those they did not count as used, and {counted:.3f} of the suspects: a share of "
            f"{share:.3f}."
        )
    wrong = "none could be judged"
    if measured.spread is not None:
        wrong = f"they come out wrong by {measured.spread:.3f} (RMS)"
    findings.notes.append(f"{ONE_TARGET} Taken as targets, {wrong}.")
    clipped = f"Share within [0, 1]: {measured.clipped:.3f}."
    findings.notes.append(clipped)
