"""The claim "the training set cannot be inferred": together, its images stand out no more than allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.membership.cdi import cdi_logits
from pytest_diffprivacy.sources.controls import stop
from pytest_diffprivacy.sources.features import FeatureSource, Matrix, feature_source, halves_control
from pytest_diffprivacy.sources.score_figures import histogram_record
from pytest_diffprivacy.statistics import Measured, Verdict, auroc
from pytest_diffprivacy.statistics.arguments import as_number, check_fraction
from pytest_diffprivacy.statistics.control_splits import control_splits
from pytest_diffprivacy.statistics.controls import SIGNIFICANCE
from pytest_diffprivacy.statistics.dataset_inference import (
    DatasetInference,
    DatasetInferenceStatistic,
    ShiftTest,
    dataset_inference,
    images_needed,
)
from pytest_diffprivacy.statistics.p_values import Combine

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "As a set, the training images stand out no more than allowed.",
    Verdict.FAIL: "It can be inferred that these images, as a set, were trained on.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether the training set can be inferred.",
    Verdict.ERROR: "Dataset inference could not be judged.",
}
SPLITS = 5
NOTHING = "so nothing can be concluded from this test"


@assertion
def assert_dataset_not_inferable(
    model: object,
    probes: object,
    *,
    significance: float = 0.01,
    max_effect: float = 0.0,
    features: Sequence[str] | None = None,
    splits: int = SPLITS,
    test: ShiftTest = "permutation",
    combine: Combine = "mean",
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that members, taken together, stand out from non-members by at most `max_effect`.

    CDI's scorer is fitted on control halves and judged on test halves, several times at random. The effect is the
    difference of the mean logits of test members and test non-members in units of their standard deviation.

    FAIL iff its lower bound is above `max_effect`. That bound inverts the combined p-value over all splits, so with
    the default 0 it is FAIL iff p < significance: the set can be inferred. PASS iff the upper bound of its size, the
    worst of the splits', is at most `max_effect`: that needs a margin, because no sample shows that an effect is 0. A
    large p-value alone is INCONCLUSIVE. A margin means: a set of `images_needed(max_effect, significance=
    ...)` test images, beside as many non-members, would be inferred with probability 0.8 if the effect were that large.

    Args:
        model: a model with grey-box access (white-box: more features); a ScoreTable, whose columns are the features; or
            the members' features, an array (members, features).
        probes: the ProbeSet; or the non-members' features, an array (non-members, features).
        significance: of the test, and 1 - confidence of each bound; a confidence on the command line overrides it.
        max_effect: allowed effect in standard deviations, >= 0.
        features: families out of membership.cdi.FAMILIES; None: all that the model's access allows. Of a
            ScoreTable its columns; None: all.
        splits: random control/test splits; the record holds each one's p-value.
        test: "permutation" of the mean difference; or "welch", which is not exact for skewed features and sides of
            different sizes.
        combine: "mean": twice the mean of the p-values decides; "median": twice their median. One split is itself.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record; `.value`, `.low` and `.high` are the effect and its bounds.

    Raises:
        PrivacyViolation: the claim is refuted: the set can be inferred.
        Inconclusive: neither bound decides, there are fewer than 20 members or non-members, or members and non-members
            differ without the model (the split is confounded).
        UsageError: a bad argument, a split with shared images, or a model without the access needed.
        AuditError: the model returns NaN, the features say nothing, or a control failed.

    Source: Follows Dubinski et al. 2025 (CDI) as METHODS 3.13 and 7.6 correct it; the bounds are ours.
    """
    auditor = auditor or current_auditor()
    level = _confidence(auditor, significance)
    limit = as_number("max_effect", max_effect)
    if not 0.0 <= limit < float("inf"):
        raise UsageError(f"`max_effect` must be finite and >= 0, got {max_effect!r}. 0.2 is a small effect.")
    source = feature_source(auditor, model, probes, features)
    statistic = DatasetInferenceStatistic(
        confidence=level, test=test, combine=combine, seed=auditor.seed, splits=splits
    )
    claim = Claim(
        kind="membership",
        name="dataset_not_inferable",
        slug=f"dataset-{source.slug}",
        sentence=of(
            f"As a set, members stand out from non-members by at most {limit:.4g} standard deviations", source.title
        ),
        limit=limit,
        headlines=HEADLINES,
        confidence=level,
    )
    return conclude(auditor, claim, source, statistic, lambda findings: _measured(findings, source, statistic, limit))


