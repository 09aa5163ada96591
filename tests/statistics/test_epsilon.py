import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import (
    binomial_lower,
    binomial_upper,
    epsilon_lower_bound,
    gaussian_epsilon,
    largest_provable_epsilon,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "epsilon.json").read_text(encoding="utf-8"))


def entries(prefix):
    return [entry for entry in GOLDEN["entries"] if entry["id"].startswith(prefix + "/")]


def scores(entry):
    data = GOLDEN["data"][entry["inputs"]["data"]]
    return data["member"], data["nonmember"]


@pytest.mark.parametrize("entry", entries("epsilon_clopper_pearson"), ids=lambda entry: entry["id"].partition("/")[2])
def test_the_bound_equals_the_public_code_for_every_choice_of_threshold(entry):
    given, expected = entry["arguments"], entry["output"]
    settings = {
        "delta": given["delta"],
        "confidence": 1.0 - given["significance"],
        "two_sided": not given["one_sided"],
    }
    first, second = given["explicit_thresholds"]
    choices = {"bonferroni": "every vertex", "split_half_seed7": "split", "explicit_0": first, "explicit_1": second}
    for name, threshold in choices.items():
        found = epsilon_lower_bound(*scores(entry), threshold=threshold, seed=7, **settings)
        assert found.value == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize("entry", entries("epsilon_gdp"), ids=lambda entry: entry["id"].partition("/")[2])
def test_the_gaussian_route_equals_the_public_code(entry):
    found = epsilon_lower_bound(*scores(entry), delta=1e-5, threshold="every vertex", route="gaussian")
    assert found.value == pytest.approx(entry["output"], abs=1e-5)


def test_the_formula_is_the_one_of_the_definition():
    member, nonmember = np.repeat([1.0, 0.0], [70, 30]), np.repeat([1.0, 0.0], [8, 92])
    found = epsilon_lower_bound(member, nonmember, threshold=0.5, delta=0.01)
    tpr, fpr = binomial_lower(70, 100, confidence=0.975), binomial_upper(8, 100, confidence=0.975)
    assert found.value == pytest.approx(max(math.log((tpr - 0.01) / fpr), math.log((1 - fpr - 0.01) / (1 - tpr))))
    assert (found.true_positives, found.false_positives, found.members, found.nonmembers) == (70, 8, 100, 100)
    assert found.chosen == "given"


@pytest.mark.parametrize(
    ("size", "printed"), [(50, 2.57), (100, 3.28), (200, 3.98), (500, 4.91), (1000, 5.60), (5000, 7.21), (25_000, 8.82)]
)
def test_a_perfect_attack_proves_no_more_than_the_printed_table(size, printed):
    assert largest_provable_epsilon(size, size) == pytest.approx(printed, abs=0.005)
    perfect = epsilon_lower_bound(np.ones(size), np.zeros(size), threshold=0.5)
    assert perfect.value == largest_provable_epsilon(size, size)


@pytest.mark.parametrize(("mu", "delta"), [(0.5, 1e-5), (1.0, 1e-5), (3.0, 1e-2), (8.0, 1e-6)])
def test_the_gaussian_mechanism_spends_delta_exactly_at_its_epsilon(mu, delta):
    eps = gaussian_epsilon(mu, delta)

    def excess(x):  # the hockey-stick divergence by its definition
        return max(0.0, stats.norm.pdf(x, mu, 1) - math.exp(eps) * stats.norm.pdf(x, 0, 1))

    start = (eps + mu * mu / 2) / mu
    spent = integrate.quad(excess, start, start + 12, epsabs=1e-14, limit=200)[0]
    assert spent == pytest.approx(delta, rel=1e-5)


def test_no_epsilon_is_needed_where_delta_alone_suffices():
    assert gaussian_epsilon(0.1, 0.5) == 0.0


def test_a_randomized_response_is_bounded_below_its_epsilon_nearly_always():
    """One bit, kept with probability e^eps / (1 + e^eps): an attack that meets the definition with equality."""
    rng, epsilon, runs = np.random.default_rng(31), 1.5, 400
    keep = 1 / (1 + math.exp(-epsilon))
    found = []
    for _ in range(runs):
        member, nonmember = rng.random(500) < keep, rng.random(500) < 1 - keep
        found.append(epsilon_lower_bound(member.astype(float), nonmember.astype(float), threshold=0.5).value)
    assert np.mean(np.array(found) <= epsilon) >= 0.95
    assert np.median(found) > 0.7 * epsilon


def test_a_gaussian_mechanism_is_bounded_between_half_of_its_epsilon_and_its_epsilon():
    """1,000 canaries, threshold fixed beforehand; tests/benchmarks/gaussian_mechanism.py has more of them."""
    rng, mu, found = np.random.default_rng(34), 1.0, []
    epsilon = gaussian_epsilon(mu, 1e-5)
    for _ in range(200):
        coins = rng.random(1_000) < 0.5
        scores = rng.normal(size=1_000) + mu * coins
        bound = epsilon_lower_bound(scores[coins], scores[~coins], delta=1e-5, route="gaussian", threshold=mu / 2)
        found.append(bound.value)
    assert np.mean(np.array(found) <= epsilon) >= 0.95
    assert np.median(found) > 0.5 * epsilon


def test_scores_without_a_leak_prove_nothing_nearly_always():
    rng = np.random.default_rng(32)
    for threshold in ("split", "every vertex"):
        found = [
            epsilon_lower_bound(rng.normal(size=100), rng.normal(size=100), threshold=threshold).value
            for _ in range(200)
        ]
        assert np.mean(np.array(found) == 0.0) >= 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 1.0}, "`delta` must be at least 0 and below 1"),
        ({"threshold": "best"}, "`threshold` must be 'split', 'every vertex' or a number, got 'best'"),
        ({"route": "laplace"}, "`route` must be 'rates' or 'gaussian'"),
        ({"confidence": 0.05}, "`confidence` must be above 0.5"),
        ({"route": "gaussian", "delta": 0.0}, "`delta` must be strictly between 0 and 1"),
    ],
)
def test_a_bad_argument_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        epsilon_lower_bound(np.arange(50.0) + 40, np.arange(50.0), **change)


def test_one_canary_cannot_be_split():
    with pytest.raises(InsufficientProbes, match="Cannot split"):
        epsilon_lower_bound([1.0], [0.0])
