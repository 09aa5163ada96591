"""The claims about a mitigation: it brings back fewer training images, and its images still show what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike

from pytest_diffprivacy.assertions.compared_prompts import compared_prompts
from pytest_diffprivacy.assertions.mitigation_evidence import (
    alignment_lost,
    difference_table,
    method_of,
    outcome_table,
    strips,
    trade_off,
)
from pytest_diffprivacy.assertions.plans import Planned, evaluations_a_step, planned_mitigation
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Recipe
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
from pytest_diffprivacy.mitigation.compare import all_methods, run_comparison
from pytest_diffprivacy.mitigation.planned import PlannedComparison
from pytest_diffprivacy.models.protocols import require_prompted
from pytest_diffprivacy.probes import ImageSet, PromptSet
from pytest_diffprivacy.statistics import Measured, Verdict, relative_loss, share_left
from pytest_diffprivacy.statistics.arguments import check_count, check_finite, check_fraction

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
        AuditError: images or scores that are not finite, or a map that cannot tell fitting from other texts.

    Source: Implements METHODS 5.7.
    """
    judge = auditor or current_auditor()
    _check_parts(mitigations, alignment)
    sampling = DdimSampling(check_count("steps", steps, least=1), check_finite("guidance_scale", guidance_scale))
    images = check_count("images_per_prompt", images_per_prompt, least=1)
    if judge.planning:
        asked = compared_prompts(prompts, training_images, other_prompts, None)
        cards = tuple(method.card for method in all_methods(mitigations)[1:])
        return PlannedComparison(  # type: ignore[return-value]  # it stands for one, and the claims only plan with it
            model, len(asked.memorized), len(asked.others), asked.excluded, images, sampling, cards
        )
    denoiser = require_prompted(model, "Comparing mitigations")
    chosen = compared_prompts(prompts, training_images, other_prompts, denoiser.image_shape)
    scorer = fit_text_image_map(denoiser, alignment, seed=judge.seed) if isinstance(alignment, ImageSet) else alignment
    return run_comparison(
        denoiser,
        chosen,
        list(mitigations),
        images_per_prompt=images,
        sampling=sampling,
        closeness=similarity or PixelDistance(),
        alignment=scorer,
        engine=judge.engine,
        seed=judge.seed,
    )


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


