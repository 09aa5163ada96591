"""Attempts at a claim share its error, and the record says which one it was."""

import json
from functools import cache

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.attempts import FOLDER, Attempts, Judged, share
from pytest_diffprivacy.statistics import Verdict, decide, rate, trials_needed
from pytest_diffprivacy.statistics.family import FamilyTprStatistic, tpr_pass_needs

CLAIM = ("audits/test_a.py::test_b", "membership", "mia-loss", "TPR is at most 0.05", "digest")


def judged(run, asked, verdict="INCONCLUSIVE"):
    return Judged(run, asked, "300 members", verdict, 0.95)


def test_the_parts_of_all_attempts_are_one_error_if_declared_and_one_and_a_half_if_not():
    for declared, total in ((True, 1.0), (False, 1.5)):
        parts = [share(number, declared=declared) for number in range(1, 60)]
        assert sum(parts) == pytest.approx(total)
        assert parts[0] == (0.5 if declared else 1.0)


def test_other_probes_are_another_attempt_and_the_same_ones_are_not(tmp_path):
    def known():
        return Attempts(tmp_path, CLAIM, declared=False)

    assert known().number("1", "a") == 1
    known().keep(judged("1", "a"))
    known().keep(judged("2", "a"))  # the same again
    known().keep(judged("3", "b"))
    assert [known().number("4", asked) for asked in "abc"] == [1, 2, 3]
    assert known().number("3", "c") == 2  # in one run, another subject of the same test
    assert Attempts(tmp_path, (*CLAIM[:-1], "other model"), declared=False).number("4", "c") == 1
    found = known().record("4", "c", 0.95)
    assert (found.number, found.confidence) == (3, pytest.approx(1 - 0.05 / 8))
    assert found.confidence_of_all == pytest.approx(1 - 0.05 * (1 + 1 / 4 + 1 / 8))
    assert found.earlier[0] == "1: INCONCLUSIVE at confidence 0.95, 300 members"


def test_a_first_attempt_keeps_its_confidence_digit_for_digit(tmp_path):
    assert Attempts(tmp_path, CLAIM, declared=False).confidence(0.95, 1) == 0.95
    assert Attempts(tmp_path, CLAIM, declared=True).confidence(0.95, 1) == pytest.approx(0.975)


def test_a_damaged_file_is_an_error_and_never_a_first_attempt(tmp_path):
    Attempts(tmp_path, CLAIM, declared=False).keep(judged("1", "a"))
    (path,) = (tmp_path / FOLDER).glob("*.jsonl")
    assert json.loads(path.read_text())["counts"] == "300 members"
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(EvidenceError, match="is no attempt"):
        Attempts(tmp_path, CLAIM, declared=False)


def follow(limit, start, runs, *, declared, seed):
    """False verdicts of a rate that equals the limit, judged again on as many fresh trials as the last hint says."""
    rng, wrong = np.random.default_rng(seed), dict.fromkeys(Verdict, 0)

    @cache
    def look(k, n, number):
        level = 1.0 - 0.05 * share(number, declared=declared)
        verdict = decide(rate(k, n, confidence=level), limit).verdict
        later = 1.0 - 0.05 * share(number + 1, declared=declared)
        more = trials_needed(k / n, limit, confidence=later, power=0.9) if verdict is Verdict.INCONCLUSIVE else None
        return verdict, min(more or 50_000, 50_000)

    for _ in range(runs):
        n = start
        for number in range(1, 5):
            verdict, more = look(int(rng.binomial(n, limit)), n, number)
            if verdict is not Verdict.INCONCLUSIVE:
                break
            n = more
        wrong[verdict] += 1
    return wrong[Verdict.PASS] / runs, wrong[Verdict.FAIL] / runs


@pytest.mark.parametrize(("limit", "start"), [(0.05, 200), pytest.param(0.3, 40, marks=pytest.mark.slow)])
def test_following_the_hint_keeps_the_error(limit, start):
    runs = 400
    for declared, nominal in ((True, 0.05), (False, 0.075)):
        for wrong in follow(limit, start, runs, declared=declared, seed=41):
            assert wrong <= nominal + 2 * np.sqrt(nominal * (1 - nominal) / runs)


def test_a_hint_does_not_oversell():
    rng, x, limit, said = np.random.default_rng(42), 0.01, 0.05, []
    for _ in range(8):
        arrays = {"members": [rng.normal(size=300)], "nonmembers": [rng.normal(size=300)]}
        statistic = FamilyTprStatistic(max_fpr=x, limit=limit)
        measured = statistic.measure(arrays)
        if decide(measured, limit).verdict is Verdict.INCONCLUSIVE:
            said.append(int(statistic.needed(arrays, measured, limit).split()[1]))
    assert said
    assert np.median(said) == tpr_pass_needs(limit, x, power=0.9)
