import numpy as np
import pytest
import torch

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.claims.dataset import assert_dataset_not_inferable
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.errors import (
    AuditError,
    ClaimNotProven,
    Inconclusive,
    ModelError,
    PrivacyViolation,
    ProbeError,
    UsageError,
)
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture, LeakDial
from pytest_diffprivacy.statistics import Verdict
from tests.membership.test_cdi import GreyBox

SIDE, DEVIATION = 3, 0.12


def images(count, seed):
    """Draws from the population that `model` knows, in [0, 1]."""
    noise = np.random.default_rng([61, seed]).normal(0.5, DEVIATION, (count, 1, SIDE, SIDE))
    return np.clip(noise, 0.0, 1.0).astype(np.float32)


def model(members, leak):
    size = SIDE * SIDE
    population = GaussianMixture(torch.zeros(1, size), torch.eye(size)[None] * (2 * DEVIATION) ** 2)
    memory = FiniteData(torch.from_numpy(members).double().flatten(1) * 2 - 1)
    return AnalyticDenoiser(LeakDial(memory, population, leak), (1, SIDE, SIDE))


def features(count, seed, shift=0.0):
    return np.random.default_rng([62, seed]).normal(shift, 1.0, (count, 4))


def judged(*arguments, auditor=None, **keywords):
    try:
        return assert_dataset_not_inferable(*arguments, auditor=auditor or Auditor(), **keywords)
    except ClaimNotProven as error:
        return error.claim


MEMBERS, OTHERS = images(40, 1), images(40, 2)


def test_a_set_that_leaked_a_little_can_be_inferred_as_a_whole():
    with pytest.raises(PrivacyViolation, match="It can be inferred that these images, as a set") as caught:
        assert_dataset_not_inferable(model(MEMBERS, 0.05), ProbeSet(MEMBERS, OTHERS), auditor=Auditor())
    claim = caught.value.claim
    assert (claim.verdict, claim.confidence, claim.limit) == (Verdict.FAIL, 0.99, 0.0)
    assert claim.low > 0.0
    assert claim.methods[0].access == "white box"
    assert claim.methods[0].evaluations_per_image == 43
    assert len(claim.methods[0].timesteps) == 10
    assert [e.name for e in claim.also_measured] == ["Mean logit difference", "AUROC of one image, first split"]
    assert any("twice the mean of 5 splits' (" in note and "20 test members" in note for note in claim.notes)
    assert "control halves fit a logistic regression" in claim.methods[0].label_use


