"""The claim "no prompt brings back one image": prompts pull no harder than prompts known not to be memorized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.plans import Planned, planned_prompt_table, planned_prompts
from pytest_diffprivacy.assertions.prompt_tables import judge_prompt_table
from pytest_diffprivacy.assertions.prompts import PromptPlan, measure_share, plan_prompts, prompt_method, watch
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Claim, Strip, Table
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling
from pytest_diffprivacy.memorization.kind import Kind, PromptKind, prompt_kinds
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.models.protocols import CrossAttention
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.statistics import Measured, TprAtFpr, Verdict, exceedance_p_values
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction

NAME = "no_memorized_prompts"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Prompts bring back single images no more often than allowed.",
    Verdict.FAIL: "More prompts than allowed bring back single images.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how many of them bring back single images.",
    Verdict.ERROR: "Memorized prompts could not be judged.",
}
LOOKED_AT = 24
STRIPS_SHOWN = 12
PICTURES = 4


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
) -> Claim:
    """Assert that at most `limit` of the prompts score above the reference prompts' quantile.

    The share is judged with bounds that include the error of the quantile. The record lists the prompts that were
    found, by digest unless images are recorded in full, with their p-values among the reference prompts; the most
    conspicuous ones are generated, told into exact and partial memorization, and shown beside their training image
    where the prompt set knows it.

    Args:
        model: a text-to-image model; what else it must offer depends on the detector. Or a ScoreTable, whose ids are
            the prompts' texts and whose columns are detectors.
        prompts: a list of texts, a .txt, .csv, .jsonl or .parquet file, a PromptSet, or a ProbeSet with prompts.
        reference: prompts of the same kind known not to be memorized, such as captions of images the model never saw;
            a list, file or PromptSet.
        detector: a name in memorization.DETECTORS.
        limit: allowed share of prompts above the quantile; by chance 1 - reference_quantile of them are.
        reference_quantile: of the reference prompts' scores, e.g. 0.99; a FAIL needs at least 368 reference prompts
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
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    limit = check_fraction("limit", limit, zero=True)
    if not 0.5 <= as_number("reference_quantile", reference_quantile) < 1.0:
        raise UsageError(f"`reference_quantile` must be in [0.5, 1), got {reference_quantile!r}.")
    if reference is None:
        raise UsageError(
            "`reference` must be prompts known not to be memorized, got None. Captions of images that the model never "
            "saw will do; for an absolute limit use assert_sharpness_below(..., sharp_above=...)."
        )
    images_per_prompt = check_count("images_per_prompt", images_per_prompt, least=1)
    sampling = PromptSampling(images_per_prompt, sampling_steps, guidance_scale, judge.seed)
    sentence = f"Share of prompts above the {reference_quantile:g} quantile of reference prompts is at most {limit:.4g}"
    terms = {"reference_quantile": reference_quantile}
    max_fpr = round(1.0 - reference_quantile, 12)
    planned = Planned(
        judge=judge, model=model, kind="memorization", sentence=sentence, limit=limit, confidence=level, evaluations=0,
        at_least=True,
    )  # fmt: skip
    if isinstance(model, ScoreTable):
        column = model.choose_one(detector, "hessian_score", "detector")
        if judge.planning:
            return planned_prompt_table(planned, prompts, reference, column=column, max_fpr=max_fpr)
        asked = Question(
            "memorization", "prompts-table", sentence, limit, HEADLINES, None, None, "", level, name=NAME, terms=terms
        )
        return judge_prompt_table(judge, asked, model, prompts, reference, column=column, max_fpr=max_fpr)
    plan = plan_prompts(model, prompts, reference, detector, parameters, sampling)
    title = plan.asked.title
    if judge.planning:
        case = replace(planned, sentence=f"{sentence} ({title})")
        return planned_prompts(case, plan, reference_quantile=reference_quantile)
    question = Question(
        kind="memorization",
        slug=f"prompts-{plan.asked.name}",
        sentence=f"{sentence} ({title})",
        limit=limit,
        headlines=HEADLINES,
        model=plan.model.identity,
        probes=None,
        counts=plan.counts,
        confidence=level,
        prompts=plan.sides,
        name=NAME,
        terms=terms,
    )

    def measure(findings: Findings) -> Measured:
        findings.methods = [prompt_method(plan, f"{reference_quantile:g} quantile of the reference prompts' scores")]
        measured = measure_share(
            judge, plan, findings, quantile=reference_quantile, above=None, limit=limit, confidence=level
        )
        assert isinstance(measured, TprAtFpr), "a claim with reference prompts is a TPR"
        _look_at(judge, plan, measured.threshold, findings)
        return measured

    return judge.judge(question, measure)


