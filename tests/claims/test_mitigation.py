"""Claims about mitigations: judged by prompts, with every method and its pictures in the record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    UsageError,
    Verdict,
    assert_mitigation_keeps_alignment,
    assert_mitigation_reduces_copies,
    compare_mitigations,
)
from pytest_diffprivacy.mitigation import DelayedGuidance, MitigationComparison, PixelDistance
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.statistics.statistic import recompute
from tests.mitigation.needles import OTHERS, PROMPTS, Brightness, Forgetful, needle_model, training_images
from tests.report.finished import finished_run

SETTINGS: dict[str, Any] = {
    "alignment": Brightness(),
    "other_prompts": OTHERS,
    "images_per_prompt": 2,
    "steps": 4,
    "guidance_scale": 1.0,
    "similarity": PixelDistance(delta=0.02),
}


@pytest.fixture(scope="module")
def comparison() -> MitigationComparison:
    methods = [Forgetful(), Forgetful(kept=1, name="half"), DelayedGuidance()]
    return compare_mitigations(
        needle_model(), PROMPTS, list(training_images()), mitigations=methods, auditor=Auditor(seed=3), **SETTINGS
    )


def test_a_mitigation_that_stops_the_copies_holds_with_every_method_in_the_record(
    comparison: MitigationComparison,
) -> None:
    judge = Auditor(images="full")
    claim = assert_mitigation_reduces_copies(comparison, "forgetful", auditor=judge)
    assert claim.verdict is Verdict.PASS
    assert claim.value == 0.0
    assert claim.high is not None
    assert 0.0 < claim.high <= 0.5
    assert [m.name for m in claim.methods] == ["forgetful", "half", "delayed"]
    assert [(c.kind, c.outcome) for c in claim.controls] == [("wiring", "not applicable")]  # answers are exact
    outcomes, differences, others = claim.tables
    assert [row[0] for row in outcomes.rows] == ["Original", "Forgetful", "Forgetful", "Delayed guidance (Jain)"]
    assert outcomes.rows[0][2] == "100.0% (16 of 16)"
    assert outcomes.rows[2][2] == "50.0% (8 of 16)"
    assert differences.rows[0][1].startswith("0.000 [0.000, ")
    assert differences.rows[0][4].startswith("8 no longer, 0 newly; p = 0.0078")
    assert all(len(row) == len(table.columns) for table in claim.tables for row in table.rows)
    assert len(others.rows) == 4
    (chart,) = claim.charts
    assert [series.name.split(":")[0] for series in chart.series] == [
        "without mitigation",
        "Forgetful",
        "other mitigations",
    ]
    assert chart.series[0].x == (1.0,)
    assert len(claim.strips) == 8
    assert [p.label for p in claim.strips[0].pictures] == [
        "original",
        "training image",
        "Forgetful",
        "Forgetful",
        "Delayed guidance (Jain)",
    ]
    assert judge.claims == [claim]
    assert [(side.role, side.count) for side in claim.prompts] == [("prompt", 8), ("reference prompt", 6)]
    assert claim.asked is not None
    assert claim.asked.sentence.startswith("with 14 prompts, guidance ")
    assert not any(prompt in claim.model_dump_json() for prompt in (*PROMPTS, *OTHERS))


def test_a_mitigation_that_does_nothing_is_refuted(comparison: MitigationComparison) -> None:
    with pytest.raises(PrivacyViolation, match="leaves more copies of training images than allowed") as caught:
        assert_mitigation_reduces_copies(comparison, "delayed", auditor=Auditor())
    assert caught.value.claim.value == 1.0


def test_half_of_the_copies_does_not_decide_about_half(comparison: MitigationComparison) -> None:
    with pytest.raises(Inconclusive, match="four times as many prompts"):
        assert_mitigation_reduces_copies(comparison, "half", auditor=Auditor())


def test_alignment_is_a_claim_of_its_own(comparison: MitigationComparison) -> None:
    with pytest.raises(Inconclusive):  # images that are the same in 8 prompts are no proof for a limit of 5 %
        assert_mitigation_keeps_alignment(comparison, "delayed", auditor=Auditor())
    claim = assert_mitigation_keeps_alignment(comparison, "delayed", limit=0.4, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    assert claim.value == pytest.approx(0.0)
    assert claim.notes == ("Prompt alignment: mean brightness.",)


@pytest.mark.parametrize(
    ("judged", "name"),
    [(assert_mitigation_reduces_copies, "forgetful"), (assert_mitigation_keeps_alignment, "delayed")],
)
def test_the_record_says_how_to_compute_it_again(comparison: MitigationComparison, judged: Any, name: str) -> None:
    claim = judged(comparison, name, limit=0.5, auditor=Auditor())
    chosen, original = comparison.outcome(name), comparison.original
    arrays = {"copies_before": original.copies, "copies_after": chosen.copies}
    arrays |= {"alignment_before": original.memorized.alignment, "alignment_after": chosen.memorized.alignment}
    stored = {role: [arrays[n] for n in names] for role, names in claim.recipe.arrays.items()}
    again = recompute(claim.recipe.statistic, stored, claim.recipe.arguments)
    assert (again.value, again.low, again.high) == (claim.value, claim.low, claim.high)


def test_pictures_are_left_out_or_pixelated_as_asked(comparison: MitigationComparison) -> None:
    none = assert_mitigation_reduces_copies(comparison, "forgetful", auditor=Auditor(images="none"))
    redacted = assert_mitigation_reduces_copies(comparison, "forgetful", auditor=Auditor(images="redacted"))
    assert none.strips == ()
    assert {p.width for strip in redacted.strips for p in strip.pictures} == {2}


def test_prompts_whose_training_image_is_gone_are_left_out_and_counted() -> None:
    images: list[Any] = [*training_images()]
    images[0] = None
    judge = Auditor()
    found = compare_mitigations(needle_model(), PROMPTS, images, mitigations=[Forgetful()], auditor=judge, **SETTINGS)
    claim = assert_mitigation_reduces_copies(found, "forgetful", limit=0.6, auditor=judge)
    assert claim.estimate is not None
    assert claim.estimate.counts == "7 prompts with 2 images each, 1 left out without training image"


def test_without_copies_there_is_nothing_to_reduce() -> None:
    judge = Auditor()
    images = list(1.0 - training_images())
    found = compare_mitigations(needle_model(), PROMPTS, images, mitigations=[Forgetful()], auditor=judge, **SETTINGS)
    with pytest.raises(Inconclusive, match="Nothing was there before in 8 prompts"):
        assert_mitigation_reduces_copies(found, "forgetful", auditor=judge)


def test_copies_of_a_single_prompt_do_not_decide() -> None:
    class Seldom:
        """The model's own copies, of one prompt only."""

        def __init__(self) -> None:
            self.inner = PixelDistance(0.15)
            self.name, self.label, self.calls = "seldom", self.inner.label, 0

        def measure(self, images: Any, training: Any) -> Any:
            self.calls += 1
            return self.inner.measure(images, training) if self.calls == 1 else np.ones(len(images))

        def copies(self, closeness: Any) -> Any:
            return self.inner.copies(closeness)

    judge = Auditor()
    found = compare_mitigations(
        needle_model(), PROMPTS, list(training_images()), mitigations=[Forgetful()], auditor=judge,
        **SETTINGS | {"similarity": Seldom()},
    )  # fmt: skip
    assert found.original.copies.any(1).sum() == 1
    with pytest.raises(Inconclusive, match="came from 1 of 8 prompts: too few for an upper bound of the share left"):
        assert_mitigation_reduces_copies(found, "forgetful", auditor=judge)


