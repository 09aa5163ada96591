"""The claim "no training image comes back": the share of generations that copy one stays below a limit."""

from __future__ import annotations

from typing import Final

from pytest_diffprivacy.audit import Auditor, Claim, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.extraction import PromptSearch
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.sources import Wanted, require_probes, scores_of
from pytest_diffprivacy.sources.copies import Copying, CopySource, ModelCopies
from pytest_diffprivacy.sources.prompted_copies import PromptedCopies
from pytest_diffprivacy.sources.similarities import Similarities, SimilarityRule
from pytest_diffprivacy.sources.source import made_elsewhere
from pytest_diffprivacy.sources.subject_copies import SubjectCopies, SubjectSimilarities, by_subject
from pytest_diffprivacy.sources.subjects import CountedUnit
from pytest_diffprivacy.statistics import Detector
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction

SEARCHED: Final = "`PromptSearch` says how many images a prompt has and what makes them one; leave it out."


@assertion
def assert_no_extraction(
    model: object,
    probes: object,
    *,
    generations: int = 4096,
    delta: float = 0.15,
    copy_from: float | None = None,
    max_rate: float,
    max_false_match_rate: float = 0.01,
    steps: int = 50,
    early_stop: bool | None = None,
    embedding: Embedding | None = None,
    detector: Detector | None = None,
    search: PromptSearch | None = None,
    unit: CountedUnit = "image",
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `max_rate` of what the model generates are copies of training images.

    Without `search`, images are generated without prompts. A generation is a copy iff its RMS distance to the nearest
    training image is at most `delta` and its adaptive distance, with duplicates left out of the neighbourhood, at most
    a threshold calibrated on unseen images before any generation was seen. PASS iff the upper bound of the copy rate is
    at most `max_rate`; FAIL iff the lower bound, after taking off the rule's false matches against unseen images, is
    above it. Generating stops as soon as one of them is so: a model that copies nothing passes 0.01 after 343
    generations, 0.001 after 3,440. The bounds hold whenever one stops.

    With `search`, many images are generated for each prompt, and the rate is that of prompts, not of generations: see
    `PromptSearch`. They are asked in an order drawn by the seed, and the search stops at the first prompt that decides.
    Then `generations`, `max_false_match_rate`, `detector` and `embedding` have no part in it.

    With a ScoreTable in the place of the model, a row is a generation and its score how alike it is to its nearest
    training image, **higher = more like a copy**; `probes` is the same of unseen images, one row each, compared with
    the same training images. A generation is a copy from `copy_from` on, or from the higher similarity that half of the
    unseen images calibrate; FAIL takes off the share of the other half that the rule calls copies. `delta` and what
    says how to generate have no part in it.

    Args:
        model: black-box access: anything that generates images by seed; or a ScoreTable with one column; or the
            generations' similarities, an array (generations,).
        probes: members (the training set, duplicates included) and non-members of the same kind (at least 600 at the
            default false-match rate: half calibrate the rule, half are its control); None with a `search` that names
            its prompts: nothing is known of the training set. A ScoreTable, or an array, where the model is one.
        generations: images to generate at the most; all of them where generating does not stop early.
        delta: largest RMS distance on [0, 1] of a copy.
        copy_from: for a ScoreTable, the smallest similarity that may count as a copy.
        max_rate: allowed share of copies among the generations, or of prompts that bring a training image back.
        max_false_match_rate: share of unseen images that the rule may call copies.
        steps: sampling steps.
        early_stop: whether to stop as soon as PASS or FAIL is certain, with bounds that hold at every look; False makes
            all generations, and judges by the exact bounds of a fixed number. None: wherever it is possible, which is
            not so with a `detector`, nor for stored generations, whose order need not be random.
        embedding: in which the report measures how much of an outlier each training image is; None: pixels.
        detector: what the copy rule did on labelled pairs. The rate is then corrected for what the rule misses and
            invents, with bounds that include the error of these counts; not together with `early_stop`.
        search: prompts to ask, and what makes their generations one image; None: unconditional.
        unit: what is counted: "image" (generations, or prompts), or "subject".
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
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    generations, steps = check_count("generations", generations, least=1), check_count("steps", steps, least=1)
    max_rate = check_fraction("max_rate", max_rate, zero=True)
    asked = {
        "generations": generations, "steps": steps, "delta": delta, "embedding": embedding,
        "early_stop": early_stop or None,
    }  # fmt: skip
    source: CopySource
    if by_subject(unit):
        _check_subjects(search, detector, early_stop)
    if made_elsewhere(model):
        if search is not None:
            raise UsageError("`search` must be left out for a ScoreTable: it judges generations, not prompts.")
        refuse_idle(
            assert_no_extraction, asked | ({"max_false_match_rate": max_false_match_rate} if unit == "subject" else {})
        )
        rule = SimilarityRule.of(copy_from, max_false_match_rate, detector, level)
        source = _similarities(auditor, model, probes, rule, unit, level)
    else:
        _check_model_arguments(copy_from, delta, search, detector, embedding)
        if search is not None:
            idle = {"generations": generations, "max_false_match_rate": max_false_match_rate, "detector": detector}
            refuse_idle(assert_no_extraction, idle | {"embedding": embedding}, "where prompts are searched", SEARCHED)
            known = None if probes is None else require_probes(probes)
            source = PromptedCopies(
                auditor, model, known, search, delta=delta, steps=steps, limit=max_rate, early_stop=early_stop,
                confidence=level,
            )  # fmt: skip
        else:
            copying = Copying(
                generations=generations, steps=steps, delta=delta, max_false_match_rate=max_false_match_rate,
                early_stop=False if unit == "subject" else early_stop, embedding=embedding, detector=detector,
            )  # fmt: skip
            copies = SubjectCopies if unit == "subject" else ModelCopies
            source = copies(auditor, model, _training_set(probes), copying, max_rate, level)
    claim = Claim(
        kind="extraction",
        name="no_subject_extraction" if unit == "subject" else "no_extraction",
        slug=source.slug,
        sentence=of(f"Share of {source.share} is at most {max_rate:.4g}", source.title),
        limit=max_rate,
        headlines=source.headlines,
        confidence=level,
        terms=source.terms,
    )
    return conclude(
        auditor, claim, source, source.statistic, lambda findings: source.measure(findings, max_rate),
        units=source.units,
    )  # fmt: skip


def _similarities(
    auditor: Auditor, model: object, probes: object, rule: SimilarityRule, unit: CountedUnit, confidence: float
) -> CopySource:
    """Of a table or arrays, by generation or by person."""
    if unit == "subject":
        wanted = Wanted(
            kind="extraction", attack="similarity", default="similarity", parameters=None, purpose="Extraction",
            confidence=confidence, single=True,
        )  # fmt: skip
        return SubjectSimilarities(scores_of(auditor, model, probes, wanted), probes, rule.copy_from, confidence)
    if isinstance(model, ScoreTable):
        return Similarities.of_tables(auditor, model, probes, rule)
    return Similarities.of_arrays(auditor, model, probes, rule)


def _check_subjects(search: object, detector: object, early_stop: bool | None) -> None:
    given = [name for name, one in (("search", search), ("detector", detector)) if one is not None]
    if given or early_stop:
        raise UsageError(
            f"`{given[0] if given else 'early_stop'}` must be left out with unit='subject': all generations are made, "
            "and what is counted are persons, not generations or prompts."
        )


def _check_model_arguments(
    copy_from: object, delta: float, search: object, detector: object, embedding: object
) -> None:
    if copy_from is not None:
        raise UsageError(
            "`copy_from` must be left out for a model: its rule is `delta` and what unseen images calibrate."
        )
    if not 0.0 < as_number("delta", delta) <= 1.0:
        raise UsageError(f"`delta` must be an RMS distance in (0, 1], got {delta!r}.")
    kinds = {"search": (search, PromptSearch), "detector": (detector, Detector), "embedding": (embedding, Embedding)}
    for name, (given, kind) in kinds.items():
        if given is not None and not isinstance(given, kind):
            raise UsageError(
                f"`{name}` must be {kind.__name__}, got {type(given).__name__}. Make one, or leave it out."
            )


def _training_set(probes: object) -> ProbeSet:
    if probes is None:
        raise UsageError("`probes` must be a ProbeSet where no prompts are searched, got None. Pass the training set.")
    return require_probes(probes)