def assert_mitigation_reduces_copies(
    comparison: MitigationComparison,
    mitigation: str,
    *,
    limit: float = 0.5,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that a mitigation leaves at most `limit` of the copies that the model makes without it.

    Judged is the share of generations that copy their prompt's training image, with the mitigation divided by without,
    bounded by a bootstrap over prompts.

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
    judge = auditor or current_auditor()
    _check_comparison(comparison)
    level = judge.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    sentence = f"{{}} leaves at most {limit:.4g} of the copies that the model makes without it"
    if judge.planning:
        return _plan(judge, comparison, mitigation, sentence, limit, level, copies=True)
    chosen, original = comparison.outcome(mitigation), comparison.original
    sentence = sentence.format(chosen.card.title)
    question = _question(comparison, f"copies-{mitigation}", sentence, limit, COPIES, level)

    def measure(findings: Findings) -> Measured:
        _describe(findings, comparison, mitigation, judge, level)
        findings.arrays |= {"copies_before": original.copies, "copies_after": chosen.copies}
        findings.recipe = _recipe("share_left", "copies", level, comparison.seed)
        lost = alignment_lost(comparison, chosen, level)
        if lost is not None:
            findings.also_measured.append(estimate("Prompt alignment lost", lost, question.counts))
        findings.needed = lambda: "about four times as many prompts would halve the bounds' distance"
        return share_left(original.copies, chosen.copies, confidence=level, seed=comparison.seed)

    return judge.judge(question, measure)


def assert_mitigation_keeps_alignment(
    comparison: MitigationComparison,
    mitigation: str,
    *,
    limit: float = 0.05,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
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
    judge = auditor or current_auditor()
    _check_comparison(comparison)
    level = judge.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    sentence = f"{{}} loses at most {limit:.4g} of the prompt alignment"
    if judge.planning:
        return _plan(judge, comparison, mitigation, sentence, limit, level, copies=False)
    chosen, original = comparison.outcome(mitigation), comparison.original
    sentence = sentence.format(chosen.card.title)
    question = _question(comparison, f"alignment-{mitigation}", sentence, limit, ALIGNMENT, level)

    def measure(findings: Findings) -> Measured:
        findings.methods = [method_of(comparison, chosen.card)]
        findings.notes.append(f"Prompt alignment: {comparison.alignment}.")
        before, after = original.memorized.alignment, chosen.memorized.alignment
        findings.arrays |= {"alignment_before": before, "alignment_after": after}
        findings.recipe = _recipe("relative_loss", "alignment", level, comparison.seed)
        findings.needed = lambda: "about four times as many prompts would halve the bounds' distance"
        return relative_loss(before, after, confidence=level, seed=comparison.seed)

    return judge.judge(question, measure)


def _check_comparison(comparison: object) -> None:
    if not isinstance(comparison, (MitigationComparison, PlannedComparison)):
        raise UsageError(f"`comparison` must be what compare_mitigations returned, got {type(comparison).__name__}.")


def _plan(
    judge: Auditor,
    comparison: MitigationComparison | PlannedComparison,
    mitigation: str,
    sentence: str,
    limit: float,
    confidence: float,
    *,
    copies: bool,
) -> Claim:
    """What the prompts can show about a mitigation, whose title belongs into the sentence."""
    sizes = comparison if isinstance(comparison, PlannedComparison) else PlannedComparison.of(comparison)
    planned = Planned(
        judge=judge, model=sizes.model, kind="mitigation", sentence=sentence.format(sizes.title(mitigation)),
        limit=limit, confidence=confidence, unit="an image", at_least=True,
        evaluations=sizes.sampling.steps * evaluations_a_step(sizes.sampling.guidance_scale),
    )  # fmt: skip
    return planned_mitigation(planned, sizes, copies=copies)


def _question(
    comparison: MitigationComparison,
    slug: str,
    sentence: str,
    limit: float,
    headlines: Mapping[Verdict, str],
    confidence: float,
) -> Question:
    prompts = comparison.prompts
    images = comparison.original.copies.shape[1]
    gone = f", {prompts.excluded} left out without training image" if prompts.excluded else ""
    return Question(
        kind="mitigation",
        slug=f"mitigation-{slug}",
        sentence=sentence,
        limit=limit,
        headlines=headlines,
        model=comparison.model,
        probes=None,
        counts=f"{len(prompts.memorized)} prompts with {images} images each{gone}",
        confidence=confidence,
        prompts=(
            PromptSet(prompts.memorized),
            *([PromptSet(prompts.others, "reference prompt")] if prompts.others else []),
        ),
        name="mitigation_reduces_copies" if headlines is COPIES else "mitigation_keeps_alignment",
    )


def _describe(
    findings: Findings, comparison: MitigationComparison, mitigation: str, judge: Auditor, confidence: float
) -> None:
    """Every method beside the one that is judged."""
    findings.work = comparison.work
    findings.methods = [method_of(comparison, outcome.card) for outcome in comparison.outcomes[1:]]
    findings.tables += [
        outcome_table(comparison, confidence),
        difference_table(comparison, confidence),
    ]
    if comparison.prompts.others:
        findings.tables.append(outcome_table(comparison, confidence, others=True))
    findings.charts.append(trade_off(comparison, mitigation, confidence))
    findings.notes += [
        f"A copy is judged by {comparison.closeness}.",
        f"Prompt alignment: {comparison.alignment}.",
        "The same prompts and seeds for every method; images of one prompt are not independent, so bounds resample "
        "prompts.",
    ]
    if judge.images != "none":
        findings.strips_title = "Without mitigation, the training image, and with each mitigation"
        findings.strips += strips(comparison, redacted=judge.images == "redacted")


def _recipe(statistic: str, quantity: str, confidence: float, seed: int) -> Recipe:
    return Recipe(
        statistic=statistic,
        arrays={"before": (f"{quantity}_before",), "after": (f"{quantity}_after",)},
        arguments={"confidence": confidence, "seed": seed},
    )