def _look_at(judge: Auditor, plan: PromptPlan, threshold: float | None, findings: Findings) -> None:
    """Which prompts, how sure, exact or partial, and pictures of the most conspicuous ones."""
    scores = findings.arrays["prompt_scores"]
    p_values = exceedance_p_values(scores, findings.arrays["reference_scores"])
    order = np.argsort(-scores, kind="stable")
    found = [int(i) for i in order if threshold is not None and scores[i] >= threshold]
    looked_at = (found or order[:1].tolist())[:LOOKED_AT]
    arrays = _generated(judge, plan, looked_at, findings)
    kinds = prompt_kinds(arrays["tiled_l2"]["images"], arrays.get("bright_ending", {}).get("mask"))
    by_prompt = dict(zip(looked_at, kinds, strict=True))
    findings.arrays |= {
        "prompt_p_values": p_values,
        "found_prompts": np.asarray(found, dtype=np.int64),
        "looked_at_prompts": np.asarray(looked_at, dtype=np.int64),
        "tile_agreement": np.asarray([kind.agreement for kind in kinds]),
    }
    if found:
        findings.tables.append(_table(judge, plan, found, scores, p_values, by_prompt))
        told = [by_prompt[i].kind for i in found if i in by_prompt]
        shares = ", ".join(f"{told.count(kind)} {kind.value}" for kind in Kind)
        findings.notes.append(
            f"{len(found)} of {len(scores)} prompts score above the threshold {threshold:.4g}. Of the {len(told)} most "
            f"conspicuous ones {shares}: exact if three quarters of the picture agree between generations, partial if "
            "an eighth does."
        )
    if judge.images != "none":
        findings.strips_title = "What the most conspicuous prompts generate"
        findings.strips += _strips(judge, plan, looked_at[:STRIPS_SHOWN], arrays, by_prompt, set(found), findings)


def _generated(judge: Auditor, plan: PromptPlan, positions: list[int], findings: Findings) -> dict[str, Arrays]:
    """Generations of a few prompts, at least two each, and where their end token lights up if that can be read."""
    asked = {"tiled_l2": DETECTORS["tiled_l2"]()}
    if isinstance(plan.model, CrossAttention):
        asked["bright_ending"] = DETECTORS["bright_ending"]()
    images = max(2, plan.sampling.images_per_prompt)
    sampling = PromptSampling(images, plan.sampling.sampling_steps, plan.sampling.guidance_scale, plan.sampling.seed)
    looked_at = PromptPlan(plan.model, plan.audited, plan.reference, plan.asked, sampling)
    return watch(judge, looked_at, plan.audited.subset(positions), asked, findings)


def _table(
    judge: Auditor,
    plan: PromptPlan,
    found: list[int],
    scores: NDArray[np.float64],
    p_values: NDArray[np.float64],
    kinds: Mapping[int, PromptKind],
) -> Table:
    names = plan.audited.texts if judge.images == "full" else plan.audited.ids()
    rows = []
    for position in found:
        kind = kinds.get(position)
        area = None if kind is None else kind.bright_area
        rows.append(
            (
                names[position],
                f"{scores[position]:.4g}",
                f"{p_values[position]:.2g}",
                "not looked at" if kind is None else kind.kind.value,
                "–" if kind is None else f"{kind.agreement:.0%}",
                "–" if area is None else f"{area:.0%}",
            )
        )
    columns = ("Prompt", "Score", "p-value", "Kind", "Picture that agrees", "Bright area")
    return Table(caption="Prompts above the threshold, the most conspicuous first", columns=columns, rows=tuple(rows))


def _strips(
    judge: Auditor,
    plan: PromptPlan,
    positions: list[int],
    arrays: dict[str, Arrays],
    kinds: Mapping[int, PromptKind],
    found: set[int],
    findings: Findings,
) -> list[Strip]:
    """Generations of each prompt, beside its training image where the prompt set knows it."""
    redacted = judge.images == "redacted"
    names = plan.audited.ids() if redacted else plan.audited.texts
    strips = []
    for row, position in enumerate(positions):
        training = plan.audited.image(position)
        shown = [] if training is None else [picture(training, "training image", redacted=redacted)]
        for number, image in enumerate(arrays["tiled_l2"]["images"][row][:PICTURES]):
            shown.append(picture(image.astype(np.float64) / 255.0, f"generation {number}", redacted=redacted))
        kind = kinds[position]
        caption = (
            f"{names[position]}: score {findings.arrays['prompt_scores'][position]:.4g}, {kind.kind.value}, "
            f"{kind.agreement:.0%} of the picture agrees between generations"
        )
        above = position in found
        mark = "above threshold" if above else "below threshold"
        strips.append(Strip(pictures=tuple(shown), caption=caption, mark=mark, conspicuous=above))
    return strips
