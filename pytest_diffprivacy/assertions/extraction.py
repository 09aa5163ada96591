"""The claim "no training image comes back": the share of generations that copy one stays below a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.detected import corrected_by, corrected_copies
from pytest_diffprivacy.assertions.extraction_evidence import describe, report
from pytest_diffprivacy.assertions.extraction_tables import HEADLINES, judge_similarity_tables
from pytest_diffprivacy.assertions.plans import Planned, planned_rate, planned_search, sides
from pytest_diffprivacy.assertions.prompted import judge_prompted, prompted_sentence
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.extraction import Extraction, PromptSearch, calibrate_rule, filter_generations
from pytest_diffprivacy.models.protocols import Generator, require_generator
from pytest_diffprivacy.probes import ProbeSet, ScoreTable, StoredGenerations
from pytest_diffprivacy.statistics import (
    CopyRate,
    Detector,
    Measured,
    copy_rate,
    running_copy_rate,
)
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction
from pytest_diffprivacy.statistics.copies import uncalibrated
from pytest_diffprivacy.statistics.rate import more_trials

STRIPS_SHOWN = 12


def assert_no_extraction(
    model: object,
    probes: ProbeSet | ScoreTable | None,
    *,
    generations: int = 4096,
    delta: float = 0.15,
    copy_from: float | None = None,
    max_rate: float,
    max_false_match_rate: float = 0.01,
    steps: int = 50,
    early_stop: bool = False,
    embedding: Embedding | None = None,
    detector: Detector | None = None,
    search: PromptSearch | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that at most `max_rate` of what the model generates are copies of training images.

    Without `search`, images are generated without prompts. A generation is a copy iff its RMS distance to the nearest
    training image is at most `delta` and its adaptive distance, with duplicates left out of the neighbourhood, at most
    a threshold calibrated on unseen images before any generation was seen. PASS iff the exact upper bound of the copy
    rate is at most `max_rate`; FAIL iff the lower bound, after taking off the rule's false matches against unseen
    images, is above it.

    With `search`, many images are generated for each prompt, and the rate is that of prompts, not of generations: see
    `PromptSearch`. Then `generations`, `max_false_match_rate`, `early_stop`, `detector` and `embedding` have no part in
    it.

    With a ScoreTable in the place of the model, a row is a generation and its score how alike it is to its nearest
    training image, **higher = more like a copy**; `probes` is the same of unseen images, one row each, compared with
    the same training images. A generation is a copy from `copy_from` on, or from the higher similarity that half of the
    unseen images calibrate; FAIL takes off the share of the other half that the rule calls copies. `delta` and what
    says how to generate have no part in it.

    Args:
        model: black-box access: anything that generates images by seed; or a ScoreTable with one column.
        probes: members (the training set, duplicates included) and non-members of the same kind (at least 600 at the
            default false-match rate: half calibrate the rule, half are its control); None with a `search` that names
            its prompts: nothing is known of the training set. A ScoreTable where the model is one.
        generations: images to generate.
        delta: largest RMS distance on [0, 1] of a copy.
        copy_from: for a ScoreTable, the smallest similarity that may count as a copy.
        max_rate: allowed share of copies among the generations, or of prompts that bring a training image back.
        max_false_match_rate: share of unseen images that the rule may call copies.
        steps: sampling steps.
        early_stop: stop generating as soon as FAIL is certain. Its lower bound then is that of a sequential test, which
            holds at every look; a PASS is judged after all generations all the same. Not for stored generations, whose
            order need not be random.
        embedding: in which the report measures how much of an outlier each training image is; None: pixels.
        detector: what the copy rule did on labelled pairs. The rate is then corrected for what the rule misses and
            invents, with bounds that include the error of these counts; not together with `early_stop`.
        search: prompts to ask, and what makes their generations one image; None: unconditional.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are too few non-members to calibrate the rule.
        UsageError: a bad argument, a split with shared images, or a table without unseen images or without a limit.
        AuditError: the model generates NaN, or all similarities of a table are equal.

    Source: Follows Carlini et al. 2023, sections 4.2 and 5.2, except for calibration and control (METHODS 1.2-1.4).
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    generations, steps = check_count("generations", generations, least=1), check_count("steps", steps, least=1)
    max_rate = check_fraction("max_rate", max_rate, zero=True)
    if isinstance(model, ScoreTable):
        if search is not None:
            raise UsageError("`search` must be left out for a ScoreTable: it judges generations, not prompts.")
        return judge_similarity_tables(
            judge, model, probes, copy_from=copy_from, max_rate=max_rate, max_false_match_rate=max_false_match_rate,
            detector=detector, confidence=level,
        )  # fmt: skip
    if copy_from is not None:
        raise UsageError(
            "`copy_from` must be left out for a model: its rule is `delta` and what unseen images calibrate."
        )
    if not 0.0 < as_number("delta", delta) <= 1.0:
        raise UsageError(f"`delta` must be an RMS distance in (0, 1], got {delta!r}.")
    for name, given, kind in (
        ("search", search, PromptSearch), ("detector", detector, Detector), ("embedding", embedding, Embedding)
    ):  # fmt: skip
        if given is not None and not isinstance(given, kind):
            raise UsageError(
                f"`{name}` must be {kind.__name__}, got {type(given).__name__}. Make one, or leave it out."
            )
    if probes is not None and not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    sentence = f"Share of generations that copy a training image is at most {max_rate:.4g}"
    if judge.planning:
        planned = Planned(
            judge=judge, model=model, kind="extraction", sentence=sentence, limit=max_rate, confidence=level,
            evaluations=steps, unit="a generation",
        )  # fmt: skip
        if search is not None:
            sentence = prompted_sentence(max_rate, known=probes is not None)
            return planned_search(replace(planned, sentence=sentence), probes, search, steps=steps)
        unseen = 0 if probes is None else probes.nonmembers.source_count
        return planned_rate(
            planned, generations, trial="generations", clean="without a copy", controls=generations,
            beside="{} members, {} non-members, duplicates counted".format(*sides(probes)),
            note=_conditions(early_stop, detector),
            undefined=uncalibrated(unseen, max_false_match_rate, level, images="non-members"),
        )  # fmt: skip
    generator = require_generator(model, "Extraction")
    if search is not None:
        return judge_prompted(
            judge, generator, probes, search, delta=delta, max_rate=max_rate, steps=steps, confidence=level
        )
    if probes is None:
        raise UsageError("`probes` must be a ProbeSet where no prompts are searched, got None. Pass the training set.")
    if early_stop and isinstance(generator, StoredGenerations):
        raise UsageError(
            "`early_stop` must be False for generations made elsewhere: the first ones need not be like the rest, and "
            "none are left to be made. Leave it out."
        )
    if detector is not None and early_stop:
        raise UsageError("`early_stop` must be False with a `detector`: its correction needs a fixed number of trials.")
    known, at_most = probes, generations if early_stop else 0
    known.check_split()
    question = Question(
        kind="extraction",
        slug="extraction",
        sentence=sentence,
        limit=max_rate,
        headlines=HEADLINES,
        model=generator.identity,
        probes=known,
        counts=f"{generations} generations planned, {len(known.members)} members"
        if early_stop
        else f"{generations} generations, {len(known.members)} members",
        confidence=level,
        name="no_extraction",
        terms={"delta": delta},
    )

    def measure(findings: Findings) -> Measured:
        rule = calibrate_rule(
            known, delta=delta, max_false_match_rate=max_false_match_rate, confidence=level, seed=judge.seed
        )
        describe(findings, rule, generations, steps, early_stop)
        blocks = _generated(judge, generator, known, generations, steps, findings)
        measured = _statistic(at_most, level)
        enough = (lambda found: measured(found).low > max_rate) if early_stop else None
        found = filter_generations(blocks, known.members, rule, examples=STRIPS_SHOWN, enough=enough)
        report(
            findings, judge, known, rule, found, level, planned=generations if early_stop else 0, embedding=embedding
        )
        if detector is not None:
            rate = corrected_copies(findings, found.copies, detector, confidence=level, seed=judge.seed)
            findings.notes += _nothing_to_correct(found)
            findings.needed = lambda: corrected_by(detector, level, judge.seed).needed({}, rate, max_rate)
            return rate
        plain = measured(found)
        findings.needed = lambda: more_trials(plain, plain.false_matches / plain.generations, max_rate)
        return plain

    return judge.judge(question, measure)


def _conditions(early_stop: bool, detector: Detector | None) -> str:
    """What a plan supposes that a claim with these arguments does not."""
    if detector is not None:
        return "a detector without an error: what its correction adds to the bounds depends on its counts"
    if early_stop:
        return "no early stop: a FAIL may need fewer generations, and all of them together show somewhat less"
    return ""


def _nothing_to_correct(found: Extraction) -> list[str]:
    """A note where training images are matched no more often than unseen ones."""
    compared, false = int(found.compared_copies.sum()), int(found.false_matches.sum())
    if compared > false:
        return []
    return [
        f"No copying was shown: {false} generations match unseen images and {compared} match as many training images, "
        "so there is nothing to correct but what the rule may miss."
    ]


def _generated(
    judge: Auditor, generator: Generator, probes: ProbeSet, count: int, steps: int, findings: Findings
) -> Iterator[NDArray[np.float32]]:
    for _, images in judge.generations(generator, count, steps=steps, work=findings.work):
        if images.shape[1:] != probes.image_shape:
            raise ModelError(
                f"The model generates images of shape {images.shape[1:]}, the probes have {probes.image_shape}. "
                "Resize the probes as the training pipeline did."
            )
        yield images


def _statistic(planned: int, confidence: float) -> Callable[[Extraction], CopyRate]:
    """The copy rate of what was found: of a fixed sample, or of one that may stop before `planned`."""

    def measured(found: Extraction) -> CopyRate:
        flags = (found.copies, found.compared_copies, found.false_matches)
        if planned:
            return running_copy_rate(*flags, planned=planned, confidence=confidence)
        return copy_rate(*flags, confidence=confidence)

    return measured
