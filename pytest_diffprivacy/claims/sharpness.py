"""The claim "the landscape is flat": training images, or prompts, sit in no sharper place than others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.share_above import Threshold, share_above
from pytest_diffprivacy.claims.two_groups import PROMPTS as PROMPT_GROUPS
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.probes import ProbeSet, PromptSet
from pytest_diffprivacy.sources import PromptScores, Source, Wanted, images_beside, prompt_sides, scores_of
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.statistics import Measured, Verdict
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction

AT_IMAGES: Mapping[Verdict, str] = {
    Verdict.PASS: "Training images sit in no sharper places than allowed.",
    Verdict.FAIL: "More training images than allowed sit where the model's density is needle-sharp.",
    Verdict.INCONCLUSIVE: "These probes do not decide how sharp the density is at training images.",
    Verdict.ERROR: "Sharpness could not be judged.",
}
AT_PROMPTS: Mapping[Verdict, str] = {
    Verdict.PASS: "The landscape is no sharper at the prompts than allowed.",
    Verdict.FAIL: "The landscape is needle-sharp at more prompts than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how sharp the landscape is.",
    Verdict.ERROR: "Sharpness could not be judged.",
}
DETECTORS: Final = ("hessian_score", "score_difference")


@assertion
def assert_sharpness_below(
    model: object,
    probes: object,
    *,
    statistic: str | None = None,
    images_per_prompt: int = 4,
    timestep: int | None = None,
    reference: object | None = None,
    reference_quantile: float = 0.99,
    sharp_above: float | None = None,
    limit: float,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `limit` of the training images, or prompts, lie sharper than others do.

    Sharper than the reference quantile of unseen images or of reference prompts, or than an absolute value.

    Sharpness is measured at noised copies of an image: the curvature `-s . H s / s . s` of the model's log density
    along its score, or the norms `|| H s ||` or `|| s ||`; or at the clean image: minus the intrinsic dimension. The
    share of members above the non-members' `reference_quantile` is judged with bounds that include the error of that
    quantile. At prompts, sharpness is the pull of the prompt `|| s_Delta ||` or that pull weighed by the landscape,
    `|| H_Delta s_Delta ||`, at the first sampling step.

    Args:
        model: a model with white-box access, grey-box for "score_norm" and for prompts; a ScoreTable with a column of
            sharpness of images, higher = sharper; or the members' sharpness, an array (members,).
        probes: a ProbeSet, whose non-members are the reference; prompts as a list of texts, a file, a PromptSet, or a
            ProbeSet without members; or the non-members' sharpness, an array (non-members,).
        statistic: "curvature" (None for images), "hessian_score", "score_norm" or "lid"; for prompts "hessian_score"
            (None) or "score_difference".
        images_per_prompt: noised copies of each image for an unconditional model; for "lid" random vectors of its
            trace; for prompts starts of sampling.
        timestep: noise level; None: the statistic's own, matched by signal-to-noise ratio; an int is the model's own.
            Required for "lid", whose right noise level depends on the architecture.
        reference: for prompts: prompts of the same kind that are known not to be memorized.
        reference_quantile: quantile of the reference's sharpness that counts as sharp, e.g. 0.99.
        sharp_above: an absolute sharpness that counts as sharp, in place of a reference.
        limit: allowed share of members that are sharper.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, there are too few non-members for this quantile, or members and non-members
            differ without the model (the split is confounded).
        UsageError: a bad argument, a split with shared images, or a model without the access needed.
        AuditError: the model returns NaN, all values are equal, or the negative control failed.

    Source: Inspired by Jeon et al. 2025, section 4 (sharpness of the probability landscape); interval of METHODS 7.2.
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    images_per_prompt = check_count("images_per_prompt", images_per_prompt, least=1)
    threshold = Threshold(reference_quantile, sharp_above)
    external = made_elsewhere(model)
    if external:
        asked = {"images_per_prompt": images_per_prompt, "timestep": timestep}
        refuse_idle(assert_sharpness_below, asked | ({"statistic": statistic} if is_array(model) else {}))
    if sharp_above is not None:
        quantile, why = {"reference_quantile": reference_quantile}, "An absolute value needs no quantile."
        refuse_idle(assert_sharpness_below, quantile, "with `sharp_above`", why)
    if external or (isinstance(probes, ProbeSet) and probes.has_members):
        if reference is not None:
            raise UsageError("`reference` must be left out for images: a ProbeSet's non-members are their reference.")
        given = {"draws": images_per_prompt} | ({} if timestep is None else {"timestep": timestep})
        wanted = Wanted(
            kind="sharpness",
            attack=statistic or "curvature",
            default="curvature",
            parameters=given,
            purpose="The claim about sharpness",
            confidence=level,
            remedy="Judge by another statistic or another noise level",
            threshold=threshold.of("the non-members' sharpness"),
            shown={"sharper_than": threshold.of("unseen images")},
            reference=" as reference",
            members_only=sharp_above is not None,
            single=True,
        )
        source: Source = scores_of(auditor, model, probes, wanted)
        return _judge(auditor, source, threshold, IMAGES, limit, level)
    if not isinstance(probes, (ProbeSet, PromptSet, str, Path, list, tuple)):
        raise UsageError(
            f"`probes` must be a ProbeSet or prompts, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers), "
            "or prompts as a list, a file or a PromptSet."
        )
    detector = statistic or DETECTORS[0]
    _check_prompted(detector, timestep, reference, sharp_above)
    sampling = PromptSampling(images_per_prompt, seed=auditor.seed)
    words = threshold.of("the reference prompts' sharpness")
    sides, images = prompt_sides(probes, reference), images_beside(probes)
    source = PromptScores(auditor, model, sides, detector, None, sampling, words, images)
    return _judge(auditor, source, threshold, PROMPTS, limit, level)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the landscape is looked at, in words."""

    headlines: Mapping[Verdict, str]
    sentence: str
    reference: str
    slug: str
    counts: str
    arrays: tuple[str, str]
    groups: Groups


