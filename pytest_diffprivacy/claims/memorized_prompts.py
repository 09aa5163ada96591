"""The claim "no prompt brings back one image": prompts pull no harder than prompts known not to be memorized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.share_above import Threshold, share_above
from pytest_diffprivacy.claims.two_groups import PROMPTS
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.sources import (
    ArrayScores,
    PromptScores,
    PromptSource,
    TablePrompts,
    images_beside,
    prompt_sides,
)
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.statistics import FamilyTpr, Measured, Verdict
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Prompts bring back single images no more often than allowed.",
    Verdict.FAIL: "More prompts than allowed bring back single images.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how many of them bring back single images.",
    Verdict.ERROR: "Memorized prompts could not be judged.",
}


@assertion
def assert_no_memorized_prompts(
    model: object,
    prompts: object,
    *,
    reference: object,
    detector: str = "hessian_score",
    limit: float,
    reference_quantile: float = 0.99,
    images_per_prompt: int = 4,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    parameters: Mapping[str, Any] | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `limit` of the prompts score above the reference prompts' quantile.

    The share is judged with bounds that include the error of the quantile. The record lists the prompts that were
    found, by digest unless images are recorded in full, with their p-values among the reference prompts; the most
    conspicuous ones are generated, told into exact and partial memorization, and shown beside their training image
    where the prompt set knows it.

    Args:
        model: a text-to-image model; what else it must offer depends on the detector. Or a ScoreTable, whose ids are
            the prompts' texts and whose columns are detectors; or the prompts' scores, an array (prompts,), with those
            of the reference prompts as `reference` and None as `prompts`.
        prompts: a list of texts, a .txt, .csv, .jsonl or .parquet file, a PromptSet, or a ProbeSet with prompts.
        reference: prompts of the same kind known not to be memorized, such as captions of images the model never saw;
            a list, file or PromptSet.
        detector: a name in memorization.DETECTORS.
        limit: allowed share of prompts above the quantile; by chance 1 - reference_quantile of them are.
        reference_quantile: of the reference prompts' scores, e.g. 0.99; a FAIL needs at least 299 reference prompts
            there, and 73 at 0.95.
        images_per_prompt: images a prompt.
        sampling_steps: DDIM steps of a whole walk.
        guidance_scale: of the walk.
        parameters: the detector's own, e.g. {"steps": 5}.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are too few reference prompts for this quantile.
        UsageError: a bad argument, or prompts on both sides.
        ModelError: the model takes no texts, or offers less than the detector needs.
        AuditError: the model returns NaN, or a control failed.

    Source: Implements the detection of Jeon et al. 2025 and the methods they compare (METHODS 4); interval of 7.2.
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    threshold = Threshold(reference_quantile)
    if reference is None:
        raise UsageError(
            "`reference` must be prompts known not to be memorized, got None. Captions of images that the model never "
            "saw will do; for an absolute limit use assert_sharpness_below(..., sharp_above=...)."
        )
    if made_elsewhere(model):
        asked = {
            "images_per_prompt": images_per_prompt, "sampling_steps": sampling_steps, "guidance_scale": guidance_scale,
            "parameters": parameters,
        }  # fmt: skip
        refuse_idle(assert_no_memorized_prompts, asked | ({"detector": detector} if is_array(model) else {}))
    images_per_prompt = check_count("images_per_prompt", images_per_prompt, least=1)
    sampling = PromptSampling(images_per_prompt, sampling_steps, guidance_scale, auditor.seed)
    source: PromptSource
    if is_array(model):
        remedy = "Scores as arrays have the order of their prompts; a ScoreTable joins them by the texts."
        refuse_idle(assert_no_memorized_prompts, {"prompts": prompts}, remedy=remedy)
        source = ArrayScores(model, reference, ("prompts", "reference prompts"))
    elif isinstance(model, ScoreTable):
        column = model.choose_one(detector, "hessian_score", "detector")
        source = TablePrompts(model, prompt_sides(prompts, reference), column)
    else:
        words = f"{reference_quantile:g} quantile of the reference prompts' scores"
        sides, images = prompt_sides(prompts, reference), images_beside(prompts)
        source = PromptScores(auditor, model, sides, detector, parameters, sampling, words, images)
    sentence = f"Share of prompts above the {reference_quantile:g} quantile of reference prompts is at most {limit:.4g}"
    claim = Claim(
        kind="memorization",
        name="no_memorized_prompts",
        slug=f"prompts-{source.slug}",
        sentence=of(sentence, source.label),
        limit=limit,
        headlines=HEADLINES,
        confidence=level,
        terms=threshold.terms,
    )
    groups, arrays = PROMPTS.about(source.label), ("prompt_scores", "reference_scores")

    def measure(findings: Findings) -> Measured:
        measured = share_above(findings, source, threshold, claim, groups, arrays=arrays, seed=auditor.seed)
        assert isinstance(measured, FamilyTpr), "a claim with reference prompts is a TPR"
        source.examples(findings, measured.attacks[measured.worst].threshold)
        return measured

    return conclude(auditor, claim, source, threshold.statistic(level, groups.sides, limit), measure, at_least=True)
