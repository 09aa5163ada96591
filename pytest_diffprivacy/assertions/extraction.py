"""The claim "no training image comes back": the share of generations that copy one stays below a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import histogram_record, method_record
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import Claim, Estimate, Recipe, Strip
from pytest_diffprivacy.extraction import CopyRule, Extraction, calibrate_rule, filter_generations
from pytest_diffprivacy.models.protocols import Generator, require_generator
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics import CopyRate, Measured, Verdict, copy_rate, rate, trials_needed
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Training images come back no more often than allowed.",
    Verdict.FAIL: "Training images come back more often than allowed.",
    Verdict.INCONCLUSIVE: "These generations do not decide how often training images come back.",
    Verdict.ERROR: "Extraction could not be judged.",
}
STRIPS_SHOWN = 12


def assert_no_extraction(
    model: object,
    probes: ProbeSet,
    *,
    generations: int = 4096,
    delta: float = 0.15,
    max_rate: float,
    max_false_match_rate: float = 0.01,
    steps: int = 50,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that at most `max_rate` of the model's generations are copies of training images.

    A generation is a copy iff its RMS distance to the nearest training image is at most `delta` and its adaptive
    distance, with duplicates left out of the neighbourhood, at most a threshold calibrated on unseen images before any
    generation was seen. PASS iff the exact upper bound of the copy rate is at most `max_rate`; FAIL iff the lower
    bound, after taking off the rule's false matches against unseen images, is above it.

    Args:
        model: black-box access: anything that generates images by seed.
        probes: members (the training set, duplicates included) and non-members of the same kind (at least 600 at the
            default false-match rate: half calibrate the rule, half are its control).
        generations: images to generate.
        delta: largest RMS distance on [0, 1] of a copy.
        max_rate: allowed share of copies among the generations.
        max_false_match_rate: share of unseen images that the rule may call copies.
        steps: sampling steps.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are too few non-members to calibrate the rule.
        UsageError: a bad argument, or a split with shared images.
        AuditError: the model generates NaN.

    Source: Follows Carlini et al. 2023, section 5.2, except for calibration and control (METHODS 1.3, 1.4).
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    generator = require_generator(model, "Extraction")
    generations, steps = check_count("generations", generations, least=1), check_count("steps", steps, least=1)
    max_rate = check_fraction("max_rate", max_rate, zero=True)
    if not 0.0 < as_number("delta", delta) <= 1.0:
        raise UsageError(f"`delta` must be an RMS distance in (0, 1], got {delta!r}.")
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    probes.check_split()
    members = len(probes.members)
    question = Question(
        kind="extraction",
        slug="extraction",
        sentence=f"Share of generations that copy a training image is at most {max_rate:.4g}",
        limit=max_rate,
        headlines=HEADLINES,
        model=generator.identity,
        probes=probes,
        counts=f"{generations} generations, {members} members",
        confidence=level,
    )

    def measure(findings: Findings) -> Measured:
        rule = calibrate_rule(
            probes, delta=delta, max_false_match_rate=max_false_match_rate, confidence=level, seed=judge.seed
        )
        _describe(findings, rule, generations, steps, max_false_match_rate)
        blocks = _generated(judge, generator, probes, generations, steps, findings)
        found = filter_generations(blocks, probes.members, rule, exhibits=STRIPS_SHOWN)
        _report(findings, judge, probes, rule, found, level)
        return _copy_rate(found, level, findings, max_rate)

    return judge.judge(question, measure)


def _generated(
    judge: Auditor, generator: Generator, probes: ProbeSet, count: int, steps: int, findings: Findings
) -> Iterator[NDArray[np.float32]]:
    for _, images in judge.generations(generator, count, steps=steps, ledger=findings.ledger):
        if images.shape[1:] != probes.image_shape:
            raise ModelError(
                f"The model generates images of shape {images.shape[1:]}, the probes have {probes.image_shape}. "
                "Resize the probes as the training pipeline did."
            )
        yield images


def _copy_rate(found: Extraction, confidence: float, findings: Findings, limit: float) -> CopyRate:
    measured = copy_rate(found.copies, found.compared_copies, found.false_matches, confidence=confidence)

    def needed() -> str:
        decided = trials_needed(measured.value, limit, confidence=confidence)
        return f"about {decided or 'more than 10 million'} generations would decide at the observed rate"

    findings.needed = needed
    return measured


def _recipe(rule: CopyRule, confidence: float) -> Recipe:
    """From the stored distances to the verdict: calibrate the threshold, find copies, bound their rate."""
    return Recipe(
        statistic="copy_rate",
        arrays={
            "l2": ("l2",),
            "adaptive": ("adaptive",),
            "nearest": ("nearest_member",),
            "compared": ("compared_members",),
            "control_l2": ("control_l2",),
            "control_adaptive": ("control_adaptive",),
            "null": ("null_adaptive",),
        },
        arguments={
            "delta": rule.delta,
            "max_false_match_rate": rule.threshold.max_false_match_rate,
            "ceiling": rule.threshold.ceiling,
            "confidence": confidence,
        },
    )


def _describe(findings: Findings, rule: CopyRule, generations: int, steps: int, max_false_match_rate: float) -> None:
    threshold = rule.threshold
    findings.methods = [
        method_record(
            name="extraction",
            title="Generate and filter, adaptive distance",
            access="black box",
            source="Carlini et al. 2023, section 5.2; duplicates excluded and threshold calibrated",
            parameters={
                "generations": generations,
                "steps": steps,
                "delta": rule.delta,
                "adaptive_threshold": threshold.threshold,
                "max_false_match_rate": max_false_match_rate,
            },
            threshold=(
                f"calibrated on {threshold.nulls} unseen images before any generation was seen: at most "
                f"{max_false_match_rate:.2%} of them pass for copies, with confidence {threshold.confidence:g}"
            ),
            label_use="membership labels enter the search for the nearest image and the control only",
        )
    ]


def _report(
    findings: Findings,
    judge: Auditor,
    probes: ProbeSet,
    rule: CopyRule,
    found: Extraction,
    confidence: float,
) -> None:
    """Everything that a reader wants besides the rate."""
    count, members = len(found.copies), len(probes.members)
    false_rate = rate(int(found.false_matches.sum()), count, confidence=confidence)
    counts = f"{count} generations against {len(rule.control)} unseen images"
    findings.also_measured.append(estimate("False matches: generations that match an unseen image", false_rate, counts))
    findings.also_measured += _by_repetition(probes, found, confidence)
    literal = int(((found.matches.literal <= rule.threshold.threshold) & (found.matches.l2 <= rule.delta)).sum())
    findings.notes += [
        f"{len(found.extracted)} of {members} distinct training images were extracted in {count} generations; the "
        "number grows with the generations, so compare models at equal counts only.",
        f"{int(found.false_matches.sum())} generations matched one of {len(rule.control)} unseen images under the same "
        f"rule; {int(found.compared_copies.sum())} matched one of as many training images.",
        f"The published form of the adaptive distance, which leaves duplicates in, finds {literal} copies instead of "
        f"{int(found.copies.sum())}.",
    ]
    findings.histograms.append(
        histogram_record(
            "Adaptive distance of generations to the nearest image",
            "adaptive distance (lower = closer)",
            found.matches.adaptive,
            found.control_matches.adaptive,
            names=("to training images", "to unseen images"),
            mark=rule.threshold.threshold,
            mark_label="copy threshold",
        )
    )
    findings.recipe = _recipe(rule, confidence)
    findings.arrays |= {
        "nearest_member": found.matches.nearest,
        "l2": found.matches.l2,
        "adaptive": found.matches.adaptive,
        "literal": found.matches.literal,
        "copy": found.copies,
        "control_l2": found.control_matches.l2,
        "control_adaptive": found.control_matches.adaptive,
        "false_match": found.false_matches,
        "null_adaptive": rule.null,
        "compared_members": rule.compared,
        "member_repetitions": probes.members.repetitions,
        "extracted": found.extracted,
    }
    if judge.images != "none":
        findings.strips_title = "Generations beside their nearest training images"
        findings.strips += _strips(judge, probes, found)


def _by_repetition(probes: ProbeSet, found: Extraction, confidence: float) -> list[Estimate]:
    """Extraction against how often the training set holds the image (Carlini et al. 2023, Figure 5)."""
    repetitions = probes.members.repetitions
    rows = []
    for times in np.unique(repetitions):
        group = np.flatnonzero(repetitions == times)
        share = rate(int(np.isin(found.extracted, group).sum()), len(group), confidence=confidence)
        name = f"Training images that occur {'once' if times == 1 else f'{times} times'}: share extracted"
        rows.append(estimate(name, share, f"{int(share.value * len(group) + 0.5)} of {len(group)} images"))
    return rows


def _strips(judge: Auditor, probes: ProbeSet, found: Extraction) -> list[Strip]:
    """The most conspicuous generations beside their nearest training image."""
    redacted = judge.images == "redacted"
    ids, strips = probes.members.ids(), []
    for exhibit in found.exhibits:
        training = probes.members.load([exhibit.nearest])[0]
        pictures = [
            picture(exhibit.image, f"generation, seed {judge.generation_seed(exhibit.index)}", redacted=redacted),
            picture(training, f"nearest: {ids[exhibit.nearest]}", redacted=redacted),
            difference_map(exhibit.image, training, "where they agree (white)"),
        ]
        caption = (
            f"RMS distance {found.matches.l2[exhibit.index]:.4f}, adaptive distance {exhibit.adaptive:.3f}, "
            f"occurs {int(probes.members.repetitions[exhibit.nearest])} times in the training set"
        )
        mark = "match" if exhibit.copy else "no match"
        strips.append(Strip(pictures=tuple(pictures), caption=caption, mark=mark, conspicuous=exhibit.copy))
    return strips
