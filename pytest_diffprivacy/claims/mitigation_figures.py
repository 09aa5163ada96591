"""A comparison of mitigations in a record: tables, the trade-off as a chart, pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Chart, Method, Series, Strip, Table
from pytest_diffprivacy.mitigation import MitigationCard, MitigationComparison
from pytest_diffprivacy.mitigation.compare import Generated, MethodOutcome
from pytest_diffprivacy.probes import PromptSet
from pytest_diffprivacy.sources.method_records import external_method
from pytest_diffprivacy.statistics import (
    PairedChange,
    mcnemar,
    mean_change,
    mean_over_prompts,
    rate,
    relative_loss,
    share_left,
)
from pytest_diffprivacy.statistics.paired import LEAST_SHOWN

STRIPS_SHOWN = 8
UNDEFINED = "undefined"


def mitigation_record(comparison: MitigationComparison, card: MitigationCard) -> Method:
    """A mitigation as a record."""
    sampling = comparison.sampling
    return external_method(
        card.name,
        card.title,
        card.source,
        {**card.parameters, "steps": sampling.steps, "guidance_scale": sampling.guidance_scale},
        threshold=comparison.closeness,
        label_use="training images enter the measure of closeness only",
    ).model_copy(update={"access": card.access})


def add_figures(
    findings: Findings, comparison: MitigationComparison, judged: str, confidence: float, images: str
) -> None:
    """Every method beside the one that is judged: tables, the trade-off and pictures.

    Args:
        findings: the claim's.
        comparison: what was sampled.
        judged: name of the mitigation that is judged.
        confidence: of each bound.
        images: "none", "redacted" or "full".
    """
    findings.tables += [outcome_table(comparison, confidence), difference_table(comparison, confidence)]
    if comparison.prompts.others:
        findings.tables.append(outcome_table(comparison, confidence, others=True))
    findings.charts.append(trade_off(comparison, judged, confidence))
    findings.notes += [
        f"A copy is judged by {comparison.closeness}.",
        f"Prompt alignment: {comparison.alignment}.",
        "The same prompts and seeds for every method; images of one prompt are not independent, so bounds resample "
        "prompts.",
    ]
    if images != "none":
        findings.strips_title = "Without mitigation, the training image, and with each mitigation"
        findings.strips += strips(comparison, redacted=images == "redacted")


def outcome_table(comparison: MitigationComparison, confidence: float, *, others: bool = False) -> Table:
    """What each method made of the memorized prompts, or of the others."""
    rows = []
    for outcome in comparison.outcomes:
        made = outcome.others if others else outcome.memorized
        if made is not None:
            rows.append((outcome.card.title, *([] if others else _copied(outcome, confidence)), *_made(made)))
    count = len(comparison.prompts.others if others else comparison.prompts.memorized)
    kind = "not memorized" if others else "memorized"
    closeness = comparison.closeness_label
    measured = () if others else (closeness, "generations that are copies", "prompts still extracted")
    return Table(
        caption=f"{count} prompts that are {kind}, {comparison.original.copies.shape[1]} images each, guidance "
        f"{comparison.sampling.guidance_scale:g}; bounds one-sided at {confidence:.0%}",
        columns=("method", *measured, *MADE),
        rows=tuple(rows),
    )


MADE = (
    "prompt alignment",
    "RMS distance between images",
    "distinct images",
    "evaluations/image",
    "backward/image",
    "restarts",
    "over budget",
    "s/image",
)


def _copied(outcome: MethodOutcome, confidence: float) -> tuple[str, str, str]:
    shares = outcome.copies.mean(1)
    extracted = rate(int(outcome.copies.any(1).sum()), len(shares), confidence=confidence)
    return (
        f"{outcome.closeness.mean():.3f}",
        f"{shares.mean():.1%} ({int(outcome.copies.sum())} of {outcome.copies.size})",
        f"{extracted.value:.1%} [{extracted.low:.1%}, {extracted.high:.1%}]",
    )


def _made(made: Generated) -> tuple[str, ...]:
    cost, count = made.cost, made.count
    return (
        f"{made.alignment.mean():.3f}",
        f"{made.spread.mean():.3f}",
        f"{int(made.distinct.sum())} of {count}",
        f"{cost.evaluations / count:.1f}",
        f"{cost.backward / count:.1f}",
        str(cost.restarts),
        f"{cost.over_budget / count:.1%}",
        f"{made.seconds.sum() / count:.3f}",
    )


def difference_table(comparison: MitigationComparison, confidence: float) -> Table:
    """Each method against the model without it, paired by prompt and seed."""
    original = comparison.original
    rows = []
    for outcome in comparison.outcomes[1:]:
        tested = mcnemar(original.copies.any(1), outcome.copies.any(1), confidence=confidence)
        closer = closeness_changed(comparison, outcome, confidence)
        row = [
            outcome.card.title,
            _change(share_of_copies_left(comparison, outcome, confidence)),
            _change(alignment_lost(comparison, outcome, confidence)),
            _change(closer),
            f"{tested.old_only} no longer, {tested.new_only} newly; p = {tested.p_two_sided:.2g}",
        ]
        if comparison.prompts.others:
            row.append(_change(alignment_lost(comparison, outcome, confidence, others=True)))
        rows.append(tuple(row))
    columns = ["method", "copies left", "alignment lost", f"change of {comparison.closeness_label}"]
    columns.append("prompts extracted (McNemar)")
    if comparison.prompts.others:
        columns.append("alignment lost, not memorized")
    return Table(
        caption=f"Paired with the original by prompt and seed; bounds over prompts, one-sided at {confidence:.0%}; "
        f"those of the change of a mean are approximate (Student's t), from {LEAST_SHOWN} prompts on",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def share_of_copies_left(
    comparison: MitigationComparison, outcome: MethodOutcome, confidence: float
) -> PairedChange | None:
    """Copies with the method over copies without; None where there are none without."""
    try:
        return share_left(comparison.original.copies, outcome.copies, confidence=confidence, seed=comparison.seed)
    except InsufficientProbes:
        return None


def closeness_changed(
    comparison: MitigationComparison, outcome: MethodOutcome, confidence: float
) -> PairedChange | None:
    """How much closer images come to the training images; None where there are too few prompts for bounds."""
    try:
        return mean_change(comparison.original.closeness, outcome.closeness, confidence=confidence)
    except InsufficientProbes:
        return None


def alignment_lost(
    comparison: MitigationComparison, outcome: MethodOutcome, confidence: float, *, others: bool = False
) -> PairedChange | None:
    """Relative loss of alignment; None where the original's is not surely above 0 or there are too few prompts."""
    before = comparison.original.others if others else comparison.original.memorized
    after = outcome.others if others else outcome.memorized
    if before is None or after is None:
        return None
    try:
        return relative_loss(before.alignment, after.alignment, confidence=confidence, seed=comparison.seed)
    except (AuditError, InsufficientProbes):
        return None


