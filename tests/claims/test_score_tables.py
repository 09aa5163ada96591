"""Claims judged from scores that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_dataset_not_inferable,
    assert_epsilon_lower_bound_below,
    assert_mia_tpr_below,
    assert_no_memorized_prompts,
    assert_sharpness_below,
    plant_canaries,
)
from pytest_diffprivacy.probes import ImageSet

MEMBERS, OTHERS = 150, 200
RNG = np.random.default_rng(6)
PROBES = ProbeSet(RNG.random((MEMBERS, 1, 4, 4)), RNG.random((OTHERS, 1, 4, 4)))
IDS = [f"member {i}" for i in range(MEMBERS)] + [f"non-member {i}" for i in range(OTHERS)]


def table(**shifts: float) -> ScoreTable:
    """A column for each shift of the members' scores."""
    rng = np.random.default_rng(8)
    drawn = {
        name: rng.normal(size=len(IDS)) + shift * (np.arange(len(IDS)) < MEMBERS) for name, shift in shifts.items()
    }
    return ScoreTable({name: dict(zip(IDS, scores.tolist(), strict=True)) for name, scores in drawn.items()})


def test_membership_is_judged_from_the_only_column() -> None:
    claim = assert_mia_tpr_below(table(mine=0.0), PROBES, max_fpr=0.05, limit=0.3, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    assert [method.name for method in claim.methods] == ["mine"]
    assert [images.count for images in claim.probes] == [MEMBERS, OTHERS]
    with pytest.raises(PrivacyViolation):
        assert_mia_tpr_below(table(mine=3.0), PROBES, max_fpr=0.05, limit=0.3, auditor=Auditor())


def test_several_columns_are_one_family() -> None:
    scores = table(weak=0.0, strong=3.0)
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_tpr_below(scores, PROBES, attack="all", max_fpr=0.05, limit=0.3, auditor=Auditor())
    assert [method.name for method in caught.value.claim.methods] == ["weak", "strong"]
    assert any("One family of 2 attacks" in note for note in caught.value.claim.notes)
    claim = assert_mia_tpr_below(scores, PROBES, attack="weak", max_fpr=0.05, limit=0.3, auditor=Auditor())
    assert claim.verdict is Verdict.PASS


def test_sharpness_is_judged_from_a_column() -> None:
    auditor = Auditor()
    claim = assert_sharpness_below(table(mine=0.0), PROBES, reference_quantile=0.95, limit=0.3, auditor=auditor)
    assert claim.verdict is Verdict.PASS
    assert "mine, scores made elsewhere" in claim.sentence
    with pytest.raises(PrivacyViolation):
        assert_sharpness_below(
            table(a=0.0, b=3.0), PROBES, statistic="b", reference_quantile=0.95, limit=0.3, auditor=auditor
        )
    with pytest.raises(UsageError, match="must name one column"):
        assert_sharpness_below(table(a=0.0, b=3.0), PROBES, statistic="all", limit=0.3, auditor=auditor)


def test_memorized_prompts_are_judged_from_a_column_with_the_prompts_as_ids() -> None:
    rng = np.random.default_rng(4)
    prompts, reference = [f"a photo of {i}" for i in range(120)], [f"a drawing of {i}" for i in range(200)]
    scores = {"mine": dict(zip(prompts + reference, rng.normal(size=320).tolist(), strict=True))}
    options = {"reference_quantile": 0.95, "limit": 0.3}
    claim = assert_no_memorized_prompts(ScoreTable(scores), prompts, reference=reference, auditor=Auditor(), **options)
    assert claim.verdict is Verdict.PASS
    assert claim.estimate.counts == "120 prompts, 200 reference prompts"
    scores["mine"] |= dict.fromkeys(prompts, 9.0)
    with pytest.raises(PrivacyViolation):
        assert_no_memorized_prompts(ScoreTable(scores), prompts, reference=reference, auditor=Auditor(), **options)
    with pytest.raises(UsageError, match="1 ids have no score"):
        assert_no_memorized_prompts(
            ScoreTable(scores), [*prompts, "another"], reference=reference, auditor=Auditor(), **options
        )


def test_a_table_of_other_images_is_refused() -> None:
    other = ProbeSet(RNG.random((10, 1, 4, 4)), RNG.random((10, 1, 4, 4)))
    with pytest.raises(UsageError, match="ids are no probes"):
        assert_mia_tpr_below(table(mine=0.0), other, max_fpr=0.05, limit=0.3, auditor=Auditor())


def test_sharpness_with_a_flipped_sign_is_an_error_and_no_pass() -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match="ranks members last beyond chance"):
        assert_sharpness_below(table(mine=-3.0), PROBES, reference_quantile=0.95, limit=0.3, auditor=judge)
    assert judge.claims[0].verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("own", "message"),
    [(lambda i: -9.0 - i, "ranks the audited prompts last beyond chance"), (lambda i: 0.0, "scores equal 0")],
    ids=["flipped sign", "constant"],
)
def test_prompts_with_broken_scores_are_an_error_and_no_pass(own: Callable[[int], float], message: str) -> None:
    prompts, reference = [f"a photo of {i}" for i in range(120)], [f"a drawing of {i}" for i in range(200)]
    broken = {text: own(i) for i, text in enumerate(prompts)} | dict.fromkeys(reference, 0.0)
    judge = Auditor()
    with pytest.raises(AuditError, match=message):
        assert_no_memorized_prompts(
            ScoreTable({"mine": broken}), prompts, reference=reference, limit=0.3, auditor=judge
        )
    assert judge.claims[0].verdict is Verdict.ERROR