def _measured(
    findings: Findings, source: FeatureSource, statistic: DatasetInferenceStatistic, limit: float
) -> Measured:
    """Features to the effect with its bounds; everything else that a reader wants goes into the findings."""

    def infer(members: Matrix, nonmembers: Matrix) -> DatasetInference:
        """The same test on other features, at the controls' significance and on one split."""
        drawn = control_splits(len(members), len(nonmembers), splits=1, seed=statistic.seed)
        return dataset_inference(
            cdi_logits(members, nonmembers, drawn), confidence=1.0 - SIGNIFICANCE, test=statistic.test,
            combine=statistic.combine, seed=statistic.seed,
        )  # fmt: skip

    shown = {"splits": statistic.splits, "test": statistic.test, "combine": statistic.combine}
    source.describe(findings, shown, infer)
    stop(findings, "positive", NOTHING)
    members, nonmembers = source.features(findings)
    findings.controls.append(halves_control(nonmembers, statistic.seed, infer))
    stop(findings, "negative", NOTHING)
    drawn = control_splits(len(members), len(nonmembers), splits=statistic.splits, seed=statistic.seed)
    logits = cdi_logits(members, nonmembers, drawn)
    findings.arrays |= {"member_features": members, "nonmember_features": nonmembers}
    arrays = {
        "members": {"member_logits": np.stack([np.asarray(pair.members) for pair in logits])},
        "nonmembers": {"nonmember_logits": np.stack([np.asarray(pair.nonmembers) for pair in logits])},
    }
    measured = findings.measure(statistic, arrays, limit)
    assert isinstance(measured, DatasetInference)
    findings.arrays["split_p_values"] = np.array(measured.split_p_values)
    counts = f"{measured.members} test members, {measured.nonmembers} test non-members a split"
    first, second = np.asarray(logits[0].members), np.asarray(logits[0].nonmembers)
    findings.also_measured += [
        estimate("Mean logit difference", measured.difference, counts),
        estimate("AUROC of one image, first split", auroc(first, second, confidence=statistic.confidence), counts),
    ]
    findings.histograms.append(
        histogram_record("Test images of the first split", "logit (higher = more likely member)", first, second)
    )
    findings.notes += _notes(measured, statistic, limit)
    return measured


def _confidence(auditor: Auditor, significance: float) -> float:
    alpha = check_fraction("significance", significance)
    if alpha >= 0.5:
        raise UsageError(f"`significance` must be below 0.5, got {significance!r}. Give the chance of error (0.01).")
    return auditor.confidence(round(1.0 - alpha, 12))


def _notes(measured: DatasetInference, statistic: DatasetInferenceStatistic, limit: float) -> list[str]:
    each = measured.split_p_values
    splits = f"twice the {statistic.combine} of {len(each)} splits' ({min(each):.3g} to {max(each):.3g})"
    notes = [
        f"p = {measured.p_value:.3g}, {splits if len(each) > 1 else 'from one split'}, one-sided {statistic.test} "
        f"test, significance {statistic.significance:g}. Mean logits: members {measured.member_mean:.4g}, non-members "
        f"{measured.nonmember_mean:.4g}; {measured.members} test members and {measured.nonmembers} test non-members a "
        "split. A p-value above the significance never shows that a set was not used."
    ]
    inferable = images_needed(measured.high, significance=statistic.significance)
    if inferable is not None:
        notes.append(f"At the upper bound of the effect, about {inferable} test images a side make a set inferable.")
    if limit == 0.0:
        notes.append("With max_effect = 0 the claim can FAIL but never PASS: declare how large an effect may remain.")
    return notes
