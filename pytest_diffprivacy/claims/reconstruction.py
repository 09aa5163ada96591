"""The claim "hidden parts do not come back": members are restored hardly better than images the model never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.extraction.reconstruction import COLUMNS
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.restoration import Degradation
from pytest_diffprivacy.restoration.plan import Restoration
from pytest_diffprivacy.sources import Vector, require_probes
from pytest_diffprivacy.sources.restorations import ArrayErrors, Errors, ErrorSource, Hiding, ModelErrors, TableErrors
from pytest_diffprivacy.sources.score_figures import histogram_record
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.statistics import Measured, Verdict, auroc, mean_difference
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction
from pytest_diffprivacy.statistics.mean_difference import MeanDifferenceStatistic

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Hidden parts of training images are restored no better than allowed.",
    Verdict.FAIL: "The model restores hidden parts of its training images better than those of other images.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether hidden parts of training images come back.",
    Verdict.ERROR: "Reconstruction could not be judged.",
}
GREY = -0.5
"""Minus the largest error of a part that is filled with grey: nobody's restoration need be worse."""
MEANINGS = {
    "oracle": "Smallest error of all tries (upper bound, needs the answer): members lower by",
    "single": "Mean error of all tries: members lower by",
}


@assertion
def assert_no_reconstruction(
    model: object,
    probes: object,
    *,
    mask: str | Degradation = "left",
    limit: float,
    images: int = 100,
    draws: int = 100,
    keep: int = 10,
    restoration: Restoration = "ddim",
    steps: int = 50,
    loss_draws: int = 20,
    timestep: int | None = None,
    reference: object | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that the model restores hidden parts of members better than those of non-members by at most `limit`.

    Each image is restored `draws` times; the attacker keeps the `keep` restorations that the model's own loss likes
    best, and their mean RMS error on hidden pixels is the image's error. Judged is the non-members' mean error minus
    the members': PASS iff its upper bound is at most the limit, FAIL iff its lower bound is above it.

    With a `reference`, a model that was trained on neither side, the difference is paired image by image: judged is by
    how much more the audited model beats it on members than on non-members, which takes the images' own difficulty out.

    Args:
        model: grey-box access; or a ScoreTable with one column, the RMS error on hidden pixels of each image, in
            [0, 1]: **lower = restored better**; or the members' errors, an array (members,). Then all probes are
            judged, and what says how to restore has no part.
        probes: the ProbeSet; or the non-members' errors, an array (non-members,).
        mask: what is hidden: "left", "right", "top", "bottom", "random:0.3", "region:LEFT,TOP,RIGHT,BOTTOM". Masks from
            an array or a function have no digest to store results by: give them to extraction.reconstruction_errors.
        limit: allowed difference of the mean errors, RMS on [0, 1].
        images: how many of each side are restored, chosen by the seed; all where there are fewer.
        draws: restorations an image, the same number for members and non-members. The paper used thousands.
        keep: how many of them are averaged.
        restoration: "ddim", "ddnm" or "repaint".
        steps: sampling steps of one restoration.
        loss_draws: noise draws of the loss that chooses.
        timestep: of that loss; None: t = 100, matched by signal-to-noise ratio; an int is the model's own.
        reference: grey-box access to a model of the same images that saw neither members nor non-members; a ScoreTable
            of its errors where the model is one.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are fewer than 10 images a side.
        UsageError: a bad argument, a split with shared images, or a table that does not match the probes one to one.
        AuditError: the model returns NaN; or the errors of a table are all equal, or would pass and are lower for
            non-members beyond chance.

    Source: Follows Carlini et al. 2023, section 5.4 (inpainting), except that the attacker chooses by the model's loss
    and non-members are the control (METHODS 2.2).
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    allowed, count = check_fraction("limit", limit, zero=True), check_count("images", images, least=1)
    if made_elsewhere(model):
        refuse_idle(
            assert_no_reconstruction,
            {
                "mask": mask, "images": images, "draws": draws, "keep": keep, "restoration": restoration,
                "steps": steps, "loss_draws": loss_draws, "timestep": timestep,
            },
        )  # fmt: skip
    if is_array(model):
        remedy = "ScoreTables of both models' errors are paired image by image."
        refuse_idle(assert_no_reconstruction, {"reference": reference}, "where errors are arrays", remedy)
    source: ErrorSource
    if is_array(model) and is_array(probes):
        source = ArrayErrors(model, probes)
    elif isinstance(model, ScoreTable):
        source = TableErrors(auditor, _tables(model, reference), require_probes(probes))
    else:
        hiding = Hiding(
            mask=mask,
            draws=check_count("draws", draws, least=1),
            keep=check_count("keep", keep, least=1),
            restoration=restoration,
            steps=check_count("steps", steps, least=1),
            loss_draws=loss_draws,
            timestep=timestep,
        )
        source = ModelErrors(auditor, model, reference, require_probes(probes), hiding, count)
    beside = ", compared with a reference model" if source.referenced else ""
    sentence = f"{source.parts} of members are restored better than those of non-members by at most {allowed:.4g} RMS"
    claim = Claim(
        kind="extraction",
        name="no_reconstruction",
        slug=source.slug,
        sentence=of(sentence + beside, source.title),
        limit=allowed,
        headlines=HEADLINES,
        confidence=level,
    )
    statistic = MeanDifferenceStatistic(
        confidence=level, least=GREY, most=0.0, of="gains over the reference" if source.referenced else "errors"
    )

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        measured = _compared(findings, source, statistic, allowed)
        source.show(findings, level)
        return measured

    return conclude(auditor, claim, source, statistic, measure)


def _tables(table: ScoreTable, reference: object | None) -> list[ScoreTable]:
    if reference is not None and not isinstance(reference, ScoreTable):
        raise UsageError(
            f"`reference` must be a ScoreTable where the model is one, got {type(reference).__name__}. Hidden parts "
            "and tries must be the same for both."
        )
    return [table] if reference is None else [table, reference]


def _compared(findings: Findings, source: ErrorSource, statistic: MeanDifferenceStatistic, limit: float) -> Measured:
    """The judged difference; everything else that a reader wants goes into the findings."""
    errors, reference = source.errors(findings)
    members, nonmembers = errors[0][:, 0], errors[1][:, 0]
    gains, confidence, groups = (-members, -nonmembers), statistic.confidence, Groups()
    findings.arrays |= _named("{}_errors", errors)
    counts = groups.sizes(gains)
    if reference is not None:
        plain = mean_difference(-members, -nonmembers, confidence=confidence)
        findings.also_measured.append(estimate("Error without the reference: members lower by", plain, counts))
        findings.arrays |= _named("reference_{}_errors", reference)
        gains = reference[0][:, 0] - members, reference[1][:, 0] - nonmembers
        statistic = replace(statistic, least=0.0, most=float(max(side[:, 0].max() for side in reference)))
    groups.check_order(findings, gains, source.label, source.remedy)
    area = auroc(-members, -nonmembers, confidence=confidence)
    findings.also_measured.append(estimate("AUROC of minus the error", area, counts))
    for column, name in enumerate(COLUMNS[1 : errors[0].shape[1]], start=1):
        difference = mean_difference(-errors[0][:, column], -errors[1][:, column], confidence=confidence)
        findings.also_measured.append(estimate(MEANINGS[name], difference, counts))
    axis = "RMS (lower = restored better)"
    findings.histograms.append(histogram_record("Error on hidden pixels", axis, members, nonmembers))
    measured = findings.measure(
        statistic, {"first": {"member_gains": gains[0]}, "second": {"nonmember_gains": gains[1]}}, limit
    )
    findings.notes.append(
        f"Mean error on hidden pixels: members {members.mean():.4f}, non-members {nonmembers.mean():.4f}. The "
        "smallest error of all tries needs the original, which no attacker holds, and falls with their number for "
        "unseen images as well: it is an upper bound and no attack."
    )
    return measured


def _named(pattern: str, errors: Errors) -> dict[str, Vector]:
    return {pattern.format(side): values for side, values in zip(("member", "nonmember"), errors, strict=True)}
