from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_sharpness_below,
)
from pytest_diffprivacy.models import AnalyticDenoiser
from tests.claims.conftest import mixture, smooth_images

CLAIM = {"images_per_prompt": 2, "reference_quantile": 0.95, "limit": 0.2}
NOISE_LEVELS = [("curvature", 50), ("hessian_score", 20), ("score_norm", 20)]


@pytest.fixture(scope="module")
def few_members() -> ProbeSet:
    images = smooth_images(1, 260)
    return ProbeSet(images[:60], images[60:])


@pytest.fixture(scope="module")
def peaked(few_members: ProbeSet) -> AnalyticDenoiser:
    """The population with a narrow peak at each member: it generalizes and memorizes."""
    return mixture(few_members.members.load(range(60)))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_given_scores_that_are_no_numbers_are_an_error_and_never_a_pass(broken: float) -> None:
    judge, scores = Auditor(), np.zeros(200)
    scores[7] = broken
    with pytest.raises(AuditError, match="1 of 200 scores are NaN or infinite"):
        assert_sharpness_below(scores, np.arange(200.0), sharp_above=1.0, limit=0.05, auditor=judge)
    assert [claim.verdict for claim in judge.claims] == [Verdict.ERROR]


@pytest.mark.parametrize(("statistic", "timestep"), NOISE_LEVELS)
def test_narrow_peaks_at_the_members_are_found(
    peaked: AnalyticDenoiser, few_members: ProbeSet, statistic: str, timestep: int
) -> None:
    with pytest.raises(PrivacyViolation, match="where the model's density is needle-sharp") as caught:
        assert_sharpness_below(peaked, few_members, statistic=statistic, timestep=timestep, **CLAIM)
    claim = caught.value.claim
    assert claim.verdict is Verdict.FAIL
    assert claim.low > 0.2
    assert [(t.requested, t.index, t.matched) for t in claim.methods[0].timesteps] == [(timestep, timestep, False)]


@pytest.mark.parametrize(("statistic", "timestep"), NOISE_LEVELS)
def test_a_model_that_generalizes_perfectly_holds(
    population: AnalyticDenoiser, probes: ProbeSet, statistic: str, timestep: int
) -> None:
    claim = assert_sharpness_below(population, probes, statistic=statistic, timestep=timestep, **CLAIM)
    assert claim.verdict is Verdict.PASS
    assert claim.low <= claim.value <= claim.high <= 0.2


def test_the_default_is_the_curvature_at_a_noise_level_matched_to_the_model(
    population: AnalyticDenoiser, probes: ProbeSet
) -> None:
    claim = assert_sharpness_below(population, probes, limit=0.2)
    assert claim.methods[0].name == "curvature"
    assert [(t.requested, t.index, t.matched) for t in claim.methods[0].timesteps] == [(20, 20, True)]


def test_perfect_memory_is_curved_at_its_members(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_sharpness_below(memorizing, probes, timestep=50, **CLAIM)
    assert caught.value.claim.also_measured[0].low > 0.9


def test_the_score_of_perfect_memory_is_steeper_still_elsewhere(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    # s = (alpha x_nearest - x_t) / sigma^2: an unseen image is pulled to the nearest member, a member only denoised.
    # So the norm does not find the model that knows nothing but its members: it is not the default, and may not pass.
    auditor = Auditor()
    with pytest.raises(AuditError, match=r"Score norm ranks members last beyond chance.*Judge by another statistic"):
        assert_sharpness_below(memorizing, probes, statistic="score_norm", timestep=50, **CLAIM | {"auditor": auditor})
    (claim,) = auditor.claims
    assert claim.verdict is Verdict.ERROR
    assert claim.also_measured[0].name == "AUROC"
    assert claim.also_measured[0].high < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistic": "trace"}, "`statistic` must be one of curvature, hessian_score, score_norm, lid, got 'trace'"),
        ({"reference_quantile": 99}, r"`reference_quantile` must be in \[0.5, 1\), got 99"),
        ({"images_per_prompt": 0}, "`images_per_prompt` must be a whole number of at least 1, got 0"),
        ({"limit": "5%"}, "`limit` must be .*, got '5%'"),
        ({"confidence": 95}, "`confidence` must be above 0.5 and below 1, got 95"),
        ({"model": object()}, "needs white-box access, but object does not satisfy models.WhiteBoxDenoiser"),
        ({"probes": np.zeros((4, 6, 6))}, "`probes` must be a ProbeSet or prompts, got ndarray"),
    ],
    ids=["statistic", "quantile", "images", "limit", "confidence", "model", "probes"],
)
def test_a_bad_argument_is_named_with_its_value(
    population: AnalyticDenoiser, probes: ProbeSet, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_sharpness_below(**({"model": population, "probes": probes} | CLAIM | arguments))


def test_the_record_shows_the_spectra_of_the_sharpest_members_beside_a_typical_image(
    peaked: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_sharpness_below(peaked, few_members, timestep=50, **CLAIM)
    (chart,) = caught.value.claim.charts
    assert chart.title == "Spectrum of the log density's Hessian"
    *sharp, typical = chart.series
    assert len(sharp) == 3
    assert all(series.name.startswith("sharp member ") for series in sharp)
    assert typical.name.startswith("typical non-member ")
    assert all(len(series.x) == 36 and list(series.y) == sorted(series.y) for series in chart.series)
    assert sharp[0].y[0] < 2 * typical.y[-1] < 0  # narrow in every direction; the population in 15 waves only
    assert sharp[0].y[-1] < typical.y[-1]


def test_the_intrinsic_dimension_finds_narrow_peaks(peaked: AnalyticDenoiser, few_members: ProbeSet) -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_sharpness_below(peaked, few_members, statistic="lid", timestep=50, **CLAIM)
    claim = caught.value.claim
    assert claim.low is not None
    assert claim.low > 0.2
    spectra, curve = claim.charts
    assert spectra.title == "Spectrum of the log density's Hessian"
    members, others = curve.series
    assert list(members.x) == sorted(members.x)
    assert members.y[0] < others.y[0]


def test_the_intrinsic_dimension_has_no_noise_level_of_its_own(
    population: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    with pytest.raises(UsageError, match="`timestep` must be given for 'lid', got None"):
        assert_sharpness_below(population, few_members, statistic="lid", **CLAIM)
