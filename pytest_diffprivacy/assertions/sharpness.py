"""The claim "the landscape is flat": training images sit in no sharper place than unseen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.coherence import check_order, share_beside
from pytest_diffprivacy.assertions.controls import ELSEWHERE, negative_controls, no_positive_control
from pytest_diffprivacy.assertions.evidence import (
    histogram_record,
    method_record,
    rate_recipe,
    roc_record,
    table_method,
    tpr_recipe,
)
from pytest_diffprivacy.assertions.landscape import landscape_charts
from pytest_diffprivacy.assertions.plans import Planned, planned_rate, planned_tpr, sides
from pytest_diffprivacy.assertions.sharp_prompts import Sharp, judge_sharp_prompts
from pytest_diffprivacy.assertions.split import JudgedSplit, judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.models.protocols import require_denoiser, require_white_box
from pytest_diffprivacy.probes import ProbeSet, PromptSet, ScoreTable
from pytest_diffprivacy.sharpness import find_statistic
from pytest_diffprivacy.statistics import (
    Measured,
    Verdict,
    auroc,
    probes_needed_for_tpr,
    rate,
)
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_finite, check_fraction

NAME = "sharpness_below"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Training images sit in no sharper places than allowed.",
    Verdict.FAIL: "More training images than allowed sit where the model's density is needle-sharp.",
    Verdict.INCONCLUSIVE: "These probes do not decide how sharp the density is at training images.",
    Verdict.ERROR: "Sharpness could not be judged.",
}
NOT_PLANTED = (
    "A model with perfect memory is equally sharp around every image that it knows of, planted or not; the statistics "
    "are checked against closed forms in the project's tests instead."
)


def assert_sharpness_below(
    model: object,
    probes: ProbeSet | PromptSet | Sequence[str] | str | Path,
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
) -> Claim:
    """Assert that at most `limit` of the training images, or prompts, lie sharper than others do.

    Sharper than the reference quantile of unseen images or of reference prompts, or than an absolute value.

    Sharpness is measured at noised copies of an image: the curvature `-s . H s / s . s` of the model's log density
    along its score, or the norms `|| H s ||` or `|| s ||`; or at the clean image: minus the intrinsic dimension. The
    share of members above the non-members' `reference_quantile` is judged with bounds that include the error of that
    quantile. At prompts, sharpness is the pull of the prompt `|| s_Delta ||` or that pull weighed by the landscape,
    `|| H_Delta s_Delta ||`, at the first sampling step.

    Args:
        model: a ScoreTable with a column of sharpness of images, higher = sharper; or a model with white-box access,
            grey-box for "score_norm" and for prompts.
        probes: a ProbeSet, whose non-members are the reference; or prompts as a list of texts, a file, a PromptSet, or
            a ProbeSet without members.
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
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    images_per_prompt = check_count("images_per_prompt", images_per_prompt, least=1)
    if not 0.5 <= as_number("reference_quantile", reference_quantile) < 1.0:
        raise UsageError(f"`reference_quantile` must be in [0.5, 1), got {reference_quantile!r}.")
    if isinstance(model, ScoreTable):
        return _judge_table(judge, model, probes, statistic or "curvature", reference_quantile, limit, level)
    sharp = Sharp(reference_quantile, None if sharp_above is None else check_finite("sharp_above", sharp_above))
    if not isinstance(probes, (ProbeSet, PromptSet, str, Path, list, tuple)):
        raise UsageError(
            f"`probes` must be a ProbeSet or prompts, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers), "
            "or prompts as a list, a file or a PromptSet."
        )
    if not isinstance(probes, ProbeSet) or not probes.has_members:
        return judge_sharp_prompts(
            judge, model, probes, statistic or "hessian_score", reference, sharp,
            images_per_prompt=images_per_prompt, timestep=timestep, limit=limit, confidence=level,
        )  # fmt: skip
    if reference is not None:
        raise UsageError("`reference` must be left out for images: a ProbeSet's non-members are their reference.")
    chosen = find_statistic(statistic or "curvature")
    level_of_noise = chosen.defaults.get("timestep") if timestep is None else timestep
    if level_of_noise is None:
        raise UsageError(f"`timestep` must be given for {chosen.name!r}, got None. See sharpness.flipd_curve.")
    sentence = f"Share of training images sharper than {sharp.said('unseen images')} is at most {limit:.4g}"
    max_fpr = round(1.0 - reference_quantile, 12)
    statistic_asked = chosen(timestep=level_of_noise, draws=images_per_prompt)
    evaluations = statistic_asked.evaluations
    if judge.planning:
        planned = Planned(
            judge=judge, model=model, kind="sharpness", sentence=f"{sentence} ({chosen.title})", limit=limit,
            confidence=level, evaluations=evaluations,
        )  # fmt: skip
        if sharp.above is None:
            return planned_tpr(planned, sides(probes), max_fpr=max_fpr)
        count = probes.members.source_count
        return planned_rate(planned, count, trial="members", clean="none of which is sharper")
    purpose = f"The claim about sharpness ({chosen.title})"
    needs = require_white_box if chosen.access is Access.WHITE_BOX else require_denoiser
    denoiser = needs(model, purpose)
    gate = judged_split(judge, probes) if sharp.above is None else None
    probes = probes if gate is None else gate.probes
    task = statistic_asked.task(judge.seed)
    method = method_record(
        name=chosen.name,
        title=chosen.title,
        access=chosen.access_text,
        source=chosen.source,
        parameters={**statistic_asked.parameters, "sharper_than": sharp.said("unseen images")},
        timesteps=statistic_asked.timesteps(denoiser.schedule),
        evaluations=evaluations,
        threshold=sharp.said("the non-members' sharpness"),
    ).model_copy(update={"function": statistic_asked.function, "version": chosen.version})
    counts = f"{len(probes.members)} members"
    if sharp.above is None:
        counts += f", {len(probes.nonmembers)} non-members as reference"
    question = Question(
        kind="sharpness",
        slug=f"sharpness-{chosen.name}",
        sentence=f"{sentence} ({chosen.title})",
        limit=limit,
        headlines=HEADLINES,
        model=denoiser.identity,
        probes=probes,
        counts=counts,
        confidence=level,
        name=NAME,
        terms={} if sharp.above is not None else {"reference_quantile": reference_quantile},
    )

    def measure(findings: Findings) -> Measured:
        findings.methods = [method]
        if gate is not None:
            gate.note(findings)
        no_positive_control(chosen.title, NOT_PLANTED, findings)
        members = judge.scores(denoiser, probes.members, task, findings.work)
        if sharp.above is not None:
            hits = members > sharp.above
            findings.arrays |= {"member_scores": members, "member_above": hits.astype(np.uint8)}
            findings.recipe = rate_recipe("member_above", level)
            return rate(int(hits.sum()), len(hits), confidence=level)
        reference = judge.scores(denoiser, probes.nonmembers, task, findings.work)
        findings.charts += landscape_charts(
            denoiser, probes, statistic_asked, members, reference, seed=judge.seed, confidence=level
        )
        both = members, reference
        return _beside_reference(findings, both, chosen.title, max_fpr, limit, level, judge.seed, gate)

    return judge.judge(question, measure)


