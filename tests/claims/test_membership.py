from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_mia_tpr_below,
)
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.statistics import tpr_at_fpr


def scores(shift: float, members: int = 400, nonmembers: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.normal(shift, 1.0, members), rng.normal(0.0, 1.0, nonmembers)


def test_scores_without_a_leak_hold_the_claim() -> None:
    claim = assert_mia_tpr_below(*scores(0.0), max_fpr=0.05, limit=0.2)
    assert claim.verdict is Verdict.PASS
    assert claim.low <= claim.value <= claim.high <= 0.2


def test_a_claim_names_the_empirical_epsilon_of_its_split_and_what_it_is_not() -> None:
    quiet = assert_mia_tpr_below(*scores(0.0), max_fpr=0.05, limit=0.2)
    leaking = assert_mia_tpr_below(*scores(3.0), max_fpr=0.05, limit=0.999)
    notes = [next(n for n in claim.notes if n.startswith("Empirical epsilon")) for claim in (quiet, leaking)]
    assert "at least 0." in notes[0]
    assert float(notes[1].partition("at least ")[2].partition(". It")[0]) > 1.0
    assert "no bound of a training procedure" in notes[1]


def test_scores_of_a_leak_refute_the_claim_and_the_error_carries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with pytest.raises(PrivacyViolation, match="Members can be recognised more often than allowed") as caught:
        assert_mia_tpr_below(*scores(3.0), max_fpr=0.05, limit=0.2)
    claim = caught.value.claim
    assert claim.verdict is Verdict.FAIL
    assert 0.2 < claim.low <= claim.value <= claim.high
    assert "evidence" not in str(caught.value)
    assert claim.redo == "the same call with seed 0"


def test_the_bounds_are_those_of_the_statistic() -> None:
    members, nonmembers = scores(1.0)
    measured = tpr_at_fpr(members, nonmembers, max_fpr=0.05, confidence=0.9, limit=0.9)
    claim = assert_mia_tpr_below(members, nonmembers, max_fpr=0.05, limit=0.9, confidence=0.9)
    assert (claim.value, claim.low, claim.high) == (measured.value, measured.low, measured.high)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.float32], ids=["list", "tuple", "tensor", "float32"])
def test_scores_may_come_as_any_vector(kind: Any) -> None:
    members, nonmembers = scores(0.0)
    plain = assert_mia_tpr_below(members, nonmembers, max_fpr=0.05, limit=0.2)
    claim = assert_mia_tpr_below(kind(members), kind(nonmembers), max_fpr=0.05, limit=0.2)
    assert claim.value == plain.value


def test_scores_of_a_network_that_still_tracks_gradients_are_taken() -> None:
    members, nonmembers = (torch.tensor(side, requires_grad=True) for side in scores(0.0))
    assert assert_mia_tpr_below(members, nonmembers, max_fpr=0.05, limit=0.2).verdict is Verdict.PASS


@pytest.mark.parametrize("attack", ["loss", "pia"])
def test_perfect_memory_is_recognised(memorizing: AnalyticDenoiser, probes: ProbeSet, attack: str) -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_tpr_below(memorizing, probes, attack=attack, max_fpr=0.05, limit=0.2)
    assert caught.value.claim.value == 1.0
    assert caught.value.claim.methods[0].name == attack


@pytest.mark.parametrize("attack", ["loss", "pia"])
def test_a_model_that_generalizes_perfectly_holds(population: AnalyticDenoiser, probes: ProbeSet, attack: str) -> None:
    claim = assert_mia_tpr_below(population, probes, attack=attack, max_fpr=0.05, limit=0.2)
    assert claim.verdict is Verdict.PASS
    area, above_blind = claim.also_measured
    assert (area.name, above_blind.name) == ("AUROC", "AUROC minus that of the blind baseline")
    assert above_blind.low < 0.0 < above_blind.high


def test_a_callable_is_an_attack_and_is_computed_every_time(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    seen: list[int] = []

    def noise(model: AnalyticDenoiser, images: torch.Tensor) -> torch.Tensor:
        if model is population:  # its control asks it about a planted model as well
            seen.append(len(images))
        return -model.predict_eps(model.encode(images), 100).square().sum(dim=(1, 2, 3))

    for round_number in (1, 2):
        claim = assert_mia_tpr_below(population, probes, attack=noise, max_fpr=0.05, limit=0.2)
        assert sum(seen) == 500 * round_number
        assert (claim.work.units_computed, claim.work.units_reused) == (3, 0)
        assert claim.methods[0].name == "noise"


def test_a_callable_that_returns_too_few_scores_is_an_error(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match=r"must return 50 finite scores, got shape \(1,\)"):
        assert_mia_tpr_below(
            population, probes, attack=lambda model, images: np.ones(1), max_fpr=0.05, limit=0.2, auditor=judge
        )
    assert [claim.verdict for claim in judge.claims] == [Verdict.ERROR]


def test_equal_scores_are_an_error_and_never_a_pass() -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match="all 500 scores equal 1: the attack does not look at the images"):
        assert_mia_tpr_below(np.ones(200), np.ones(300), max_fpr=0.05, limit=0.2, auditor=judge)
    (claim,) = judge.claims
    assert claim.verdict is Verdict.ERROR
    assert claim.estimate is None