def trade_off(comparison: MitigationComparison, judged: str, confidence: float) -> Chart:
    """Share of copies against prompt alignment, one point a method."""
    groups: dict[str, list[MethodOutcome]] = {"without mitigation": [comparison.original]}
    groups[comparison.outcome(judged).card.title] = [comparison.outcome(judged)]
    rest = [o for o in comparison.outcomes[1:] if o.card.name != judged]
    if rest:
        groups["other mitigations: " + ", ".join(o.card.title for o in sorted(rest, key=_share))] = sorted(
            rest, key=_share
        )
    return Chart(
        title="Copies against prompt alignment",
        x_label="share of generations that are copies",
        y_label="prompt alignment",
        series=tuple(_points(name, outcomes, comparison, confidence) for name, outcomes in groups.items()),
        joined=False,
        confidence=confidence,
        note="Better is to the left and higher. Bars: bounds of the mean alignment over prompts.",
    )


def _points(
    name: str, outcomes: Sequence[MethodOutcome], comparison: MitigationComparison, confidence: float
) -> Series:
    scores = [o.memorized.alignment for o in outcomes]
    bounds = []
    if len(comparison.prompts.memorized) >= LEAST_SHOWN:
        bounds = [mean_over_prompts(score, confidence=confidence) for score in scores]
    return Series(
        name=name,
        x=tuple(_share(o) for o in outcomes),
        y=tuple(float(score.mean()) for score in scores),
        low=tuple(b.low for b in bounds),
        high=tuple(b.high for b in bounds),
    )


def strips(comparison: MitigationComparison, *, redacted: bool) -> list[Strip]:
    """Original, training image, and every method, for the prompts that the model copies most; same seed throughout."""
    original, ids = comparison.original, PromptSet(comparison.prompts.memorized).ids()
    order = np.argsort(-original.copies.mean(1), kind="stable")[:STRIPS_SHOWN].tolist()
    shown = []
    for prompt in order:
        image = int(np.argmax(original.copies[prompt]))
        pictures = [
            picture(_float(original.memorized.images[prompt, image]), "original", redacted=redacted),
            picture(comparison.prompts.training[prompt][0], "training image", redacted=redacted),
        ]
        pictures += [
            picture(_float(o.memorized.images[prompt, image]), o.card.title, redacted=redacted)
            for o in comparison.outcomes[1:]
        ]
        left = [o.card.title for o in comparison.outcomes[1:] if o.copies[prompt, image]]
        copied = bool(original.copies[prompt, image])
        caption = f"{ids[prompt]}; still copies with: {', '.join(left) or 'none of them'}"
        mark = "copied" if copied else "not copied"
        shown.append(Strip(pictures=tuple(pictures), caption=caption, mark=mark, conspicuous=copied))
    return shown


def _share(outcome: MethodOutcome) -> float:
    return float(outcome.copies.mean())


def _change(change: PairedChange | None) -> str:
    return UNDEFINED if change is None else f"{change.value:.3f} [{change.low:.3f}, {change.high:.3f}]"


def _float(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255.0)