IMAGES: Final = _Place(
    headlines=AT_IMAGES,
    sentence="Share of training images sharper than",
    reference="unseen images",
    slug="sharpness",
    counts=" as reference",
    arrays=("member_scores", "nonmember_scores"),
    groups=Groups(scores="Sharpness", axis="{} (higher = sharper)", curve="ROC of sharpness"),
)
PROMPTS: Final = _Place(
    headlines=AT_PROMPTS,
    sentence="Share of prompts where the landscape is sharper than",
    reference="reference prompts",
    slug="sharpness-prompts",
    counts="",
    arrays=("prompt_scores", "reference_scores"),
    groups=PROMPT_GROUPS,
)


def _judge(
    auditor: Auditor,
    source: Source,
    threshold: Threshold,
    place: _Place,
    limit: float,
    level: float,
) -> records.Claim:
    claim = Claim(
        kind="sharpness",
        name="sharpness_below",
        slug=f"{place.slug}-{source.slug}",
        sentence=of(f"{place.sentence} {threshold.of(place.reference)} is at most {limit:.4g}", source.label),
        limit=limit,
        headlines=place.headlines,
        confidence=level,
        terms=threshold.terms,
    )
    groups = place.groups.about(source.label)
    statistic = threshold.statistic(level, groups.sides, limit)

    def measure(findings: Findings) -> Measured:
        return share_above(findings, source, threshold, claim, groups, arrays=place.arrays, seed=auditor.seed)

    return conclude(auditor, claim, source, statistic, measure)


def _check_prompted(detector: str, timestep: int | None, reference: object | None, sharp_above: float | None) -> None:
    if detector not in DETECTORS:
        raise UsageError(f"`statistic` must be one of {', '.join(DETECTORS)} for prompts, got {detector!r}.")
    if timestep is not None:
        raise UsageError(
            f"`timestep` must be left out for prompts, got {timestep!r}: they are measured where sampling starts."
        )
    if (reference is None) == (sharp_above is None):
        raise UsageError(
            "Prompts must be compared with either `reference` prompts or the absolute value `sharp_above`, got "
            f"{'neither' if reference is None else 'both'}."
        )
