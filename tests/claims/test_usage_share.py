"""The claim about a share: verdicts from losses, tables and a model, its record, its plan and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ScoreTable,
    UsageError,
    Verdict,
    assert_usage_share_below,
)
from pytest_diffprivacy.membership import ShadowScores, loss_measure, train_shadows
from pytest_diffprivacy.membership.shadow import PlannedShadows
from pytest_diffprivacy.probes import ImageSet
from tests.claims.conftest import mixture, smooth_images

IMAGES = 200


def losses(
    share: float, effect: float = 3.0, digests: tuple[bytes, ...] | None = None
) -> tuple[np.ndarray, ShadowScores]:
    """A target that used a share of the suspects, and two pairs of references."""
    rng = np.random.default_rng(3)
    halves = [rng.permutation(IMAGES) < IMAGES // 2 for _ in range(2)]
    seen = np.stack([side for half in halves for side in (half, ~half)])
    used = np.arange(IMAGES) < round(share * IMAGES)
    values = rng.normal(100, 10, IMAGES) + rng.normal(0, 1, (5, IMAGES)) - effect * np.vstack([used, seen])
    named = digests or tuple(i.to_bytes(32, "big") for i in range(IMAGES))
    return values[0], ShadowScores(values[1:], seen, named, [str(i) for i in range(4)], loss_measure(draws=1))


def test_a_small_share_holds_and_a_large_one_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    target, references = losses(0.1)
    claim = assert_usage_share_below(target, None, references=references, limit=0.4)
    assert claim.verdict is Verdict.PASS
    assert claim.low <= 0.1 <= claim.high <= 0.4
    assert sum(note.startswith("Pair ") for note in claim.notes) == 2
    assert any("How trainings differ is seen on the references only" in note for note in claim.notes)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    target, references = losses(0.8)
    with pytest.raises(PrivacyViolation, match="More of the set was used for training than allowed"):
        assert_usage_share_below(target, None, references=references, limit=0.4)


def test_rates_too_close_to_tell_decide_nothing() -> None:
    target, references = losses(0.0, effect=0.0)
    with pytest.raises(
        Inconclusive, match=r"TPR minus FPR is at least -?0.\d+ at this confidence, and must exceed 0.02"
    ):
        assert_usage_share_below(target, None, references=references, limit=0.4)


def test_losses_with_the_wrong_sign_are_an_error_and_no_pass() -> None:
    target, references = losses(0.5)
    with pytest.raises(AuditError, match="which is none: the references do not say how this target errs"):
        assert_usage_share_below(-target, None, references=references, limit=0.4)


def test_a_table_says_what_the_array_says() -> None:
    images = smooth_images(5, IMAGES)
    suspects = ImageSet.of(images, "suspect")
    target, references = losses(0.1, digests=suspects.digests)
    scores = {digest.hex(): -float(loss) for digest, loss in zip(suspects.digests, target, strict=True)}
    by_table = assert_usage_share_below(ScoreTable({"loss": scores}), images, references=references, limit=0.4)
    by_array = assert_usage_share_below(target, None, references=references, limit=0.4)
    assert (by_table.value, by_table.low, by_table.high) == (by_array.value, by_array.low, by_array.high)


def test_losses_without_ids_are_refused_beside_images():
    target, references = losses(0.1)
    with pytest.raises(UsageError, match="`suspects` must be None where the target's losses are an array"):
        assert_usage_share_below(target, smooth_images(5, IMAGES), references=references, limit=0.4)


def _train(indices: np.ndarray, seed: int) -> object:
    """A model that knows the population, and remembers its part of the suspects."""
    del seed
    return mixture(smooth_images(5, 60)[indices])


@pytest.mark.slow
def test_a_model_is_asked_as_its_references_were() -> None:
    suspects = smooth_images(5, 60)
    pool = ImageSet.of(suspects, "suspect")
    (references,) = train_shadows(pool, _train, [loss_measure(draws=2, flip=False)], recipe="ideal", models=4)
    auditor = Auditor()
    target = mixture(suspects[:6])
    claim = assert_usage_share_below(target, suspects, references=references, limit=0.5, auditor=auditor)
    assert claim.verdict is Verdict.PASS
    assert claim.low <= 0.1 <= claim.high
    assert claim.methods[0].evaluations_per_image == 2
    assert claim.recipe is not None
    assert claim.recipe.statistic == "usage_share"


def test_a_plan_counts_what_the_target_is_asked() -> None:
    from pytest_diffprivacy.claims.usage_share import UsageShareStatistic
    from pytest_diffprivacy.sources.usage import usage_losses

    planned = PlannedShadows(4, loss_measure(draws=2))
    source = usage_losses(Auditor(), object(), smooth_images(5, 60), planned)
    assert (source.counts, source.evaluations) == ((60,), 4)
    assert source.title == "Usage share (DUCI), 4 reference models"
    plan = UsageShareStatistic().plan(source.counts, 0.4)
    assert plan["to fail"] == "a share of at least about 0.93 at 0.2, 0.61 at 0.5, 0.52 at 0.9 of TPR - FPR"


def test_bad_arguments_are_named() -> None:
    target, references = losses(0.5)
    with pytest.raises(UsageError, match="`limit` must be at least 0 and below 1, got 1"):
        assert_usage_share_below(target, None, references=references, limit=1)
    with pytest.raises(UsageError, match="`references` must be shadow models, got list"):
        assert_usage_share_below(target, None, references=[1], limit=0.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be 200, one a suspect of the references, got 150"):
        assert_usage_share_below(target[:150], None, references=references, limit=0.5)
    with pytest.raises(UsageError, match="`suspects` must be the images whose use is in question, got None"):
        assert_usage_share_below(object(), None, references=references, limit=0.5)