@pytest.mark.parametrize("side", [0, 1], ids=["members", "non-members"])
def test_nan_among_given_scores_is_an_error_and_never_a_pass(side: int) -> None:
    judge, given = Auditor(), scores(0.0)
    given[side][5] = np.nan
    with pytest.raises(AuditError, match=r"1 of 400 (non-)?member scores are NaN or infinite"):
        assert_mia_tpr_below(*given, max_fpr=0.05, limit=0.2, auditor=judge)
    assert [claim.verdict for claim in judge.claims] == [Verdict.ERROR]


def test_too_few_nonmembers_for_the_fpr_is_inconclusive_with_the_number_needed() -> None:
    with pytest.raises(Inconclusive, match="at least 299 are needed") as caught:
        assert_mia_tpr_below(*scores(0.0, 60, 60), max_fpr=0.01, limit=0.2)
    assert caught.value.claim.verdict is Verdict.INCONCLUSIVE
    assert caught.value.claim.value is None


def test_an_undecided_claim_says_how_many_probes_would_decide() -> None:
    with pytest.raises(Inconclusive, match=r"about \d+ members and as many non-members would decide"):
        assert_mia_tpr_below(*scores(0.0, 60, 60), max_fpr=0.05, limit=0.1)


def test_a_limit_that_no_model_can_meet_is_said_to_be_one() -> None:
    with pytest.raises(Inconclusive, match=r"no number of probes decides; .* passes with no number a side"):
        assert_mia_tpr_below(np.arange(400.0), np.arange(400.0) + 0.5, max_fpr=0.05, limit=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attack": "lirra"}, "`attack` must be one of .*secmi.*, got 'lirra'"),
        ({"attack": "secmi", "parameters": {"t": 3}}, "`parameters` must be among timestep, step, .* for secmi, got t"),
        ({"attack": lambda m, x: x, "parameters": {"t": 3}}, "`parameters` must be left out for a callable attack"),
        ({"limit": "5%"}, "`limit` must be .*, got '5%'"),
        ({"limit": 1.5}, "`limit` must be .*, got 1.5"),
        ({"max_fpr": 0.0}, "`max_fpr` must be .*, got 0.0"),
        ({"confidence": 0.05}, "`confidence` must be above 0.5 and below 1, got 0.05"),
        ({"probes": "data/heldout"}, r"`probes` must be a ProbeSet .*, got str"),
        ({"model": "checkpoints/release-3"}, "Membership inference needs grey-box access, but str does not satisfy"),
    ],
    ids=["attack", "parameter", "bound", "limit type", "limit", "max_fpr", "confidence", "probes", "model"],
)
def test_a_bad_argument_is_named_with_its_value(
    population: AnalyticDenoiser, probes: ProbeSet, arguments: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"model": population, "probes": probes, "max_fpr": 0.05, "limit": 0.2, "attack": "pia"}
    with pytest.raises(UsageError, match=message):
        assert_mia_tpr_below(**(given | arguments))


@pytest.mark.parametrize("bad", [[], [[0.1, 0.2]], ["a", "b"], [None, 1.0]], ids=["empty", "matrix", "text", "none"])
def test_scores_that_are_no_vector_of_numbers_are_refused(bad: list[object]) -> None:
    with pytest.raises(UsageError, match="non-member scores must be"):
        assert_mia_tpr_below(np.arange(5.0), bad, max_fpr=0.05, limit=0.2)


def test_two_looks_score_no_more_than_decides_and_the_record_tells_it() -> None:
    for shift, verdict in ((3.0, Verdict.FAIL), (0.0, Verdict.PASS)):
        judge = Auditor(seed=3)
        with contextlib.suppress(PrivacyViolation):
            assert_mia_tpr_below(*scores(shift, 900, 900), limit=0.05, sequential=True, auditor=judge)
        (claim,) = judge.claims
        assert claim.verdict is verdict
        assert "Scored were 450 of 900 members and 450 of 900 non-members" in " ".join(claim.notes)
        assert claim.recipe is not None
        assert claim.recipe.statistic == "two_looks_tpr"
    images = np.random.default_rng(1).random((20, 1, 2, 2))
    with pytest.raises(UsageError, match="`sequential` must be False for a family"):
        assert_mia_tpr_below(
            ideal_denoiser(torch.from_numpy(images[:10])), ProbeSet(images[:10], images[10:]),
            attack=["loss", "sima"], limit=0.05, sequential=True, auditor=Auditor(),
        )  # fmt: skip
