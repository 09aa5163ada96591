"""Usage share: reference values of the authors' code and of the matched form, and calibration by simulated scores."""

import functools

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.membership import (
    matched_scores,
    published_ratio_scores,
    ratio_scores,
    usage_share,
)
from pytest_diffprivacy.statistics.usage_share import per_image_rates
from tests.membership.second_golden import assert_agrees, golden, golden_input, golden_keys

GROUP = "usage_share"
MODELS = {4: slice(4, 8), 2: slice(4, 6)}


def arrays(references):
    signals, members, population = (
        golden_input(GROUP, f"duci_{n}").numpy().T for n in ("signals", "members", "population")
    )
    return signals, members, population, range(*MODELS[references].indices(8))


def published(references):
    """The scores that the code decides by: (targets, images), (references, images), and who saw what."""
    scores, reference = (
        golden(GROUP)[f"float32/duci.refs{references}.{n}"].numpy() for n in ("scores", "reference_scores")
    )
    return scores, reference, golden_input(GROUP, "duci_members").numpy().T[MODELS[references]]


@pytest.mark.parametrize("references", [4, 2])
def test_the_scores_are_those_of_the_authors_code(references):
    signals, members, population, models = arrays(references)

    def attacked(model, by):
        return published_ratio_scores(
            signals[model], signals[by], members[by], population_target=population[model],
            population_references=population[by],
        )  # fmt: skip

    targets = [attacked(target, list(models)) for target in range(4)]
    assert_agrees(GROUP, f"duci.refs{references}.scores", np.stack(targets))
    others = [attacked(model, [m for m in models if m != model]) for model in models]
    assert_agrees(GROUP, f"duci.refs{references}.reference_scores", np.stack(others))


@pytest.mark.parametrize("references", [4, 2])
def test_shares_rates_and_thresholds_are_those_of_the_authors_code_and_of_the_formulas(references):
    scores, reference, members = published(references)
    start = f"duci.refs{references}"
    released = [usage_share(row, reference, members, decision="above") for row in scores]
    assert_agrees(GROUP, f"{start}.estimate", [one.value for one in released])
    first = released[0]
    assert_agrees(GROUP, f"{start}.tpr_fpr_threshold", [first.tpr[0], first.fpr[0], first.threshold[0]])
    used = scores > first.threshold[0]
    assert_agrees(GROUP, f"{start}.per_image", (used - first.fpr[0]) / (first.tpr[0] - first.fpr[0]))
    ours = [usage_share(row, reference, members) for row in scores]
    assert_agrees(GROUP, f"formula_{start}.estimate_consistent", [one.value for one in ours])
    assert_agrees(GROUP, f"formula_{start}.estimate_clipped", [one.clipped for one in ours])
    assert_agrees(GROUP, f"formula_{start}.direct_count", [one.counted[0] for one in ours])
    rates = per_image_rates(reference, members, first.threshold[0])
    for name, rate in zip(("tpr", "fpr"), rates, strict=True):
        assert_agrees(GROUP, f"formula_{start}.{name}_per_image", rate)
    each = [usage_share(row, reference, members, rates="per_image").value for row in scores]
    assert_agrees(GROUP, f"formula_{start}.estimate_per_image_rates", each)


def test_the_matched_form_is_near_the_truth_where_the_released_one_is_not():
    signals, members, _, _ = arrays(4)
    score = functools.partial(ratio_scores, a=0.3)
    found = []
    for target in range(4):
        matched = matched_scores(signals[target], signals[4:8], members[4:8], score=score)
        found.append(usage_share(matched.target, matched.references, matched.members))
    assert_agrees(GROUP, "formula_duci.refs4.estimate_matched", [one.value for one in found])
    assert_agrees(GROUP, "formula_duci.refs4.estimate_matched_each", np.array([one.each for one in found]).T)
    for one, truth in zip(found, (0.0, 0.1, 0.5, 1.0), strict=True):
        assert one.low <= truth <= one.high
    scores, reference, released = published(4)
    assert not usage_share(scores[0], reference, released).transfers  # below 0 by more than its interval


