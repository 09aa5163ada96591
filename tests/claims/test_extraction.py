from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_no_extraction,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.run_folder import evidence_name
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.models import AnalyticDenoiser, CallableGenerator, ideal_denoiser
from pytest_diffprivacy.probes import StoredGenerations
from pytest_diffprivacy.statistics import CorrectedRate, Detector, copy_rate, corrected_rate, trials_needed
from pytest_diffprivacy.statistics.detector import CorrectedRateStatistic
from pytest_diffprivacy.statistics.rate import more_trials
from pytest_diffprivacy.statistics.statistic import recompute
from tests.claims.conftest import smooth_images

MEMBERS, UNSEEN = 20, 640
FEW = {"generations": 128, "steps": 8, "max_rate": 0.05}


@pytest.fixture(scope="module")
def few_members() -> ProbeSet:
    images = smooth_images(2, MEMBERS + UNSEEN)
    return ProbeSet(images[:MEMBERS], images[MEMBERS:])


@pytest.fixture(scope="module")
def memorizing_few(few_members: ProbeSet) -> AnalyticDenoiser:
    return ideal_denoiser(torch.from_numpy(few_members.members.load(range(MEMBERS))))


def test_perfect_memory_gives_every_training_image_back(
    memorizing_few: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    judge = Auditor()
    with pytest.raises(PrivacyViolation, match="Training images come back more often than allowed"):
        assert_no_extraction(memorizing_few, few_members, auditor=judge, **FEW)
    (claim,) = judge.claims
    assert claim.verdict is Verdict.FAIL
    assert claim.value == 1.0
    assert claim.low > 0.8
    assert claim.p_value is not None
    assert claim.p_value == 1e-12  # no unseen image is matched: nothing can be exchanged
    false_matches, extracted = claim.also_measured
    assert false_matches.value == 0.0
    assert extracted.name == "Training images: share extracted"
    assert extracted.value >= 0.9  # 68 draws of 20 images
    assert all(strip.conspicuous for strip in claim.strips)


def test_a_model_that_generalizes_perfectly_gives_none_back(
    population: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    claim = assert_no_extraction(population, few_members, **FEW)
    assert claim.verdict is Verdict.PASS
    assert claim.value == 0.0
    assert 0.049 < claim.high <= 0.05
    assert claim.notes[0].startswith("Stopped after 68 of 128 generations, because PASS was certain.")
    whole = assert_no_extraction(population, few_members, early_stop=False, **FEW)
    assert whole.high == pytest.approx(1.0 - 0.05 ** (1.0 / 128))


def test_no_copy_among_few_generations_is_no_pass_and_says_how_many_would_be(
    population: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    with pytest.raises(Inconclusive, match=r"about 299 generations would decide with probability 0\.9"):
        assert_no_extraction(population, few_members, generations=16, steps=8, max_rate=0.01)


def test_the_number_said_to_decide_counts_the_controls_false_matches() -> None:
    """18 copies and 4 false matches of 100 do not refute 5 %; 100 generations would, were there no control."""
    found = copy_rate(*(np.arange(100) < count for count in (18, 18, 4)))
    assert trials_needed(found.value, 0.05) <= 100
    assert found.low < 0.05
    said = re.match("about ([0-9]+) generations would decide", more_trials(found, 0.04, 0.05))
    assert said
    times = int(said[1]) / 100
    more = copy_rate(*(np.arange(int(said[1])) < round(count * times) for count in (18, 18, 4)))
    assert more.low > 0.05
    assert "no number of generations decides" in more_trials(found, 0.14, 0.05)


def test_the_number_said_to_decide_counts_the_detectors_error() -> None:
    good, poor = Detector(990, 1000, 0, 1000), Detector(60, 100, 4, 100)

    def more_corrected_trials(found: CorrectedRate, limit: float) -> str:
        return CorrectedRateStatistic(**asdict(found.detector)).needed({}, found, limit)

    said = re.match("about ([0-9]+) ", more_corrected_trials(corrected_rate(3, 100, good), 0.05))
    assert said
    more = round(0.03 * int(said[1]))
    assert corrected_rate(more, int(said[1]), good).high <= 0.05
    assert "label more copies and others" in more_corrected_trials(corrected_rate(40, 1000, poor), 0.02)


def test_too_few_unseen_images_to_calibrate_the_rule_is_inconclusive(population: AnalyticDenoiser) -> None:
    images = smooth_images(3, 60)
    with pytest.raises(Inconclusive, match="needed") as caught:
        assert_no_extraction(population, ProbeSet(images[:20], images[20:]), **FEW)
    assert caught.value.claim.estimate is None


@pytest.mark.parametrize(("images", "pixelated"), [("none", None), ("redacted", True), ("full", False)])
def test_pictures_follow_the_option(
    memorizing_few: AnalyticDenoiser, few_members: ProbeSet, images: str, pixelated: bool | None
) -> None:
    judge = Auditor(images=images)
    with pytest.raises(PrivacyViolation) as caught:
        assert_no_extraction(memorizing_few, few_members, generations=64, steps=8, max_rate=0.05, auditor=judge)
    strips = caught.value.claim.strips
    assert bool(strips) is (pixelated is not None)


def test_nan_from_the_model_is_an_error_and_never_a_pass(few_members: ProbeSet, population: AnalyticDenoiser) -> None:
    class Broken:
        identity = population.identity

        def generate(self, seeds: list[int], **options: Any) -> torch.Tensor:
            return torch.full((len(seeds), 1, 6, 6), torch.nan)

    judge = Auditor()
    with pytest.raises(AuditError, match="The model generates images with NaN or infinity"):
        assert_no_extraction(Broken(), few_members, auditor=judge, **FEW)
    assert [claim.verdict for claim in judge.claims] == [Verdict.ERROR]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda x: 2.0 * x - 1.0, r"must generate images in \[0, 1\], got \[-.*\(x \+ 1\) / 2 brings"),
        (lambda x: (255.0 * x).to(torch.uint8), r"must generate images in \[0, 1\], got \[.* x / 255 brings bytes"),
        (lambda x: x.numpy(), "must generate a tensor, got ndarray. torch.as_tensor makes one"),
        (lambda x: list(x), "must generate a tensor, got list. torch.stack makes one"),
    ],
    ids=["model space", "bytes", "array", "list"],
)
def test_copies_in_another_range_or_kind_are_an_error_and_never_a_pass(
    few_members: ProbeSet, made: Callable[[torch.Tensor], Any], message: str
) -> None:
    class Own:
        identity = CallableGenerator(lambda *_: np.empty(0), name="own", version=None).identity

        def generate(self, seeds: Sequence[int], **_: object) -> Any:
            return made(torch.from_numpy(few_members.members.load([seed % MEMBERS for seed in seeds])))

    with pytest.raises(AuditError, match=message):
        assert_no_extraction(Own(), few_members, **FEW)


