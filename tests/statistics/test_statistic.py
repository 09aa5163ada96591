"""A statistic by name gives what a direct call gives, plans in words, and refuses what does not fit it."""

import subprocess
import sys

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import (
    Detector,
    auroc,
    corrected_rate,
    dcr_share,
    family_tpr,
    mean_difference,
    rate,
    recompute,
    tpr_at_fpr,
)
from pytest_diffprivacy.statistics.dataset_inference import SplitLogits, dataset_inference
from pytest_diffprivacy.statistics.family import IMAGES, FamilyTprStatistic
from pytest_diffprivacy.statistics.rate import RateStatistic
from pytest_diffprivacy.statistics.statistic import STATISTICS, Statistic, recomputed_p_value, recorded_arguments

RANDOM = np.random.default_rng(11)
MEMBERS, OTHERS = RANDOM.normal(0.8, 1.0, (3, 400)), RANDOM.normal(0.0, 1.0, (3, 420))


def bounds(measured):
    return measured.value, measured.low, measured.high, measured.confidence


def test_one_attack_is_its_own_family():
    found = recompute(
        "family_tpr", {"members": [MEMBERS[0]], "nonmembers": [OTHERS[0]]}, {"max_fpr": 0.05, "confidence": 0.95}
    )
    assert bounds(found) == bounds(tpr_at_fpr(MEMBERS[0], OTHERS[0], max_fpr=0.05, confidence=0.95, rule=1))


def test_a_family_is_judged_as_one():
    found = recompute(
        "family_tpr", {"members": list(MEMBERS), "nonmembers": list(OTHERS)}, {"max_fpr": 0.05, "confidence": 0.9}
    )
    scores = {name: (MEMBERS[i], OTHERS[i]) for i, name in enumerate("abc")}
    assert bounds(found) == bounds(family_tpr(scores, max_fpr=0.05, confidence=0.9, rule=1))


def test_rates_and_areas():
    hits = np.arange(100) < 7
    assert bounds(recompute("rate", {"hits": [hits]}, {"confidence": 0.9})) == bounds(rate(7, 100, confidence=0.9))
    arrays = {"members": [MEMBERS[0]], "nonmembers": [OTHERS[0]]}
    assert bounds(recompute("auroc", arrays, {"confidence": 0.95})) == bounds(auroc(MEMBERS[0], OTHERS[0]))


def test_a_share_of_close_generations_a_mean_difference_and_a_corrected_rate():
    near, far = RANDOM.random(50), RANDOM.random(50)
    own, other = RANDOM.integers(0, 20, (2, 50))
    names = ("training_distances", "holdout_distances", "nearest_training", "nearest_holdout")
    arrays = {name: [array] for name, array in zip(names, (near, far, own, other), strict=True)}
    found = recompute("dcr_share", arrays, {"records": 20, "confidence": 0.9, "seed": 5})
    assert found == dcr_share(near, far, own, other, records=20, confidence=0.9, seed=5)
    found = recompute("mean_difference", {"first": [MEMBERS[0]], "second": [OTHERS[0]]}, {"confidence": 0.9})
    assert found == mean_difference(MEMBERS[0], OTHERS[0], confidence=0.9)
    counts = {"detected": 40, "copies": 50, "false_alarms": 1, "others": 90}
    hits = np.arange(200) < 30
    found = recompute("corrected_rate", {"hits": [hits]}, {**counts, "confidence": 0.95, "seed": 2})
    assert found == corrected_rate(30, 200, Detector(**counts), confidence=0.95, seed=2)


def test_dataset_inference_from_the_logits_of_its_splits():
    arguments = {"confidence": 0.99, "test": "welch", "combine": "mean", "seed": 3}
    found = recompute("dataset_inference", {"members": [MEMBERS], "nonmembers": [OTHERS]}, arguments)
    logits = [SplitLogits(p, u) for p, u in zip(MEMBERS, OTHERS, strict=True)]
    assert bounds(found) == bounds(dataset_inference(logits, confidence=0.99, test="welch", combine="mean", seed=3))


@pytest.mark.parametrize("test", ["welch", "permutation"])
def test_the_p_value_of_dataset_inference_is_the_one_that_decided(test):
    arrays = {"members": [MEMBERS[:, :40] * 0.3], "nonmembers": [OTHERS[:, :40] * 0.3]}
    arguments = {"confidence": 0.99, "test": test, "combine": "mean", "seed": 3}
    found = recompute("dataset_inference", arrays, arguments)
    assert recomputed_p_value("dataset_inference", arrays, arguments, 0.0) == found.p_value < 0.01
    at_bound = recomputed_p_value("dataset_inference", arrays, arguments, found.low)
    assert at_bound == pytest.approx(0.01, abs=0.0011)
    assert recomputed_p_value("dataset_inference", arrays, arguments, found.value) > 0.2