def test_something_else_than_a_comparison_is_refused() -> None:
    for claim in (assert_mitigation_reduces_copies, assert_mitigation_keeps_alignment):
        with pytest.raises(UsageError, match="`comparison` must be what compare_mitigations returned, got NoneType"):
            claim(None, "sail")  # type: ignore[arg-type]


def test_alignment_that_was_never_there_cannot_be_kept() -> None:
    class Darkness(Brightness):
        def scores(self, images: Any, prompts: Any) -> Any:
            return super().scores(images, prompts) - 1.0

    judge = Auditor()
    found = compare_mitigations(
        needle_model(),
        PROMPTS,
        list(training_images()),
        mitigations=[Forgetful()],
        auditor=judge,
        **SETTINGS | {"alignment": Darkness()},
    )
    with pytest.raises(AuditError, match="nothing is there of which a share could be lost"):
        assert_mitigation_keeps_alignment(found, "forgetful", auditor=judge)
    assert judge.claims[-1].verdict is Verdict.ERROR
    assert assert_mitigation_reduces_copies(found, "forgetful", auditor=judge).also_measured == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training_images": [None] * 8}, "must hold at least one image, got None for every prompt"),
        ({"training_images": [np.zeros((1, 4, 4))]}, "must be one for each prompt, at least one, got 1 for 8"),
        ({"training_images": [np.zeros((1, 5, 4))] * 8}, r"must have the model's shape \(1, 4, 4\)"),
        ({"training_images": [np.full((1, 4, 4), 2.0)] * 8}, r"with values in \[0, 1\]"),
        ({"other_prompts": PROMPTS[:1]}, "must be different texts, got 'needle 0' more than once"),
        ({"images_per_prompt": 0}, "`images_per_prompt` must be a whole number of at least 1"),
        ({"steps": 0}, "`steps` must be a whole number of at least 1"),
        ({"mitigations": [Forgetful]}, "`mitigations` must be methods with their settings, got <class .*parentheses"),
        ({"mitigations": ["sail"]}, "`mitigations` must be methods with their settings, got 'sail'"),
        ({"mitigations": Forgetful()}, "`mitigations` must be a list of methods"),
        ({"mitigations": [Forgetful(), Forgetful()]}, "must have different names.*in a call each"),
        ({"alignment": None}, "`alignment` must be a scorer with `name` and `scores`, or an ImageSet .* got None"),
        ({"other_prompts": "harmless"}, "must be lists of texts, got one text"),
        ({"guidance_scale": "2"}, "`guidance_scale` must be a finite number, got '2'"),
        ({"guidance_scale": float("inf")}, "`guidance_scale` must be a finite number, got inf"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"training_images": list(training_images()), "mitigations": [Forgetful()], **SETTINGS}
    with pytest.raises(UsageError, match=message):
        compare_mitigations(needle_model(), PROMPTS, auditor=Auditor(), **arguments | changes)


def test_the_comparison_is_drawn_in_the_report(comparison: MitigationComparison) -> None:
    judge = Auditor(images="full")
    claim = assert_mitigation_reduces_copies(comparison, "forgetful", auditor=judge)
    page = render_html(finished_run().model_copy(update={"claims": (claim,), "images": "full"}))
    for words in (
        "Copies against prompt alignment",
        "training image",
        "copies left",
        "6 prompts that are not memorized",
    ):
        assert words in page
    assert page.count("data:image/png") >= 8 * 5
