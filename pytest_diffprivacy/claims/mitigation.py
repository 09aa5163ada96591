"""The claims about a mitigation: it brings back fewer training images, and its images still show what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude
from pytest_diffprivacy.claims.compared_prompts import compared_prompts
from pytest_diffprivacy.claims.mitigation_figures import add_figures, alignment_lost, mitigation_record
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.mitigation import (
    AlignmentScorer,
    Closeness,
    DdimSampling,
    Mitigation,
    MitigationCard,
    MitigationComparison,
    PixelDistance,
    fit_text_image_map,
)
from pytest_diffprivacy.mitigation.compare import SharedSettings, all_methods, run_comparison
from pytest_diffprivacy.models.protocols import require_prompted
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sources.mitigations import ComparedMitigation, PlannedComparison
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics import Measured, Verdict
from pytest_diffprivacy.statistics.arguments import check_count, check_finite, check_fraction
from pytest_diffprivacy.statistics.paired import RelativeLossStatistic, ShareLeftStatistic

COPIES: Mapping[Verdict, str] = {
    Verdict.PASS: "The mitigation brings back training images no more often than allowed.",
    Verdict.FAIL: "The mitigation leaves more copies of training images than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how many copies the mitigation leaves.",
    Verdict.ERROR: "The mitigation's copies could not be judged.",
}
ALIGNMENT: Mapping[Verdict, str] = {
    Verdict.PASS: "The mitigated images fit their prompts about as well as before.",
    Verdict.FAIL: "The mitigated images fit their prompts worse than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how well the mitigated images fit them.",
    Verdict.ERROR: "The mitigation's prompt alignment could not be judged.",
}


def compare_mitigations(
    model: object,
    prompts: Sequence[str],
    training_images: Sequence[ArrayLike | None],
    *,
    mitigations: Sequence[Mitigation],
    alignment: AlignmentScorer | ImageSet,
    other_prompts: Sequence[str] = (),
    images_per_prompt: int = 4,
    steps: int = 50,
    guidance_scale: float = 7.5,
    similarity: Closeness | None = None,
    auditor: Auditor | None = None,
) -> MitigationComparison:
    """Sample the same prompts from the same seeds without and with each mitigation, and measure what changes.

    Nothing is judged here: `assert_mitigation_reduces_copies` and `assert_mitigation_keeps_alignment` do that, and put
    the comparison with its pictures into the report.

    Args:
        model: a text-to-image model.
        prompts: prompts that bring training images back.
        training_images: for each of them its training image (channels, height, width) in [0, 1], or several of them
            (images, channels, height, width); None where it is gone: the prompt is left out and counted.
        mitigations: methods to compare, e.g. `[Sail(...), AttentionRescaling()]`; each may be one of your own.
        alignment: scores how well an image fits its prompt; or captioned images, to which a map from images to the
            model's own text embedding is fitted. They must show the prompts' subjects in other pictures than the
            training images.
        other_prompts: prompts that are not memorized: what a mitigation costs where nothing was wrong.
        images_per_prompt: images of each prompt and method.
        steps: sampling steps.
        guidance_scale: of classifier-free guidance, without mitigation. Small models copy at 1 most: sweep it.
        similarity: closeness to the training image and its copy limit; RMS pixel distance, copy at 0.15, by default.
        auditor: gives seed and engine; the session's by default.

    Returns:
        The comparison: `.outcomes`, the first of them without mitigation. While a run is only planned, a stand-in for
        it: nothing is sampled.

    Raises:
        UsageError: a bad argument, two methods of one name, or a model that takes no texts.
        AuditError: images or scores that are not finite, a map that cannot tell fitting from other texts, or a network
            that is not asked as it was trained.

    Source: Implements METHODS 5.7.
    """
    auditor = auditor or current_auditor()
    _check_parts(mitigations, alignment)
    sampling = DdimSampling(check_count("steps", steps, least=1), check_finite("guidance_scale", guidance_scale))
    images = check_count("images_per_prompt", images_per_prompt, least=1)
    if auditor.planning:
        asked = compared_prompts(prompts, training_images, other_prompts, None)
        cards = tuple(method.card for method in all_methods(mitigations)[1:])
        return PlannedComparison(  # type: ignore[return-value]  # it stands for one, and the claims only plan with it
            model, len(asked.memorized), len(asked.others), asked.excluded, images, sampling, cards
        )
    denoiser = require_prompted(model, "Comparing mitigations")
    chosen = compared_prompts(prompts, training_images, other_prompts, denoiser.image_shape)
    scorer = (
        fit_text_image_map(denoiser, alignment, seed=auditor.seed) if isinstance(alignment, ImageSet) else alignment
    )
    shared = SharedSettings(
        sampling=sampling,
        images_per_prompt=images,
        seed=auditor.seed,
        closeness=similarity or PixelDistance(),
        alignment=scorer,
    )
    findings = Findings()
    shown = alignment if isinstance(alignment, ImageSet) else None
    wiring_control(auditor, denoiser, shown, findings, decides=False)  # a comparison judges generations as they are
    compared = run_comparison(denoiser, chosen, list(mitigations), shared, auditor.engine)
    return replace(compared, controls=tuple(findings.controls))


def _check_parts(mitigations: object, alignment: object) -> None:
    if not isinstance(mitigations, (list, tuple)):
        raise UsageError(
            f"`mitigations` must be a list of methods, got {mitigations!r}. Write [AttentionRescaling()] for one."
        )
    for method in mitigations:
        if not isinstance(getattr(method, "card", None), MitigationCard):
            raise UsageError(
                f"`mitigations` must be methods with their settings, got {method!r}. Write AttentionRescaling() or "
                "another one of pytest_diffprivacy.mitigation, with parentheses."
            )
    if not isinstance(alignment, ImageSet) and not callable(getattr(alignment, "scores", None)):
        raise UsageError(
            f"`alignment` must be a scorer with `name` and `scores`, or an ImageSet with captions, got {alignment!r}."
        )


@assertion
def assert_mitigation_reduces_copies(
    comparison: MitigationComparison,
    mitigation: str,
    *,
    limit: float = 0.5,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that a mitigation leaves at most `limit` of the copies that the model makes without it.

    Judged is the share of generations that copy their prompt's training image, with the mitigation divided by without,
    bounded over prompts.

    Args:
        comparison: what `compare_mitigations` returned.
        mitigation: name of the method, e.g. "sail".
        limit: largest share of the copies that may be left; 0.5 asks for half as many.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with every method of the comparison in its tables and pictures.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or the model makes no copies without the mitigation.
        UsageError: a bad argument.

    Source: Implements METHODS 5.7; the bounds are those of statistics.share_left.
    """
    auditor = auditor or current_auditor()
    source = ComparedMitigation.of(comparison, mitigation)
    limit, level = check_fraction("limit", limit, zero=True), auditor.confidence(confidence)
    claim = Claim(
        kind="mitigation",
        name="mitigation_reduces_copies",
        slug=f"mitigation-copies-{mitigation}",
        sentence=f"{source.title} leaves at most {limit:.4g} of the copies that the model makes without it",
        limit=limit,
        headlines=COPIES,
        confidence=level,
    )
    statistic = ShareLeftStatistic(confidence=level, seed=auditor.seed)

    def measure(findings: Findings) -> Measured:
        chosen = comparison.outcome(mitigation)
        findings.work, findings.controls = comparison.work, list(comparison.controls)
        findings.methods = [mitigation_record(comparison, outcome.card) for outcome in comparison.outcomes[1:]]
        add_figures(findings, comparison, mitigation, level, auditor.images)
        lost = alignment_lost(comparison, chosen, level)
        if lost is not None:
            findings.also_measured.append(estimate("Prompt alignment lost", lost, source.subject.counts))
        arrays = {"before": {"copies_before": comparison.original.copies}, "after": {"copies_after": chosen.copies}}
        return findings.measure(replace(statistic, seed=comparison.seed), arrays, limit)

    return conclude(auditor, claim, source, statistic, measure, units=source.samples, at_least=True)


