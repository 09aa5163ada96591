"""Closeness to members judged from counts that were made elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_not_closer_to_members,
)
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.statistics import dcr_share, dcr_share_of_counts

SIZE = 300
RNG = np.random.default_rng(6)
PROBES = ProbeSet(RNG.random((SIZE, 1, 4, 4)), RNG.random((SIZE, 1, 4, 4)))
IDS = [f"member {i}" for i in range(SIZE)] + [f"non-member {i}" for i in range(SIZE)]


def counted(share: float, generations: int = 900, *, records: int = SIZE) -> ScoreTable:
    """Generations whose nearest record is a member with this probability, one of so many of each side."""
    rng = np.random.default_rng(4)
    nearest = rng.integers(0, records, generations) + SIZE * (rng.random(generations) >= share)
    counts = np.bincount(nearest, minlength=2 * SIZE).astype(float)
    return ScoreTable({"nearest": dict(zip(IDS, counts.tolist(), strict=True))})


@pytest.mark.slow
def test_counts_are_judged_and_the_record_says_what_nobody_checked() -> None:
    claim = assert_not_closer_to_members(counted(0.5), PROBES, limit=0.6, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    assert claim.sentence.endswith("(nearest, counted elsewhere)")
    assert claim.estimate is not None
    assert claim.estimate.counts == "900 generations, 300 training and 300 unseen images"
    assert any("whether each generation was compared with all of these records" in note for note in claim.notes)
    assert [(control.kind, control.outcome.value) for control in claim.controls] == [
        ("split", "held"), ("positive", "not applicable")
    ]  # fmt: skip
    with pytest.raises(PrivacyViolation, match="closer to the training set") as caught:
        assert_not_closer_to_members(counted(0.8), PROBES, limit=0.6, auditor=Auditor())
    assert caught.value.claim.value == pytest.approx(0.8, abs=0.05)


def test_generations_that_share_few_records_decide_nothing() -> None:
    """The same share, and three images of each side nearest to all: a side's count would accuse, the records do not."""
    with pytest.raises(Inconclusive):
        assert_not_closer_to_members(counted(0.8, records=3), PROBES, limit=0.6, auditor=Auditor())


def test_counts_give_what_distances_give() -> None:
    rng = np.random.default_rng(5)
    distances = rng.integers(0, 4, (2, 200)).astype(float)  # with ties
    nearest = rng.integers(0, 40, (2, 200))
    weight = np.where(distances[0] < distances[1], 1.0, np.where(distances[0] > distances[1], 0.0, 0.5))
    counts = [np.bincount(nearest[0], weight, 40), np.bincount(nearest[1], 1.0 - weight, 40)]
    assert dcr_share_of_counts(*counts, seed=3) == dcr_share(*distances, *nearest, records=40, seed=3)
    with pytest.raises(UsageError, match="must be one for each of 40 records, got 39"):
        dcr_share_of_counts(counts[0], counts[1][:39])
    with pytest.raises(UsageError, match="must count generations, got -1"):
        dcr_share_of_counts(counts[0], counts[1] - counts[1].min() - 1.0)


def test_exchanged_sides_are_an_error_and_no_pass() -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match="Are members and non-members swapped"):
        assert_not_closer_to_members(counted(0.2), PROBES, limit=0.6, auditor=judge)
    assert judge.claims[0].verdict is Verdict.ERROR


def test_what_is_no_count_of_these_images_is_refused() -> None:
    for value in (-1.0, 0.3):
        broken = ScoreTable({"nearest": dict.fromkeys(IDS, 1.0) | {IDS[2]: value}})
        with pytest.raises(UsageError, match=f"got 1 of 600 that are no counts, e.g. {value:g}"):
            assert_not_closer_to_members(broken, PROBES, limit=0.6)
    with pytest.raises(UsageError, match="must count at least one generation, got only zeros"):
        assert_not_closer_to_members(ScoreTable({"nearest": dict.fromkeys(IDS, 0.0)}), PROBES, limit=0.6)
    with pytest.raises(UsageError, match="1 ids are probes without a score"):
        assert_not_closer_to_members(ScoreTable({"nearest": dict.fromkeys(IDS[1:], 1.0)}), PROBES, limit=0.6)
    uneven = ProbeSet(PROBES.members, RNG.random((20, 1, 4, 4)))
    ids = [*IDS[:SIZE], *(f"non-member {i}" for i in range(20))]
    with pytest.raises(UsageError, match="as many members as non-members for a table of counts, got 300 and 20"):
        assert_not_closer_to_members(ScoreTable({"nearest": dict.fromkeys(ids, 1.0)}), uneven, limit=0.6)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.8])
def test_the_verdict_is_had_again_from_the_stored_counts(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    try:
        assert_not_closer_to_members(counted(share), PROBES, limit=0.6, auditor=judge)
    except (PrivacyViolation, Inconclusive):
        assert share > 0.5
    assert judge.run is not None
    checks = list(verify_claim(judge.claims[0], judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)


def test_a_plan_counts_the_generations() -> None:
    judge = Auditor(planning=True)
    assert_not_closer_to_members(counted(0.5), PROBES, limit=0.6, auditor=judge)
    assert any("900 generations, 300 members, 300 non-members" in line for line in judge.plans[0])
