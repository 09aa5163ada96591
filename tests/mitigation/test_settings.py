"""Settings of mitigations that make no sense are refused where they are written, not after hours of sampling."""

import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation import (
    AttentionRescaling,
    DelayedGuidance,
    DynamicGuidance,
    EmbeddingOptimization,
    RandomNumberAddition,
    RandomTokenAddition,
)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EmbeddingOptimization(3.0, iterations=1.5), "`iterations` must be a whole number .* got 1.5"),
        (lambda: EmbeddingOptimization("3"), "`target_loss` must be a finite number, got '3'"),
        (lambda: RandomTokenAddition(1.5), "`additions` must be a whole number of at least 1, got 1.5"),
        (lambda: RandomNumberAddition("4"), "`additions` must be a whole number of at least 1, got '4'"),
        (lambda: DelayedGuidance(until=0.5), "`until` must be a whole number of at least 0, got 0.5"),
        (lambda: DelayedGuidance(before=float("nan")), "`before` must be a finite number, got nan"),
        (lambda: DynamicGuidance(before="x"), "`before` must be a finite number, got 'x'"),
        (lambda: AttentionRescaling(float("inf")), "`factor` must be a finite number, got inf"),
    ],
)
def test_a_setting_of_another_kind_is_named_with_its_value(build, message):
    with pytest.raises(UsageError, match=message):
        build()
