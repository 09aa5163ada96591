"""A claim about one model that is judged again on other probes: its record counts, and its bounds are stricter."""

import numpy as np
import pytest

from pytest_diffprivacy import ProbeSet, assert_mia_tpr_below
from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.errors import Inconclusive
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from tests.claims.conftest import mixture, smooth_images

MODEL = mixture(smooth_images(0, 0))


def judged(root, run, count, *, parameters=None, **given):
    """The record of an attempt that some 30 to 40 probes a side leave undecided."""
    probes = ProbeSet(smooth_images(1, count), smooth_images(2, count))
    auditor = Auditor(run=RunFolder(root, run), **given)
    with pytest.raises(Inconclusive) as caught:
        assert_mia_tpr_below(
            MODEL, probes, attack="loss", parameters=parameters, max_fpr=0.1, limit=0.15, auditor=auditor
        )
    return caught.value.claim


def test_judging_again_on_more_probes_is_a_second_attempt_and_the_same_again_is_not(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("evidence")
    first, again = judged(tmp_path, "run-1", 30), judged(tmp_path, "run-2", 30)
    assert (first.attempt.number, again.attempt.number, first.attempt.earlier) == (1, 1, ())
    assert first.estimate.confidence == again.estimate.confidence == 0.95
    second = judged(tmp_path, "run-3", 36)
    assert second.attempt.number == 2
    assert second.estimate.confidence == second.attempt.confidence == pytest.approx(0.9875)
    assert second.attempt.confidence_of_all == pytest.approx(0.9375)
    assert second.attempt.earlier == ("run-1: INCONCLUSIVE at confidence 0.95, 30 members, 30 non-members",)
    assert any(note.startswith("Attempt 2 at this claim about this model") for note in second.notes)
    assert not any(check.problem for check in verify_claim(second, tmp_path / "runs" / "run-3"))


def test_attempts_that_were_declared_share_the_confidence_from_the_first_on(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("evidence")
    first, second = (judged(tmp_path, run, n, attempts="shared") for run, n in (("run-1", 30), ("run-2", 36)))
    assert [one.estimate.confidence for one in (first, second)] == pytest.approx([0.975, 0.9875])
    assert second.attempt.confidence_of_all == pytest.approx(1 - 0.05 * 0.75)
    assert np.isfinite(first.p_value)


def test_other_parameters_of_the_attack_are_another_attempt(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("evidence")
    first, second, again = (
        judged(tmp_path, run, 30, parameters={"draws": draws})
        for run, draws in (("run-1", 3), ("run-2", 2), ("run-3", 3))
    )
    assert [one.attempt.number for one in (first, second, again)] == [1, 2, 1]
    assert second.estimate.confidence == pytest.approx(0.9875)


def test_a_deleted_folder_counts_anew(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("evidence")
    judged(tmp_path / "a", "run-1", 30)
    assert judged(tmp_path / "b", "run-2", 36).attempt.number == 1