@assertion
def assert_mitigation_keeps_alignment(
    comparison: MitigationComparison,
    mitigation: str,
    *,
    limit: float = 0.05,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `limit` of the prompt alignment is lost on the memorized prompts.

    Args:
        comparison: what `compare_mitigations` returned.
        mitigation: name of the method, e.g. "sail".
        limit: largest relative loss of the mean alignment, e.g. 0.05.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides.
        UsageError: a bad argument.
        AuditError: without mitigation the images do not surely fit their prompts, by this scorer.

    Source: Implements METHODS 5.7; the bounds are those of statistics.relative_loss.
    """
    auditor = auditor or current_auditor()
    source = ComparedMitigation.of(comparison, mitigation)
    limit, level = check_fraction("limit", limit, zero=True), auditor.confidence(confidence)
    claim = Claim(
        kind="mitigation",
        name="mitigation_keeps_alignment",
        slug=f"mitigation-alignment-{mitigation}",
        sentence=f"{source.title} loses at most {limit:.4g} of the prompt alignment",
        limit=limit,
        headlines=ALIGNMENT,
        confidence=level,
    )
    statistic = RelativeLossStatistic(confidence=level, seed=auditor.seed)

    def measure(findings: Findings) -> Measured:
        chosen = comparison.outcome(mitigation)
        findings.methods, findings.controls = [mitigation_record(comparison, chosen.card)], list(comparison.controls)
        findings.notes.append(f"Prompt alignment: {comparison.alignment}.")
        arrays = {
            "before": {"alignment_before": comparison.original.memorized.alignment},
            "after": {"alignment_after": chosen.memorized.alignment},
        }
        return findings.measure(replace(statistic, seed=comparison.seed), arrays, limit)

    return conclude(auditor, claim, source, statistic, measure, units=source.samples, at_least=True)