def test_generations_of_another_size_are_refused(few_members: ProbeSet) -> None:
    model = ideal_denoiser(torch.from_numpy(np.random.default_rng(0).random((4, 1, 5, 5))))
    with pytest.raises(UsageError, match=r"generates images of shape \(1, 5, 5\), the probes have \(1, 6, 6\)"):
        assert_no_extraction(model, few_members, **FEW)


def test_extraction_is_charted_against_repetitions_and_outlierness(few_members: ProbeSet) -> None:
    """Images that are repeated come back, images that occur once do not."""
    images = few_members.members.load(range(MEMBERS))
    repeated = ProbeSet(np.repeat(images, [8] * 5 + [1] * 15, axis=0), few_members.nonmembers)
    judge = Auditor()
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(ideal_denoiser(torch.from_numpy(images[:5])), repeated, delta=0.01, auditor=judge, **FEW)
    by_repetition, by_outlierness, _ = judge.claims[0].charts
    (series,) = by_repetition.series
    assert (series.x, series.y) == ((1.0, 8.0), (0.0, 1.0))
    assert series.high[0] == pytest.approx(1.0 - 0.05 ** (1 / 15))
    assert series.low[1] == pytest.approx(0.05 ** (1 / 5))
    (series,) = by_outlierness.series
    assert len(series.x) == 4
    assert list(series.x) == sorted(series.x)
    (table,) = judge.claims[0].tables
    assert table.rows[2] == ("4 to 9", "5")  # each extracted image and its seven repetitions