def test_dataset_inference_is_judged_from_columns_as_features() -> None:
    judge = Auditor()
    claim = assert_dataset_not_inferable(table(a=0.0, b=0.0), PROBES, max_effect=0.9, auditor=judge)
    assert claim.verdict is Verdict.PASS
    assert claim.sentence.endswith("(a, b)")
    assert [control.kind for control in claim.controls] == ["split", "positive", "negative"]
    with pytest.raises(PrivacyViolation, match=r"\(b\)"):
        assert_dataset_not_inferable(table(a=0.0, b=2.0), PROBES, features=["b"], max_effect=0.9, auditor=judge)
    with pytest.raises(UsageError, match="among the columns of table"):
        assert_dataset_not_inferable(table(a=0.0), PROBES, features=["c"], auditor=judge)


@pytest.mark.parametrize("by", ["position", "digest"])
def test_canaries_are_judged_from_a_column_whatever_the_order_of_its_rows(by: str) -> None:
    canaries = plant_canaries(RNG.random((5, 1, 4, 4)), RNG.random((300, 1, 4, 4)), seed=9).canaries
    digests = ImageSet.of(canaries.images, "canary").digests
    ids = [f"canary {i}" for i in range(300)] if by == "position" else [digest.hex() for digest in digests]
    rows = list(zip(ids, (3.0 * canaries.included + np.random.default_rng(2).normal(size=300)).tolist(), strict=True))
    options = {"claimed_epsilon": 1.0, "delta": 1e-5, "auditor": Auditor()}
    with pytest.raises(PrivacyViolation) as caught:
        assert_epsilon_lower_bound_below(ScoreTable({"mine": dict(rows[::-1])}), canaries, **options)
    assert [method.name for method in caught.value.claim.methods] == ["mine"]
    with pytest.raises(PrivacyViolation) as again:
        assert_epsilon_lower_bound_below(np.array([score for _, score in rows]), canaries, **options)
    assert caught.value.claim.value == again.value.claim.value
    with pytest.raises(UsageError, match="1 ids are probes without a score"):
        assert_epsilon_lower_bound_below(ScoreTable({"mine": dict(rows[1:])}), canaries, **options)
