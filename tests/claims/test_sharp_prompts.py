"""assert_sharpness_below at prompts, and at images with an absolute value."""

import pytest

from pytest_diffprivacy import (
    Auditor,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_sharpness_below,
)
from tests.claims.conftest import smooth_images
from tests.claims.prompted import BROADS, NEEDLES, REFERENCE, prompted_model

CLAIM = {"images_per_prompt": 2, "reference_quantile": 0.9, "limit": 0.5}


def test_sharp_prompts_are_found_beside_reference_prompts():
    claim = assert_sharpness_below(prompted_model(), BROADS, reference=REFERENCE, auditor=Auditor(), **CLAIM)
    assert claim.verdict is Verdict.PASS
    assert (claim.methods[0].name, claim.methods[0].kind) == ("hessian_score", "memorization")
    assert claim.kind == "sharpness"
    assert "sharper than the 0.9 quantile of reference prompts is at most 0.5" in claim.sentence
    with pytest.raises(PrivacyViolation, match="needle-sharp at more prompts than allowed"):
        assert_sharpness_below(
            prompted_model(), NEEDLES, statistic="score_difference", reference=REFERENCE, auditor=Auditor(), **CLAIM
        )


def test_an_absolute_value_needs_no_reference():
    sides = {}
    for name, value in (("low", 0.0), ("high", 1e6)):
        arguments = {"sharp_above": value, "limit": 0.4, "auditor": Auditor()}
        if name == "low":
            with pytest.raises(PrivacyViolation) as caught:
                assert_sharpness_below(prompted_model(), ProbeSet(prompts=BROADS), **arguments)
            sides[name] = caught.value.claim
        else:
            sides[name] = assert_sharpness_below(prompted_model(), ProbeSet(prompts=BROADS), **arguments)
    assert (sides["low"].value, sides["high"].value) == (1.0, 0.0)
    assert sides["high"].recipe.statistic == "rate"
    assert sides["high"].estimate.counts == "30 prompts, 4 images each"
    assert "sharper than 1e+06 is at most 0.4" in sides["high"].sentence


def test_images_may_be_held_to_an_absolute_value_too(population):
    members = ProbeSet(smooth_images(1, 20))
    claim = assert_sharpness_below(population, members, timestep=50, sharp_above=1e9, limit=0.2, auditor=Auditor())
    assert (claim.verdict, claim.value) == (Verdict.PASS, 0.0)
    assert claim.estimate.counts == "20 members"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"statistic": "curvature", "reference": REFERENCE},
            "`statistic` must be one of hessian_score, score_difference",
        ),
        ({"timestep": 3, "reference": REFERENCE}, "`timestep` must be left out for prompts, got 3"),
        ({}, "either `reference` prompts or the absolute value `sharp_above`, got neither"),
        ({"reference": REFERENCE, "sharp_above": 1.0}, "`reference_quantile` must be left out with `sharp_above`"),
        ({"sharp_above": float("nan")}, "`sharp_above` must be a finite number, got nan"),
        ({"sharp_above": float("inf")}, "`sharp_above` must be a finite number, got inf"),
        ({"sharp_above": "3"}, "`sharp_above` must be a finite number, got '3'"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        assert_sharpness_below(prompted_model(), BROADS, auditor=Auditor(), **CLAIM | arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "3"])
def test_nothing_is_above_no_number_so_it_may_not_pass(population, value):
    with pytest.raises(UsageError, match="`sharp_above` must be a finite number"):
        assert_sharpness_below(population, ProbeSet(smooth_images(1, 5)), sharp_above=value, limit=0.1)


def test_a_reference_for_images_is_refused(population):
    with pytest.raises(UsageError, match="`reference` must be left out for images"):
        assert_sharpness_below(population, ProbeSet(smooth_images(1, 5)), reference=REFERENCE, limit=0.1)