def test_what_was_undefined_is_undefined_again():
    with pytest.raises(InsufficientProbes):
        recompute(
            "family_tpr",
            {"members": [MEMBERS[0]], "nonmembers": [OTHERS[0]]},
            {"max_fpr": 1e-4, "confidence": 0.95},
        )


@pytest.mark.parametrize(
    ("statistic", "arrays", "arguments", "message"),
    [
        ("mean", {}, {}, f"`statistic` must be one of {', '.join(STATISTICS)}, got 'mean'"),
        ("rate", {}, {"confidence": 0.95}, "The arrays or arguments of rate do not fit it: 'hits'"),
        ("rate", {"hits": [MEMBERS[0] > 0]}, {"limit": 1}, "The arrays or arguments of rate do not fit it"),
    ],
)
def test_what_does_not_fit_is_refused(statistic, arrays, arguments, message):
    with pytest.raises(UsageError) as refused:
        recompute(statistic, arrays, arguments)
    assert message in str(refused.value)


TPR = {"max_fpr": 0.05, "confidence": 0.95, "limit": 0.2, "rule": 2}
RECORDED = {  # record name -> arguments as recipes keep them, counts of a plan, what it calls its probes
    "alike_rate": (
        {"copy_from": 0.9, "max_false_match_rate": 0.05, "rule_confidence": 0.95, "confidence": 0.95},
        (400, 300),
        "400 generations, 300 unseen images",
    ),
    "auroc": ({"confidence": 0.95, "rule": 2}, (40, 50), "40 members, 50 non-members, duplicates counted"),
    "copy_rate": (
        {
            "delta": 0.1,
            "max_false_match_rate": 0.05,
            "ceiling": 1.0,
            "rule_confidence": 0.95,
            "confidence": 0.95,
            "planned": 0,
            "at_zero": 0.5,
            "rule": 4,
        },
        (400, 40, 300),
        "400 generations, 40 members, 300 non-members, duplicates counted",
    ),
    "corrected_rate": (
        {"detected": 40, "copies": 50, "false_alarms": 1, "others": 90, "confidence": 0.95, "seed": 1},
        (400,),
        None,
    ),
    "dataset_inference": (
        {"confidence": 0.99, "test": "welch", "combine": "mean", "seed": 3},
        (40, 50),
        "40 members, 50 non-members, duplicates counted, half of each as controls",
    ),
    "dcr_share": (
        {"records": 30, "confidence": 0.95, "seed": 1},
        (400, 40, 50),
        "400 generations, 40 members, 50 non-members, duplicates counted",
    ),
    "dcr_share_of_counts": (
        {"confidence": 0.95, "seed": 1},
        (400, 40, 50),
        "400 generations, 40 members, 50 non-members, duplicates counted",
    ),
    "erasure": (
        {"margin": 0.1, "delta": 0.15, "max_copies": 0.05, "confidence": 0.95},
        (40, 50),
        "40 images to be forgotten, 50 never seen",
    ),
    "excess_tpr": (TPR, (40, 50), "40 members, 50 non-members, duplicates counted"),
    "family_tpr": (TPR, (40, 50), "40 members, 50 non-members, duplicates counted"),
    "group_sequential_auroc": (
        {"confidence": 0.95, "planned": 40, "base": 60},
        (40, 50),
        "40 members, 50 non-members, duplicates counted",
    ),
    "mean_difference": (
        {"confidence": 0.95, "least": -0.5, "most": 0.0},
        (40, 50),
        "40 members, 50 non-members, duplicates counted",
    ),
    "one_run": (
        {"guess_in": 20, "guess_out": 20, "delta": 0.0, "confidence": 0.95},
        (200,),
        "200 canaries, 40 of them guessed",
    ),
    "one_run_gaussian": (
        {"guess_in": 20, "guess_out": 20, "delta": 1e-5, "confidence": 0.95, "rule": 2},
        (200,),
        "200 canaries, 40 of them guessed",
    ),
    "prompt_rate": (
        {"delta": 0.1, "confidence": 0.95, "compared": 0, "planned": 0, "at_zero": 0.5, "images": 0, "rule": 2},
        (90, 20, 2),
        "90 prompts, 20 generations at each of 2 guidances",
    ),
    "rate": ({"confidence": 0.95}, (40,), "40 trials"),
    "recovered_share": (
        {"copy_from": 0.9, "confidence": 0.95, "what": "images"},
        (40, 50),
        "40 images, 50 others as control",
    ),
    "relative_loss": ({"confidence": 0.95, "seed": 1, "rule": 2}, (12, 4, 0), "12 prompts with 4 images each"),
    "sequential_mean": ({"confidence": 0.95}, (40, 50), "40 members, 50 non-members, duplicates counted"),
    "share_left": (
        {"confidence": 0.95, "seed": 1, "rule": 2},
        (12, 4, 1),
        "12 prompts with 4 images each, 1 left out without training image",
    ),
    "two_looks_tpr": (
        {"max_fpr": 0.05, "limit": 0.6, "members": 400, "nonmembers": 500, "part": 0.5, "confidence": 0.95},
        (400, 500),
        "400 members, 500 non-members, duplicates counted",
    ),
    "usage_share": ({"confidence": 0.95, "rates": "global", "seed": 1}, (400,), "400 suspects"),
}