def _judge_table(
    judge: Auditor,
    table: ScoreTable,
    probes: object,
    statistic: str,
    reference_quantile: float,
    limit: float,
    confidence: float,
) -> Claim:
    """The claim about images from sharpness that was measured elsewhere."""
    if not isinstance(probes, ProbeSet) or not probes.has_members:
        raise UsageError(f"`probes` must be a ProbeSet of images for a score table, got {type(probes).__name__}.")
    column = table.choose_one(statistic, "curvature", "statistic")
    title, max_fpr = f"{column}, scores made elsewhere", round(1.0 - reference_quantile, 12)
    sentence = (
        f"Share of training images sharper than the {reference_quantile:g} quantile of unseen images is at most "
        f"{limit:.4g} ({title})"
    )
    if judge.planning:
        planned = Planned(
            judge=judge, model=table, kind="sharpness", sentence=sentence, limit=limit, confidence=confidence,
            evaluations=0,
        )  # fmt: skip
        return planned_tpr(planned, sides(probes), max_fpr=max_fpr)
    gate = judged_split(judge, probes)
    joined = table.join(probes, column, kept=gate.probes)
    question = Question(
        kind="sharpness",
        slug="sharpness-table",
        sentence=sentence,
        limit=limit,
        headlines=HEADLINES,
        model=None,
        probes=gate.probes,
        counts=f"{len(joined[0])} members, {len(joined[1])} non-members as reference",
        confidence=confidence,
        name=NAME,
        terms={"reference_quantile": reference_quantile},
    )

    def measure(findings: Findings) -> Measured:
        findings.methods = [table_method(table, column)]
        gate.note(findings)
        no_positive_control(title, ELSEWHERE, findings)
        cure = "Give a table in which a higher score is sharper"
        return _beside_reference(findings, joined, title, max_fpr, limit, confidence, judge.seed, gate, cure=cure)

    return judge.judge(question, measure)


def _beside_reference(
    findings: Findings,
    scores: tuple[NDArray[np.float64], NDArray[np.float64]],
    title: str,
    max_fpr: float,
    limit: float,
    confidence: float,
    seed: int,
    gate: JudgedSplit | None,
    *,
    cure: str = "Judge by another statistic or another noise level",
) -> Measured:
    """Sharpness to the share beyond the reference; everything else that a reader wants goes into the findings."""
    members, reference = scores
    check_order(findings, members, reference, title=title, cure=cure)
    measured = share_beside(members, reference, max_fpr=max_fpr, confidence=confidence, others="non-members")
    negative_controls({"sharpness": scores}, {"sharpness": title}, seed, findings)
    counts = f"{len(members)} members, {len(reference)} non-members as reference"
    findings.arrays |= {"member_scores": members, "nonmember_scores": reference}
    findings.recipe = tpr_recipe([("member_scores", "nonmember_scores")], max_fpr, confidence)
    findings.also_measured.append(estimate("AUROC", auroc(members, reference, confidence=confidence), counts))
    if gate is not None:
        gate.compare(findings, "", members, reference)
    findings.histograms.append(histogram_record("Sharpness", f"{title} (higher = sharper)", members, reference))
    findings.curves.append(roc_record("ROC of sharpness", members, reference, max_fpr, limit, confidence))

    def needed() -> str:
        decided = probes_needed_for_tpr(members, reference, limit, max_fpr=max_fpr, confidence=confidence)
        return f"about {decided or 'more than 10 million'} members and as many non-members would decide"

    findings.needed = needed
    return measured