def test_a_model_that_knows_the_population_alone_is_inconclusive_and_never_cleared():
    with pytest.raises(Inconclusive, match="do not decide whether the training set can be inferred") as caught:
        assert_dataset_not_inferable(model(MEMBERS, 0.0), ProbeSet(MEMBERS, OTHERS), auditor=Auditor())
    claim = caught.value.claim
    assert "no number of images lets it PASS" in claim.needed
    assert any("never shows that a set was not used" in note for note in claim.notes)
    assert any("declare how large an effect may remain" in note for note in claim.notes)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Features that the next test asks for again."""
    return Engine(Store(tmp_path_factory.mktemp("kept")))


@pytest.mark.parametrize("combine", ["mean", "median"])
@pytest.mark.slow
def test_innocent_models_are_accused_rarely(combine, kept):
    population, accused = model(images(2, 0), 0.0), 0
    for run in range(40):
        probes = ProbeSet(images(24, 100 + run), images(24, 200 + run))
        claim = judged(population, probes, significance=0.05, combine=combine, auditor=Auditor(seed=run, engine=kept))
        accused += claim.verdict is Verdict.FAIL
        assert claim.verdict is not Verdict.PASS
    assert accused <= 5  # 0.99 quantile of a binomial at 5 %


def test_a_declared_margin_can_be_met():
    claim = assert_dataset_not_inferable(features(900, 1), features(900, 2), max_effect=0.5, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    assert claim.high <= claim.limit == 0.5
    assert claim.estimate.counts == "900 members, 900 non-members, half of each as controls"
    assert any("test images a side make a set inferable" in note for note in claim.notes)


def test_an_effect_within_the_margin_is_not_a_violation():
    arguments = features(2_000, 3, shift=0.15), features(2_000, 4)
    assert judged(*arguments).verdict is Verdict.FAIL
    assert judged(*arguments, max_effect=1.0).verdict is Verdict.PASS


def test_a_few_images_do_not_meet_a_margin_and_are_told_how_many_would():
    claim = judged(features(60, 1), features(60, 2), max_effect=0.3)
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert claim.needed.startswith("about ")
    assert claim.needed.endswith("would decide at the observed effect")


def test_fewer_than_twenty_images_are_inconclusive():
    claim = judged(features(19, 1), features(60, 2))
    assert (claim.verdict, claim.estimate) == (Verdict.INCONCLUSIVE, None)
    assert "at least 20 of each are needed" in claim.needed


@pytest.mark.parametrize("test", ["welch", "permutation"])
def test_both_tests_find_a_leak_in_features_made_elsewhere(test):
    claim = judged(features(60, 1, shift=1.0), torch.from_numpy(features(60, 2)), test=test)
    assert claim.verdict is Verdict.FAIL
    assert claim.methods[0].parameters == {"splits": "5", "test": test, "combine": "mean"}


def test_twice_the_combined_p_value_decides_and_not_one_split():
    arguments = features(50, 9, shift=0.35), features(50, 10)
    for seed in range(6):
        one = judged(*arguments, splits=1, auditor=Auditor(seed=seed), significance=0.05)
        five = judged(*arguments, splits=5, auditor=Auditor(seed=seed), significance=0.05)
        for claim in (one, five):
            p = float(claim.notes[0].split()[2].rstrip(","))
            assert (claim.verdict is Verdict.FAIL) == (p < 0.05)


def test_a_grey_box_is_judged_by_the_features_it_allows_and_the_record_says_so():
    claim = judged(GreyBox(model(MEMBERS, 0.05)), ProbeSet(MEMBERS, OTHERS))
    assert claim.verdict is Verdict.FAIL
    assert claim.methods[0].access == "grey box"
    assert claim.methods[0].evaluations_per_image == 28
    assert any(note.startswith("Left out: gm_paper, noise_optimization, which need gradients") for note in claim.notes)


def test_features_that_the_caller_left_out_are_named():
    claim = judged(model(MEMBERS, 0.05), ProbeSet(MEMBERS, OTHERS), features=("loss", "secmi"))
    assert any("Left out by the caller: pia, pian, multiple_loss, gm_paper" in note for note in claim.notes)
    assert claim.methods[0].parameters["features"] == "loss, secmi"


def test_the_order_of_the_files_changes_nothing():
    probes, turned = ProbeSet(MEMBERS, OTHERS), ProbeSet(MEMBERS[::-1], OTHERS[::-1])
    first, second = (judged(model(MEMBERS, 0.05), p, features=("loss", "secmi")) for p in (probes, turned))
    assert (first.value, first.low) == pytest.approx((second.value, second.low), rel=1e-6)


def test_features_are_stored_and_another_significance_asks_the_model_nothing(tmp_path_factory):
    asked = GreyBox(model(MEMBERS, 0.05))
    auditor = Auditor(engine=Engine(Store(tmp_path_factory.mktemp("store"))))
    judged(asked, ProbeSet(MEMBERS, OTHERS), auditor=auditor)
    before = asked.asked
    assert before == 28 * 80 + 6 * 32 + 1  # and the wiring control of 32 images, one of them by itself as well
    judged(asked, ProbeSet(MEMBERS, OTHERS), auditor=auditor, significance=0.001, splits=2)
    assert asked.asked == before
    judged(asked, ProbeSet(MEMBERS, OTHERS), auditor=auditor, features=("pia",))
    assert asked.asked == before + 2 * 80


def test_a_confidence_on_the_command_line_overrides_the_significance():
    claim = judged(features(60, 1), features(60, 2), auditor=Auditor(confidence=0.9, pinned=frozenset({"confidence"})))
    assert claim.confidence == 0.9
    assert "significance 0.1" in claim.notes[0]


def test_features_that_say_nothing_are_an_error():
    auditor = Auditor()
    with pytest.raises(AuditError, match="Check the features"):
        assert_dataset_not_inferable(np.ones((40, 3)), np.ones((40, 3)), auditor=auditor)
    assert auditor.claims[0].verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, p: a(model(MEMBERS, 0), OTHERS), UsageError, "must be a ProbeSet"),
        (lambda a, p: a(object(), p), ModelError, "Dataset inference needs grey-box access"),
        (lambda a, p: a(model(MEMBERS, 0), p, significance=0.99), UsageError, "`significance` must be below 0.5"),
        (lambda a, p: a(model(MEMBERS, 0), p, max_effect=-0.1), UsageError, "`max_effect` must be finite and >= 0"),
        (lambda a, p: a(model(MEMBERS, 0), p, features=("gsa",)), UsageError, "`features` must be distinct names"),
        (lambda a, p: a(GreyBox(model(MEMBERS, 0)), p, features=("gm_paper",)), ModelError, "white-box access"),
        (lambda a, p: a(model(MEMBERS, 0), ProbeSet(MEMBERS, MEMBERS[:30])), ProbeError, "also among the"),
        (lambda a, p: a(features(40, 1), features(40, 2), features=("loss",)), UsageError, "must be left out"),
        (lambda a, p: a(features(40, 1), features(40, 2)[:, :2]), UsageError, "same columns, got 4 and 2"),
        (lambda a, p: a(features(40, 1), features(40, 2), splits=0), UsageError, "`splits`"),
        (lambda a, p: a(features(40, 1), features(40, 2), test="t"), UsageError, "`test` must be"),
        (lambda a, p: a(np.full((40, 2), np.nan), features(40, 2)), UsageError, "`member features` must be finite"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    def asserted(*arguments, **keywords):
        return assert_dataset_not_inferable(*arguments, auditor=Auditor(), **keywords)

    with pytest.raises(error, match=message):
        call(asserted, ProbeSet(MEMBERS, OTHERS))