def test_a_process_that_only_verifies_knows_every_statistic():
    code = "import pytest_diffprivacy.evidence.verify as v; import sys; "
    code += "print(*sys.modules['pytest_diffprivacy.statistics'].STATISTICS)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == set(RECORDED)


def test_every_statistic_of_a_record_is_a_value():
    assert set(STATISTICS) == set(RECORDED)
    assert all(kind.name == name for name, kind in STATISTICS.items())


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_record_keeps_of_a_statistic_makes_it_again(name):
    arguments, _, _ = RECORDED[name]
    chosen = STATISTICS[name](**arguments)
    assert list(recorded_arguments(chosen).items()) == list(arguments.items())
    assert STATISTICS[name](**recorded_arguments(chosen)) == chosen


@pytest.mark.parametrize("name", RECORDED)
def test_every_statistic_plans_in_words(name):
    arguments, counts, probes = RECORDED[name]
    rule = {"rule": RateStatistic()} if name == "corrected_rate" else {}
    facts = STATISTICS[name](**arguments, **rule).plan(counts, 0.6)
    assert {"probes", "to pass", "to fail"} <= set(facts)
    assert facts["probes"] == (probes or "400 trials")
    assert all(facts.values())


def test_words_are_not_recorded_and_make_no_other_statistic():
    plain, prompts = (FamilyTprStatistic(max_fpr=0.05, sides=sides) for sides in (IMAGES, ("prompts", "others")))
    assert plain == prompts
    assert recorded_arguments(prompts) == {"max_fpr": 0.05, "confidence": 0.95, "limit": None, "rule": 2}
    assert prompts.plan((40, 50), 0.3)["probes"] == "40 prompts, 50 others"


def test_a_reference_that_is_too_small_says_how_large_it_must_be():
    chosen = FamilyTprStatistic(max_fpr=0.001, reference=True)
    message = r"0\.999 quantile of 420 non-members: at least 2995 are needed\. Lower `reference_quantile`"
    with pytest.raises(InsufficientProbes, match=message):
        chosen.measure({"members": [MEMBERS[0]], "nonmembers": [OTHERS[0]]})


NAN = np.full(60, np.nan)
UNMEASURED = {
    "copy_rate": {
        "l2": NAN, "adaptive": NAN, "nearest": np.zeros(60, int), "control_l2": NAN, "control_adaptive": NAN,
        "control_nearest": np.zeros(60, int), "compared": np.zeros(1, int), "null": np.ones(300),
    },
    "prompt_rate": {"flagged": np.ones((60, 1), bool), "undecided": np.zeros((60, 1), bool), "l2": NAN[:, None],
                    "compared_l2": NAN[:, None], "control_l2": NAN[:, None]},
    "recovered_share": {"members": NAN, "nonmembers": NAN},
    "erasure": {"forget_distance": NAN, "never_seen_distance": NAN},
}  # fmt: skip


@pytest.mark.parametrize("name", UNMEASURED)
def test_what_was_not_measured_is_an_error_and_no_pass(name):
    chosen = STATISTICS[name](**RECORDED[name][0] | ({"compared": 1} if name == "prompt_rate" else {}))
    with pytest.raises(UsageError, match=r"NaN|must be finite"):
        chosen.measure({role: [array] for role, array in UNMEASURED[name].items()})


def test_p_values_that_need_no_bisection_are_those_of_the_bounds():
    rng = np.random.default_rng(3)
    shares = STATISTICS["dcr_share_of_counts"](confidence=0.95)
    counts = {"training_counts": [rng.integers(0, 5, 40)], "holdout_counts": [rng.integers(0, 3, 40)]}
    members = rng.random((1, 4, 60)) < 0.5
    used = rng.random(60) < 0.6
    scores = {
        "target": [(2.0 * used + rng.normal(0.0, 0.5, 60))[None]],
        "references": [2.0 * members + rng.normal(0.0, 0.5, (1, 4, 60))],
        "members": [members],
    }
    usage = STATISTICS["usage_share"](confidence=0.95)
    for chosen, arrays, limits in ((shares, counts, (0.4, 0.5, 0.6, 0.9)), (usage, scores, (0.3,))):
        for limit in limits:
            expected = Statistic.p_value(chosen, arrays, limit)
            assert chosen.p_value(arrays, limit) == pytest.approx(expected, rel=1e-3, abs=1e-12)
