from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy import (
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    assert_mia_auroc_below,
    assert_mia_tpr_below,
)
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.statistics import auroc

PEOPLE, PICTURES = 60, 4
IMAGES = np.random.default_rng(0).random((2 * PEOPLE * PICTURES, 1, 6, 6)).astype(np.float32)
NAMES = tuple([f"person {side} {i // PICTURES}" for i in range(PEOPLE * PICTURES)] for side in range(2))


def people() -> ProbeSet:
    return ProbeSet(*np.split(IMAGES, 2), subjects=NAMES)


def table(members: np.ndarray, others: np.ndarray) -> ScoreTable:
    ids = [f"{role} {i}" for role in ("member", "non-member") for i in range(PEOPLE * PICTURES)]
    return ScoreTable({"scores": dict(zip(ids, [*members.ravel().tolist(), *others.ravel().tolist()], strict=True))})


def drawn(seed: int, gain: float, shared: float) -> ScoreTable:
    """Scores of which a part is common to all pictures of a person."""
    rng = np.random.default_rng(seed)
    sides = [shared * rng.normal(size=(PEOPLE, 1)) + rng.normal(size=(PEOPLE, PICTURES)) for _ in range(2)]
    return table(sides[0] + gain, sides[1])


def test_a_person_is_recognised_by_several_pictures_that_alone_say_little() -> None:
    scores = drawn(1, 1.0, 0.0)
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_auroc_below(scores, people(), limit=0.8, unit="subject")
    claim = caught.value.claim
    assert "60 member subjects (240 images)" in str(claim.estimate and claim.estimate.counts)
    assert claim.sentence.endswith("(scores, by subject)")
    by_image = assert_mia_auroc_below(scores, people(), limit=0.9)
    assert by_image.value < claim.value - 0.1


def test_the_tpr_counts_persons() -> None:
    claim = assert_mia_tpr_below(drawn(2, 0.0, 1.0), people(), max_fpr=0.1, limit=0.5, unit="subject")
    assert claim.recipe is not None
    assert claim.recipe.statistic == "family_tpr"
    assert "member subjects" in str(claim.estimate and claim.estimate.counts)


def test_arrays_name_nobody_and_probes_must() -> None:
    with pytest.raises(UsageError, match="`unit` must be image for two arrays"):
        assert_mia_auroc_below(np.arange(9.0), np.arange(9.0), limit=0.6, unit="subject")
    with pytest.raises(ProbeError, match="whom the images show"):
        assert_mia_auroc_below(drawn(3, 0.0, 0.0), ProbeSet(*np.split(IMAGES, 2)), limit=0.6, unit="subject")
    with pytest.raises(UsageError, match="`unit` must be image or subject"):
        assert_mia_auroc_below(drawn(3, 0.0, 0.0), people(), limit=0.6, unit="person")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`sequential` must be False"):
        assert_mia_auroc_below(drawn(3, 0.0, 0.0), people(), limit=0.6, unit="subject", sequential=True)


def test_persons_without_a_leak_are_refuted_as_rarely_as_the_confidence_says_and_pictures_are_more_often() -> None:
    """What all pictures of a person share makes bounds that count pictures too narrow."""
    refuted, rng = {"image": 0, "subject": 0}, np.random.default_rng(7)
    subjects = people().subjects
    order = [side.of_image for side in subjects]
    for _ in range(200):
        shared = [8.0 * rng.normal(size=len(side))[of] for side, of in zip(subjects, order, strict=True)]
        pictures = [of_person + rng.normal(size=len(of_person)) for of_person in shared]
        persons = [side.means(scores) for side, scores in zip(subjects, pictures, strict=True)]
        refuted["image"] += auroc(*pictures).low > 0.5
        refuted["subject"] += auroc(*persons).low > 0.5
    assert refuted["subject"] <= 18
    assert refuted["image"] > 18  # the 0.99 quantile of 200 runs at 5 %
