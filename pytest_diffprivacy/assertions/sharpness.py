"""The claim "the landscape is flat": training images sit in no sharper place than unseen ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_diffprivacy.assertions.evidence import histogram_record, method_record, roc_record, tpr_recipe
from pytest_diffprivacy.assertions.landscape import landscape_charts
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.models.protocols import require_denoiser, require_white_box
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.sharpness import find_statistic
from pytest_diffprivacy.statistics import Measured, Verdict, auroc, probes_needed_for_tpr, tpr_at_fpr
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Training images sit in no sharper places than allowed.",
    Verdict.FAIL: "More training images than allowed sit where the model's density is needle-sharp.",
    Verdict.INCONCLUSIVE: "These probes do not decide how sharp the density is at training images.",
    Verdict.ERROR: "Sharpness could not be judged.",
}


def assert_sharpness_below(
    model: object,
    probes: ProbeSet,
    *,
    statistic: str = "curvature",
    images_per_prompt: int = 4,
    timestep: int | None = None,
    reference_quantile: float = 0.99,
    limit: float,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that at most `limit` of the training images lie sharper than the reference quantile of unseen images.

    Sharpness is measured at noised copies of an image: the curvature `-s . H s / s . s` of the model's log density
    along its score, or the norms `|| H s ||` or `|| s ||`; or at the clean image: minus the intrinsic dimension. The
    share of members above the non-members' `reference_quantile` is judged with bounds that include the error of that
    quantile.

    Args:
        model: white-box access; grey-box for "score_norm".
        probes: the ProbeSet; its non-members are the reference.
        statistic: "curvature", "hessian_score", "score_norm" or "lid".
        images_per_prompt: noised copies of each image for an unconditional model; for "lid" random vectors of its
            trace.
        timestep: noise level; None: the statistic's own, matched by signal-to-noise ratio; an int is the model's own.
            Required for "lid", whose right noise level depends on the architecture.
        reference_quantile: quantile of the non-members' sharpness that counts as sharp, e.g. 0.99.
        limit: allowed share of members that are sharper.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are too few non-members for this quantile.
        UsageError: a bad argument, a split with shared images, or a model without the access needed.
        AuditError: the model returns NaN.

    Source: Inspired by Jeon et al. 2025, section 4 (sharpness of the probability landscape); interval of METHODS 7.2.
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    chosen = find_statistic(statistic)
    limit = check_fraction("limit", limit, zero=True)
    images_per_prompt = check_count("images_per_prompt", images_per_prompt, least=1)
    if not 0.5 <= as_number("reference_quantile", reference_quantile) < 1.0:
        raise UsageError(f"`reference_quantile` must be in [0.5, 1), got {reference_quantile!r}.")
    purpose = f"The claim about sharpness ({chosen.title})"
    needs = require_white_box if chosen.access == "white box" else require_denoiser
    denoiser = needs(model, purpose)
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    probes.check_split()
    level_of_noise = chosen.timestep if timestep is None else timestep
    if level_of_noise is None:
        raise UsageError(f"`timestep` must be given for {chosen.name!r}, got None. See sharpness.flipd_curve.")
    parameters: dict[str, Any] = {"timestep": level_of_noise, "draws": images_per_prompt}
    task = ScoreTask(chosen.name, chosen.version, chosen.scores, {**parameters, "seed": judge.seed})
    max_fpr = round(1.0 - reference_quantile, 12)
    method = method_record(
        name=chosen.name,
        title=chosen.title,
        access=chosen.access,
        source=chosen.source,
        parameters={**parameters, "reference_quantile": reference_quantile},
        timesteps=[denoiser.schedule.match(parameters["timestep"])],
        evaluations=images_per_prompt * (1 if chosen.access == "grey box" else 2),
        threshold=f"{reference_quantile:g} quantile of the non-members' sharpness",
    )
    counts = f"{len(probes.members)} members, {len(probes.nonmembers)} non-members as reference"
    sentence = (
        f"Share of training images sharper than the {reference_quantile:g} quantile of unseen images "
        f"is at most {limit:.4g}"
    )
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
    )

    def measure(findings: Findings) -> Measured:
        findings.methods = [method]
        members = judge.scores(denoiser, probes.members, task, findings.ledger)
        reference = judge.scores(denoiser, probes.nonmembers, task, findings.ledger)
        findings.arrays |= {"member_scores": members, "nonmember_scores": reference}
        findings.recipe = tpr_recipe([("member_scores", "nonmember_scores")], max_fpr, level)
        findings.also_measured.append(estimate("AUROC", auroc(members, reference, confidence=level), counts))
        findings.histograms.append(
            histogram_record("Sharpness", f"{chosen.title} (higher = sharper)", members, reference)
        )
        findings.curves.append(roc_record("ROC of sharpness", members, reference, max_fpr, limit, level))
        findings.charts += landscape_charts(
            denoiser, probes, chosen, members, reference, timestep=level_of_noise, seed=judge.seed
        )

        def needed() -> str:
            decided = probes_needed_for_tpr(members, reference, limit, max_fpr=max_fpr, confidence=level)
            return f"about {decided or 'more than 10 million'} members and as many non-members would decide"

        findings.needed = needed
        return tpr_at_fpr(members, reference, max_fpr=max_fpr, confidence=level)

    return judge.judge(question, measure)
