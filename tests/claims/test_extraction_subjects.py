"""A person comes back if any picture of that person does; persons are what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    Auditor,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_no_extraction,
)
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.extraction import PromptSearch, calibrate_rule
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.probes.subjects import SubjectIndex
from pytest_diffprivacy.statistics import recompute
from tests.claims.conftest import smooth_images

PEOPLE, PICTURES, STRANGERS = 20, 3, 212
CALL: dict[str, Any] = {"generations": 160, "steps": 8, "delta": 0.04, "unit": "subject"}


def names(count: int, pictures: int = PICTURES, side: str = "a") -> list[str]:
    return [f"{side} {number}" for number in range(count) for _ in range(pictures)]


@pytest.fixture(scope="module")
def people() -> ProbeSet:
    """60 pictures of 20 persons, and 636 of 212 others."""
    images = smooth_images(2, (PEOPLE + STRANGERS) * PICTURES)
    sides = images[: PEOPLE * PICTURES], images[PEOPLE * PICTURES :]
    return ProbeSet(*sides, subjects=(names(PEOPLE), names(STRANGERS, side="b")))


def remembers(people: ProbeSet, pictures: list[int]) -> AnalyticDenoiser:
    return ideal_denoiser(torch.from_numpy(people.members.load(pictures)))


def test_persons_of_whom_one_picture_comes_back_are_counted_once(
    people: ProbeSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One picture of each of 10 persons is remembered: half of the persons, a sixth of the pictures."""
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    with pytest.raises(PrivacyViolation, match="Images of more persons come back than allowed"):
        assert_no_extraction(
            remembers(people, list(range(0, 30, PICTURES))), people, max_rate=0.05, auditor=judge, **CALL
        )
    (claim,) = judge.claims
    assert claim.name == "no_subject_extraction"
    assert claim.value == 0.5
    assert claim.sentence.startswith("Share of subjects of whom any image comes back is at most 0.05")
    assert sum(row[3] == "yes" for row in claim.tables[-1].rows) == 10
    shares = {one.name: one.value for one in claim.also_measured}
    assert shares["Training images: share extracted"] == pytest.approx(1 / 6)
    assert shares["False matches: non-member subjects of whom an image comes back"] == 0.0
    assert judge.run is not None
    assert not any(check.problem for check in verify_claim(claim, judge.run.folder))


def test_a_model_that_generalizes_gives_no_person_back(population: AnalyticDenoiser, people: ProbeSet) -> None:
    claim = assert_no_extraction(population, people, max_rate=0.2, **CALL)
    assert claim.verdict is Verdict.PASS
    assert claim.high == pytest.approx(1.0 - 0.05 ** (1.0 / PEOPLE))  # exact, over persons


def test_no_person_is_in_the_control_by_half(people: ProbeSet) -> None:
    of_subject = SubjectIndex(people.nonmembers).of_image
    rule = calibrate_rule(people, delta=0.04, max_false_match_rate=0.01, confidence=0.95, seed=3, of_subject=of_subject)
    control = SubjectIndex(rule.control)
    assert set(control.sizes.tolist()) == {PICTURES}
    assert len(rule.control) <= len(people.members)
    assert len(rule.null) == STRANGERS // 2 * PICTURES


def test_similarities_of_images_made_elsewhere_and_of_persons(people: ProbeSet) -> None:
    roles = ("member", len(people.members)), ("non-member", len(people.nonmembers))
    ids = [f"{role} {i}" for role, count in roles for i in range(count)]
    similar = np.full(len(ids), 0.2)
    similar[0] = 0.9
    table = ScoreTable({"similarity": dict(zip(ids, similar.tolist(), strict=True))})
    call: dict[str, Any] = {"copy_from": 0.8, "max_rate": 0.25, "unit": "subject"}
    claim = assert_no_extraction(table, people, **call)
    assert (claim.value, claim.verdict) == (1 / PEOPLE, Verdict.PASS)
    assert "20 member subjects, 212 non-member subjects" in str(claim.estimate and claim.estimate.counts)
    by_person = assert_no_extraction(np.r_[0.9, np.full(19, 0.2)], np.full(40, 0.2), **call)
    assert (by_person.value, by_person.high) == (claim.value, claim.high)


def test_persons_of_many_pictures_are_compared_by_as_many_as_the_others_have(people: ProbeSet) -> None:
    """The third picture of each comes back, and non-members have two each: no FAIL, and no PASS either."""
    stored = {"members": [np.ones(20)], "nonmembers": [np.zeros(20)]}
    arguments = {"copy_from": 1.0, "confidence": 0.95}
    assert recompute("recovered_share", stored, arguments).low > 0.5
    fair = recompute("recovered_share", stored | {"compared": [np.zeros(20)]}, arguments)
    assert (fair.value, fair.low, fair.high) == (1.0, 0.0, 1.0)
    side = SubjectIndex(people.members)
    first = side.largest(np.ones(len(people.members)), 2)
    assert first.tolist() == [1.0] * PEOPLE
    last = np.zeros(len(people.members))
    for number in range(PEOPLE):
        own = np.flatnonzero(side.of_image == number).tolist()
        last[max(own, key=people.members.digests.__getitem__)] = 1.0
    assert (side.largest(last).min(), side.largest(last, 2).max()) == (1.0, 0.0)


def test_200_models_without_a_leak_are_refuted_at_most_as_often_as_the_confidence_says() -> None:
    """Pictures match by chance alike, those of one person together; members have up to twice as many."""
    rng, refuted = np.random.default_rng(11), 0
    for _ in range(200):
        chance = [rng.beta(0.5, 4.0, 60)[:, None] for _ in range(2)]
        hits = [rng.random((60, size)) < own for own, size in zip(chance, (8, 4), strict=True)]
        stored = {
            "members": [hits[0].any(1).astype(float)],
            "compared": [hits[0][:, :4].any(1).astype(float)],
            "nonmembers": [hits[1].any(1).astype(float)],
        }
        refuted += recompute("recovered_share", stored, {"copy_from": 1.0, "confidence": 0.95}).low > 0.0
    assert refuted <= 18


def test_what_is_refused(people: ProbeSet, population: AnalyticDenoiser) -> None:
    with pytest.raises(UsageError, match="`early_stop` must be left out with unit='subject'"):
        assert_no_extraction(population, people, max_rate=0.1, early_stop=True, **CALL)
    with pytest.raises(UsageError, match="`search` must be left out with unit='subject'"):
        assert_no_extraction(population, people, max_rate=0.1, search=PromptSearch(edge_threshold=0.1), **CALL)
    with pytest.raises(UsageError, match="`unit` must be image or subject"):
        assert_no_extraction(population, people, max_rate=0.1, unit="person")  # type: ignore[arg-type]
    unnamed = ProbeSet(*np.split(smooth_images(4, 80), 2))
    with pytest.raises(ProbeError, match="whom the images show"):
        assert_no_extraction(population, unnamed, max_rate=0.1, **CALL)