def test_one_image_for_ever_is_extracted_if_it_is_a_training_image_and_else_passes_nothing(
    few_members: ProbeSet,
) -> None:
    always = {
        "member": few_members.members.load([3])[0],
        "grey": np.full((1, 6, 6), 0.5, dtype=np.float32),
        "unseen": smooth_images(99, 1)[0],
    }
    for kind, image in always.items():
        model = CallableGenerator(lambda _, seeds, image=image: np.stack([image] * len(seeds)), name=kind, version="1")
        judge = Auditor()
        if kind == "member":
            with pytest.raises(PrivacyViolation):
                assert_no_extraction(model, few_members, auditor=judge, **FEW)
            assert "1 of 20 distinct training images" in " ".join(judge.claims[0].notes)
        else:
            with pytest.raises(AuditError, match="one and the same image for 8 different seeds"):
                assert_no_extraction(model, few_members, auditor=judge, **FEW)
            assert (judge.claims[0].value, judge.claims[0].verdict) == (0.0, "ERROR")
        noted = "68 of 68 generations are equally far from all" in " ".join(judge.claims[0].notes)
        assert noted is (kind != "member")


def test_generating_stops_as_soon_as_failure_is_certain(
    memorizing_few: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    judge = Auditor()
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(
            memorizing_few, few_members, generations=5000, steps=4, max_rate=0.05, early_stop=True, auditor=judge
        )
    (claim,) = judge.claims
    assert "Stopped after 68 of 5000 generations, because FAIL was certain" in claim.notes[0]
    assert claim.work.units_computed == 7  # generations, three searches, two of planted copies, near-copies of copies
    assert claim.low > 0.8


def test_a_pass_needs_no_more_than_a_model_without_a_copy_needs_and_shows_its_course(
    population: AnalyticDenoiser, few_members: ProbeSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    claim = assert_no_extraction(population, few_members, steps=2, max_rate=0.01, auditor=judge)
    assert claim.notes[0].startswith("Stopped after 343 of 4096 generations, because PASS was certain.")
    course = claim.charts[-1].series[0]
    assert course.x == (64.0, 96.0, 144.0, 216.0, 343.0)
    assert list(course.high) == sorted(course.high, reverse=True)
    assert course.high[-1] == claim.high <= 0.01 < course.high[-2]
    assert judge.run is not None
    assert not any(check.problem for check in verify_claim(claim, judge.run.folder))
    stored = read_arrays(judge.run.folder / evidence_name(claim.artifacts[0]))
    assert claim.recipe is not None
    stored["looks_high"][0] /= 2.0
    roles = {role: [stored[name] for name in names] for role, names in claim.recipe.arrays.items()}
    with pytest.raises(UsageError, match="high bounds at the looks are not those of the stored distances"):
        recompute(claim.recipe.statistic, roles, claim.recipe.arguments)


def test_a_run_that_was_cut_off_goes_on_where_it_was_and_stops_where_it_would_have(
    population: AnalyticDenoiser, few_members: ProbeSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Tired:
        identity, left = population.identity, 200

        def generate(self, seeds: Sequence[int], **options: Any) -> torch.Tensor:
            if self.left < len(seeds):
                raise KeyboardInterrupt
            self.left -= len(seeds)
            return population.generate(seeds, **options)

    kept = tmp_path_factory.mktemp("kept")
    given = {"generations": 1000, "steps": 2, "max_rate": 0.01}
    with pytest.raises(KeyboardInterrupt):
        assert_no_extraction(Tired(), few_members, auditor=Auditor(engine=Engine(Store(kept))), **given)
    again = assert_no_extraction(population, few_members, auditor=Auditor(engine=Engine(Store(kept))), **given)
    at_once = assert_no_extraction(population, few_members, **given)
    assert (again.work.units_reused, again.work.units_computed) == (
        12,
        6,
    )  # generations and the searches after each look
    assert (again.estimate, again.notes[0]) == (at_once.estimate, at_once.notes[0])


def test_a_budget_that_allows_a_pass_by_no_copy_alone_still_allows_it(
    population: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    claim = assert_no_extraction(population, few_members, generations=300, steps=2, max_rate=0.01)
    assert claim.notes[0].startswith("Stopped after 299 of 300 generations, because PASS was certain.")
    assert claim.high == pytest.approx(1.0 - 0.05 ** (1.0 / 299))


def test_stored_generations_are_not_stopped_early_since_the_first_need_not_be_like_the_rest(
    few_members: ProbeSet,
) -> None:
    copies_last = StoredGenerations(
        np.concatenate([few_members.nonmembers.load(range(90)), few_members.members.load(range(10))])
    )
    with pytest.raises(UsageError, match="`early_stop` must be False for generations made elsewhere"):
        assert_no_extraction(copies_last, few_members, generations=100, max_rate=0.05, early_stop=True)


def test_images_made_elsewhere_are_judged_like_the_models_own(
    memorizing_few: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    made = (memorizing_few.generate(range(128), steps=8).numpy() * 255).round().astype(np.uint8)
    own, elsewhere = Auditor(), Auditor()
    for model, judge in ((memorizing_few, own), (StoredGenerations(made), elsewhere)):
        with pytest.raises(PrivacyViolation):
            assert_no_extraction(model, few_members, auditor=judge, early_stop=False, **FEW)
    assert elsewhere.claims[0].estimate == own.claims[0].estimate
    with pytest.raises(UsageError, match="holds 128 generations, and number 129 was asked for"):
        assert_no_extraction(StoredGenerations(made), few_members, auditor=elsewhere, **(FEW | {"generations": 129}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generations": 0}, "`generations` must be a whole number of at least 1, got 0"),
        ({"delta": 15}, r"`delta` must be an RMS distance in \(0, 1\], got 15"),
        ({"max_rate": "5%"}, "`max_rate` must be .*, got '5%'"),
        ({"confidence": 95}, "`confidence` must be above 0.5 and below 1, got 95"),
        ({"model": object()}, "Extraction needs black-box access, but object does not satisfy models.Generator"),
        ({"probes": np.zeros((4, 6, 6))}, "`probes` must be a ProbeSet, got ndarray"),
        ({"search": "a cat"}, "`search` must be PromptSearch, got str"),
        ({"detector": (9, 10, 0, 10)}, "`detector` must be Detector, got tuple"),
        ({"embedding": len}, "`embedding` must be Embedding, got builtin_function_or_method"),
    ],
    ids=["generations", "delta", "max_rate", "confidence", "model", "probes", "search", "detector", "embedding"],
)
def test_a_bad_argument_is_named_with_its_value(
    population: AnalyticDenoiser, few_members: ProbeSet, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_no_extraction(**({"model": population, "probes": few_members} | FEW | arguments))


def test_an_imperfect_rule_is_corrected_for_what_it_misses(
    memorizing_few: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    """A rule that finds 9 of 10 copies and calls 1 of 100 others one: nothing but copies is more than it reports."""
    judge = Auditor()
    detector = Detector(detected=90, copies=100, false_alarms=2, others=200)
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(memorizing_few, few_members, detector=detector, auditor=judge, **FEW)
    (claim,) = judge.claims
    assert claim.value == 1.0
    assert claim.also_measured[-1].name == "Copies that the rule reports, uncorrected"
    assert "a sensitivity of 0.9 (90 of 100 known copies)" in "".join(claim.notes)


def test_a_rule_that_misses_copies_makes_a_pass_harder(population: AnalyticDenoiser, few_members: ProbeSet) -> None:
    plain = assert_no_extraction(population, few_members, early_stop=False, **FEW)
    poor = Detector(detected=30, copies=60, false_alarms=0, others=200)
    with contextlib.suppress(Inconclusive):
        assert_no_extraction(population, few_members, detector=poor, auditor=(judge := Auditor()), **FEW)
    (corrected,) = judge.claims
    assert plain.high is not None
    assert corrected.high is not None
    assert corrected.high > 1.7 * plain.high
    assert "No copying was shown: 0 generations match unseen images and 0 match" in "".join(corrected.notes)


def test_a_detector_that_was_labelled_elsewhere_is_an_error(
    population: AnalyticDenoiser, few_members: ProbeSet
) -> None:
    trigger_happy = Detector(detected=90, copies=100, false_alarms=40, others=200)
    with pytest.raises(AuditError, match=r"less than its false alarm rate of 0\.2"):
        assert_no_extraction(population, few_members, detector=trigger_happy, **FEW)
    with pytest.raises(UsageError, match="`early_stop` must be False with a `detector`"):
        assert_no_extraction(population, few_members, detector=trigger_happy, early_stop=True, **FEW)