def test_every_reference_value_is_looked_at():
    assert {key.removeprefix("formula_").split(".")[0] for key in golden_keys(GROUP)} == {"duci"}
    assert len(golden_keys(GROUP)) == 24


def simulated(rng, share, images, effect=2.5, models=4, drift=0.0):
    """Losses of a target that used a share, and of pairs; images differ in difficulty, trainings by a little noise."""
    difficulty = rng.normal(100, 10, images)
    halves = [rng.permutation(images) < images // 2 for _ in range(models // 2)]
    seen = np.stack([side for half in halves for side in (half, ~half)])
    used = rng.permutation(images) < round(share * images)
    losses = difficulty + rng.normal(0, 1, (models + 1, images)) + rng.normal(0, drift, (models + 1, 1))
    losses -= effect * np.vstack([used, seen])
    return losses[0], losses[1:], seen


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_truth_lies_outside_of_a_bound_no_more_often_than_said(share, monkeypatch):
    """200 runs, each bound at 5 %."""
    monkeypatch.setitem(usage_share.__globals__, "DRAWS", 200)
    rng, runs, above, below, estimates = np.random.default_rng(int(100 * share) + 3), 200, 0, 0, []
    for _ in range(runs):
        matched = matched_scores(*simulated(rng, share, 150, drift=0.1))
        found = usage_share(matched.target, matched.references, matched.members)
        above, below = above + (found.high < share), below + (found.low > share)
        estimates.append(found.value)
    allowed = runs * 0.05 + 2 * np.sqrt(runs * 0.05 * 0.95)
    assert above <= allowed
    assert below <= allowed
    assert abs(np.mean(estimates) - share) < 0.05  # a threshold that was picked flatters its own TPR


def test_rates_that_cannot_be_told_apart_leave_the_share_undefined(monkeypatch):
    monkeypatch.setitem(usage_share.__globals__, "DRAWS", 100)
    rng, undefined = np.random.default_rng(11), 0
    for _ in range(200):
        matched = matched_scores(*simulated(rng, 0.0, 100, effect=0.0))
        try:
            usage_share(matched.target, matched.references, matched.members)
        except InsufficientProbes as error:
            undefined += "must exceed 0.02" in str(error)
    assert undefined >= 190


def test_half_of_the_suspects_replaced_by_others_halves_the_share():
    rng = np.random.default_rng(13)
    target, references, seen = simulated(rng, 1.0, 600)
    fresh = references.mean(axis=0) + 1.25 + rng.normal(0, 1, 600)  # the same images, as a target that saw none of them
    for losses, truth in ((target, 1.0), (np.where(np.arange(600) < 300, target, fresh), 0.5)):
        one = matched_scores(losses, references, seen)
        found = usage_share(one.target, one.references, one.members)
        assert found.low <= truth <= found.high
        assert found.high - found.low < 0.3


def test_bad_arguments_are_named():
    rng = np.random.default_rng(1)
    target, references, seen = simulated(rng, 0.5, 40)
    with pytest.raises(UsageError, match="must be at least 2 pairs, got 1"):
        matched_scores(target, references[:2], seen[:2])
    with pytest.raises(UsageError, match="got none for model 0"):
        matched_scores(target, references[[0, 2]], seen[[0, 2]])
    with pytest.raises(UsageError, match=r"must be \(references, images\) for a target of \(images,\)"):
        usage_share(target, references[0], seen)
    with pytest.raises(UsageError, match="must have images of both sides"):
        usage_share(target, -references, np.zeros_like(seen))
    with pytest.raises(UsageError, match="`rates` and `decision` must be among"):
        usage_share(target, -references, seen, rates="own")
    with pytest.raises(InsufficientProbes, match="is not defined"):
        usage_share(target[:10], -references[:, :10], seen[:, :10])
