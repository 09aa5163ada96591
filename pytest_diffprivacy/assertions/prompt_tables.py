"""The claim about memorized prompts from scores that were made elsewhere, joined by the prompts' own texts."""

from __future__ import annotations

from dataclasses import replace

from pytest_diffprivacy.assertions.coherence import check_order, share_beside
from pytest_diffprivacy.assertions.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.assertions.evidence import histogram_record, roc_record, table_method, tpr_recipe
from pytest_diffprivacy.audit import Auditor, Findings, Question
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.probes import ProbeSet, PromptSet, ScoreTable
from pytest_diffprivacy.statistics import Measured, probes_needed_for_tpr


def judge_prompt_table(
    judge: Auditor,
    question: Question,
    table: ScoreTable,
    prompts: object,
    reference: object,
    *,
    column: str,
    max_fpr: float,
) -> Claim:
    """Judge the share of prompts above the reference prompts' quantile.

    Args:
        judge: who judges.
        question: the claim without model, prompts and counts.
        table: its ids are the prompts' texts, those of the reference included.
        prompts: as in `assert_no_memorized_prompts`.
        reference: as there.
        column: of the table.
        max_fpr: share of the reference prompts beyond the quantile.

    Raises:
        UsageError: no reference prompts, a prompt on both sides, or a table of other prompts.
        ProbeError: the prompts cannot be read.
    """
    audited, others = table_sides(prompts, reference)
    scores = table.of([*audited.texts, *others.texts], column)
    first, second = scores[: len(audited)], scores[len(audited) :]
    limit, level = question.limit, question.confidence

    def measure(findings: Findings) -> Measured:
        findings.methods = [table_method(table, column)]
        no_positive_control(f"{column}, scores made elsewhere", ELSEWHERE, findings)
        check_order(
            findings,
            first,
            second,
            title=f"{column}, scores made elsewhere,",
            whom="the audited prompts",
            cure="Give scores that are higher for memorized prompts, and reference prompts of the same kind",
        )
        findings.arrays |= {"prompt_scores": first, "reference_scores": second}
        findings.recipe = tpr_recipe([("prompt_scores", "reference_scores")], max_fpr, level)
        label, names = f"{column} (higher = more likely memorized)", ("prompts", "reference prompts")
        findings.histograms.append(histogram_record("Scores of prompts", label, first, second, names=names))
        findings.curves.append(roc_record("ROC of prompts", first, second, max_fpr, limit, level))

        def needed() -> str:
            decided = probes_needed_for_tpr(first, second, limit, max_fpr=max_fpr, confidence=level)
            return f"about {decided or 'more than 10 million'} prompts and as many reference prompts would decide"

        findings.needed = needed
        return share_beside(first, second, max_fpr=max_fpr, confidence=level, others="reference prompts")

    sides = replace(
        question,
        sentence=f"{question.sentence} ({column}, scores made elsewhere)",
        counts=f"{len(audited)} prompts, {len(others)} reference prompts",
        prompts=(audited, others),
    )
    return judge.judge(sides, measure)


def table_sides(prompts: object, reference: object) -> tuple[PromptSet, PromptSet]:
    """Audited prompts and reference prompts.

    Raises:
        UsageError: no reference prompts, or a prompt on both sides.
        ProbeError: the prompts cannot be read.
    """
    if reference is None:
        raise UsageError("`reference` must be prompts known not to be memorized, got None.")
    audited = prompts.prompts if isinstance(prompts, ProbeSet) else PromptSet.of(prompts, "prompt")
    others = PromptSet.of(reference, "reference prompt")
    shared = set(audited.texts) & set(others.texts)
    if shared:
        raise UsageError(f"`reference` must be other prompts, got {len(shared)} that are audited as well.")
    return audited, others
