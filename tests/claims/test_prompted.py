"""Prompts that bring one image back: with training images beside, and without knowing any."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    assert_mia_auroc_below,
    assert_no_extraction,
)
from pytest_diffprivacy.errors import AuditError, ModelError, ProbeError
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.extraction import PromptSearch, choose_prompts
from pytest_diffprivacy.models import CallableGenerator, ideal_denoiser
from pytest_diffprivacy.probes import StoredGenerations

SIDE = 8
PROMPTS = [f"a picture of {i}" for i in range(12)]
MEMORIZED = 8


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, SIDE, SIDE)).astype(np.float32)


TRAINING, UNSEEN = pictures(1, 12), pictures(2, 30)
REPETITIONS = [16] * MEMORIZED + [1] * (12 - MEMORIZED)


def captioned() -> ProbeSet:
    return ProbeSet(
        np.repeat(TRAINING, REPETITIONS, axis=0),
        UNSEEN,
        member_prompts=np.repeat(np.array(PROMPTS, dtype=object), REPETITIONS).tolist(),
        nonmember_prompts=[f"unseen {i}" for i in range(30)],
    )


class Remembering:
    """Gives the training image of the first prompts back at guidance 1, with a little noise, and else noise alone."""

    identity = CallableGenerator(lambda *_: np.empty(0), name="remembering", version="1").identity

    def __init__(self, shown: np.ndarray = TRAINING, memorized: int = MEMORIZED) -> None:
        self.shown, self.memorized = shown, memorized
        self.asked: list[tuple[object, float]] = []

    def generate(self, seeds, *, prompts=None, steps=50, guidance_scale=1.0):
        assert len(set(prompts)) == 1
        self.asked.append((prompts[0], guidance_scale))
        number = PROMPTS.index(prompts[0])
        noise = np.stack([np.random.default_rng(seed).random((1, SIDE, SIDE)) for seed in seeds])
        if number < self.memorized and guidance_scale == 1.0:
            return torch.from_numpy(0.96 * self.shown[number] + 0.04 * noise)
        return torch.from_numpy(noise)


def search(**changes: object) -> PromptSearch:
    return PromptSearch(**({"edge_threshold": 0.1, "images": 30} | changes))


def judged(model: object, probes: ProbeSet | None, **arguments: object) -> Auditor:
    judge = Auditor()
    given = {"max_rate": 0.05, "steps": 2, "search": search(), "early_stop": False} | arguments
    try:
        assert_no_extraction(model, probes, auditor=judge, **given)
    except (PrivacyViolation, Inconclusive):
        assert len(judge.claims) == 1
    return judge


@pytest.fixture(scope="module")
def leaking() -> Auditor:
    return judged(Remembering(), captioned())


def test_prompts_that_bring_their_training_image_back_are_counted(leaking: Auditor) -> None:
    (claim,) = leaking.claims
    assert claim.verdict == "FAIL"
    assert claim.headline == "Prompts bring training images back more often than allowed."
    assert claim.value == pytest.approx(MEMORIZED / 12)
    assert claim.methods[0].parameters["guidance_scales"] == "1, 7.5"
    assert claim.notes[0] == (
        "8 prompts bring back one image again and again; 8 of these images lie near a training image."
    )


def test_guidance_is_swept_and_what_each_scale_found_is_told_apart(leaking: Auditor) -> None:
    by_guidance, ranking = leaking.claims[0].tables
    assert by_guidance.rows == (("1", "8", "0", "8", "0"), ("7.5", "0", "0", "0", "0"))
    assert len(ranking.rows) == MEMORIZED
    assert {row[0] for row in ranking.rows} == {f"prompt {i}" for i in range(MEMORIZED)}
    assert all(row[5:] == ("yes", "16") for row in ranking.rows)
    distances = [float(row[3]) for row in ranking.rows]
    assert distances == sorted(distances)


def test_no_record_holds_a_prompt(leaking: Auditor) -> None:
    assert "a picture of" not in leaking.claims[0].model_dump_json()


def test_the_image_stands_beside_its_training_image(leaking: Auditor) -> None:
    strips = leaking.claims[0].strips
    assert [len(strip.pictures) for strip in strips] == [3] * MEMORIZED
    assert all(strip.conspicuous and strip.mark == "match" for strip in strips)


class TwoImages(Remembering):
    """Half of a memorized prompt's generations are one grey image, a sixth another training image."""

    def generate(self, seeds, *, prompts=None, steps=50, guidance_scale=1.0):
        images = super().generate(seeds, prompts=prompts, guidance_scale=guidance_scale)
        if PROMPTS.index(prompts[0]) < self.memorized:
            place = np.array(seeds) % 30
            images[place < 15] = 0.5
            images[place >= 25] = torch.from_numpy(pictures(9, 5)).to(images)[place[place >= 25] - 25]
        return images


def test_a_training_image_is_found_beside_another_image_that_comes_back_more_often() -> None:
    (claim,) = judged(TwoImages(), captioned(), search=search(guidance_scales=(1.0,))).claims
    assert claim.verdict == "FAIL"
    assert claim.value == pytest.approx(MEMORIZED / 12)
    assert all(row[2] == "10 of 30" for row in claim.tables[1].rows)
    (alone,) = judged(TwoImages(), None, search=search(guidance_scales=(1.0,), prompts=PROMPTS)).claims
    assert all(row[2] == "15 of 30" for row in alone.tables[1].rows)


@pytest.mark.parametrize("known", [True, False])
def test_the_verdict_follows_from_the_stored_arrays_alone(
    known: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(
            Remembering(),
            captioned() if known else None,
            search=search(prompts=PROMPTS),
            max_rate=0.05,
            steps=2,
            auditor=judge,
        )
    assert judge.run is not None
    checks = list(verify_claim(judge.claims[0], judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)


def test_every_prompt_is_asked_at_every_guidance_the_most_duplicated_first() -> None:
    model = Remembering()
    judged(model, captioned(), search=search(most=6))
    scales = (1.0, 7.5)
    assert model.asked[:2] == [(PROMPTS[0], 1.0)] * 2  # whether the same seed gives the same image
    assert model.asked[2:] == [(prompt, scale) for prompt in PROMPTS[:6] for scale in scales]


def test_a_search_stops_at_the_prompt_that_decides_and_asks_in_a_drawn_order(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = Remembering(memorized=12)
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(model, captioned(), search=search(), max_rate=0.05, steps=2, auditor=judge)
    (claim,) = judge.claims
    asked = [prompt for prompt, scale in model.asked[2:] if scale == 1.0]  # the first two show that seeds are heard
    assert (len(asked), claim.value) == (7, 1.0)
    assert asked == [PROMPTS[i] for i in np.random.default_rng([0, 4]).permutation(12)[:7]]
    assert claim.notes[0].startswith("Stopped after 7 of 12 prompts, because FAIL was certain.")
    assert {row[0] for row in claim.tables[1].rows} == {f"prompt {PROMPTS.index(prompt)}" for prompt in asked}
    assert claim.charts[-1].series[0].x == tuple(range(1, 8))
    assert judge.run is not None
    assert [check.problem for check in verify_claim(claim, judge.run.folder)] == ["", "", ""]


def test_a_search_that_is_one_of_several_attempts_stops_by_its_own_bounds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"), attempts="shared")
    with pytest.raises(PrivacyViolation):
        assert_no_extraction(
            Remembering(memorized=12), captioned(), search=search(), max_rate=0.05, steps=2, auditor=judge
        )
    (claim,) = judge.claims
    assert claim.estimate is not None
    assert claim.estimate.confidence == claim.charts[-1].confidence == pytest.approx(0.975)
    assert claim.notes[0].startswith("Stopped after 8 of 12 prompts, because FAIL was certain.")
    assert judge.run is not None
    assert [check.problem for check in verify_claim(claim, judge.run.folder)] == ["", "", ""]


@pytest.mark.parametrize("known", [True, False])
def test_a_search_that_finds_nothing_passes_early(known: bool) -> None:
    probes, prompts = (captioned() if known else None), search(prompts=PROMPTS)
    (claim,) = judged(Remembering(memorized=0), probes, search=prompts, max_rate=0.3, early_stop=None).claims
    assert (claim.verdict, claim.value) == ("PASS", 0.0)
    assert claim.notes[0].startswith("Stopped after 10 of 12 prompts, because PASS was certain.")


def test_a_model_that_brings_nothing_back_passes() -> None:
    claim = judged(Remembering(memorized=0), captioned(), max_rate=0.25).claims[0]
    assert (claim.verdict, claim.value) == ("PASS", 0.0)
    assert claim.high == pytest.approx(1 - 0.05 ** (1 / 12))


def test_one_image_that_is_no_training_image_is_a_clique_and_no_extraction() -> None:
    claim = judged(Remembering(shown=pictures(5, 12)), captioned(), max_rate=0.25).claims[0]
    assert claim.verdict == "PASS"
    (cliques,) = claim.also_measured
    assert (cliques.value, claim.value) == (MEMORIZED / 12, 0.0)
    assert all(strip.mark == "one image" for strip in claim.strips)


def test_a_copy_of_an_unseen_image_is_a_false_match_and_refutes_nothing() -> None:
    """Training and unseen images alike: whatever matches one matches the other, so nothing is shown."""
    alike = ProbeSet(
        TRAINING,
        np.clip(TRAINING + 0.001, 0, 1),
        member_prompts=PROMPTS,
        nonmember_prompts=PROMPTS,
    )
    claim = judged(Remembering(memorized=12), alike, search=search(prompts=PROMPTS)).claims[0]
    assert (claim.value, claim.low, claim.verdict) == (1.0, 0.0, "INCONCLUSIVE")  # a caption makes no difference
    anywhere = ProbeSet(TRAINING, np.clip(TRAINING + 0.001, 0, 1))
    claim = judged(Remembering(memorized=12), anywhere, search=search(prompts=PROMPTS)).claims[0]
    assert (claim.value, claim.low, claim.verdict) == (1.0, 0.0, "INCONCLUSIVE")


def test_without_any_training_image_a_clique_is_evidence_and_is_called_what_it_is() -> None:
    claim = judged(Remembering(), None, search=search(prompts=PROMPTS)).claims[0]
    assert claim.verdict == "FAIL"
    assert claim.sentence == "Share of prompts that bring one and the same image back is at most 0.05"
    assert "not that this image was in the training set" in claim.notes[0]
    assert [len(strip.pictures) for strip in claim.strips] == [1] * MEMORIZED
    assert claim.probes == ()


def test_a_generator_of_one_image_for_ever_is_flagged_at_every_prompt_and_passes_nothing() -> None:
    model = CallableGenerator(lambda _, seeds: np.zeros((len(seeds), 1, SIDE, SIDE)), name="grey", version="1")
    claim = judged(model, None, search=search(prompts=PROMPTS, guidance_scales=(1.0,))).claims[0]
    assert claim.value == 1.0
    with pytest.raises(AuditError, match="one and the same image for 8 different seeds"):
        judged(model, captioned(), search=search(guidance_scales=(1.0,)), max_rate=0.25)


def test_prompts_that_are_left_undecided_pass_nothing() -> None:
    """27 generations in 9 groups of 3, near across groups and far within: 3^9 cliques of 9, and none of 10."""
    images = np.full((27, 1, SIDE, SIDE), 0.5, dtype=np.float32)
    for number in range(27):
        group, member = divmod(number, 3)
        row, column = divmod(group, 4)
        images[number, 0, 2 * row + member // 2, 2 * column + member % 2] += 0.4  # a pixel of the group's own tile
    model = StoredGenerations(images, prompts=["one"] * 27)
    settings = {"prompts": ["one"], "guidance_scales": (1.0,), "images": 27, "edge_threshold": 0.25}
    claim = judged(model, None, search=search(**settings, cliques_tried=50), max_rate=0.97).claims[0]
    assert (claim.verdict, claim.value, claim.high) == ("INCONCLUSIVE", 0.0, 1.0)
    assert "1 prompts were left undecided: raise cliques_tried" in claim.needed
    decided = judged(model, None, search=search(**settings), max_rate=0.97).claims[0]
    assert (decided.verdict, decided.high) == ("PASS", 0.95)
    found = judged(model, None, search=search(**settings, clique_size=9), max_rate=0.97).claims[0]
    assert found.value == 1.0


def test_images_made_elsewhere_for_prompts_are_searched_as_they_are() -> None:
    model = Remembering()
    made = np.concatenate([model.generate(range(30), prompts=[p] * 30).numpy() for p in PROMPTS])
    stored = StoredGenerations(made, prompts=np.repeat(PROMPTS, 30).tolist())
    claim = judged(stored, captioned(), search=search(guidance_scales=(1.0,))).claims[0]
    assert claim.value == pytest.approx(MEMORIZED / 12)
    with pytest.raises(ModelError, match="holds 30 generations for this prompt, and number 31 was asked for"):
        judged(stored, captioned(), search=search(guidance_scales=(1.0,), images=31))


def test_prompts_are_the_captions_of_the_members_with_most_near_copies_first() -> None:
    images = np.concatenate([TRAINING[:3], TRAINING[2:3] + 0.01, TRAINING[2:3] - 0.01]).clip(0, 1)
    members = ProbeSet(images, member_prompts=["one", "two", "three", "three", "other"]).members
    asked = choose_prompts(search(), members)
    assert [(a.prompt, a.images.tolist(), a.duplicates) for a in asked] == [
        ("three", [2, 3], 3),
        ("other", [4], 3),
        ("one", [0], 1),
        ("two", [1], 1),
    ]
    assert [a.prompt for a in choose_prompts(search(most=1), members)] == ["three"]
    given = choose_prompts(search(prompts=["new", "one"]), members)
    assert [(a.prompt, a.images.tolist(), a.duplicates) for a in given] == [("new", [], 0), ("one", [0], 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"edge_threshold": 0.0}, r"`edge_threshold` must be a distance in \(0, 1\], got 0.0"),
        ({"images": 9}, r"`images` must be at least `clique_size` \(10\), got 9"),
        ({"clique_size": 1}, "`clique_size` must be a whole number of at least 2, got 1"),
        ({"guidance_scales": ()}, "`guidance_scales` must be different finite numbers"),
        ({"guidance_scales": (1.0, 1.0)}, "`guidance_scales` must be different finite numbers"),
        ({"guidance_scales": 1.0}, r"got 1.0. Write one scale as \(1.0,\)"),
        ({"guidance_scales": (1.0, float("nan"))}, "`guidance_scales` must be different finite numbers"),
        ({"guidance_scales": ("strong",)}, "`guidance_scales` must be different finite numbers"),
        ({"tile": "grid8"}, "`tile` must be \"grid4\" or a number of pixels, got 'grid8'"),
        ({"tile": 0}, "`tile` must be a whole number of at least 1, got 0"),
        ({"prompts": ["a", "a"]}, "`prompts` must be different prompts"),
        ({"prompts": "a cat"}, "`prompts` must be a list of prompts, got the text 'a cat'"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search(**settings)


def test_a_search_without_captions_says_where_prompts_may_come_from() -> None:
    with pytest.raises(ProbeError, match="takes the members' captions, and there are none"):
        judged(Remembering(), ProbeSet(TRAINING, UNSEEN))
    with pytest.raises(UsageError, match="must be a ProbeSet where no prompts are searched, got None"):
        judged(Remembering(), None, search=None)


@pytest.mark.parametrize("prompts", [[3, 7], np.array([3, 7]), torch.tensor([3, 7]), range(3, 8, 4)])
def test_classes_are_searched_without_prompts_of_the_nonmembers(prompts) -> None:
    images = pictures(5, 24)
    probes = ProbeSet(images[:12], images[12:], member_prompts=[3] * 6 + [7] * 6)
    model = CallableGenerator(
        lambda told, seeds: (
            np.stack([images[told[0]] for _ in seeds])
            + 1e-3 * np.random.default_rng(seeds).random((len(seeds), 1, SIDE, SIDE))
        ),
        name="classes",
        version=None,
    )
    claim = judged(model, probes, search=search(prompts=prompts, guidance_scales=(1.0,))).claims[0]
    assert claim.asked is not None
    assert (claim.asked.conditioning, claim.asked.prompts) == ("class", 2)


def test_prompts_of_another_kind_are_refused() -> None:
    for bad in ([1.5], [True], [None], [("a", "b")]):
        with pytest.raises(UsageError, match="must be texts or class indices"):
            search(prompts=bad)


def test_a_claim_that_compares_both_sides_refuses_prompts_of_one_of_them() -> None:
    images = pictures(5, 24)
    probes = ProbeSet(images[:12], images[12:], member_prompts=[3] * 12)
    with pytest.raises(ProbeError, match="The members have prompts and the non-members have none"):
        assert_mia_auroc_below(ideal_denoiser(torch.from_numpy(images[:12])), probes, limit=0.6, auditor=Auditor())


class OneImage(Remembering):
    """Gives one image for every prompt, at guidance 1 and above."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__()
        self.image = torch.from_numpy(image)

    def generate(self, seeds, *, prompts=None, steps=50, guidance_scale=1.0):
        return self.image.expand(len(seeds), -1, -1, -1)


@pytest.mark.parametrize("others", [30, 6])
def test_the_training_image_of_another_prompt_comes_back_too(others: int) -> None:
    """With fewer unseen images than members only as many are compared: then the value and PASS still count all."""
    probes = ProbeSet(TRAINING, UNSEEN[:others], member_prompts=PROMPTS, nonmember_prompts=PROMPTS[:1] * others)
    noise = 0.04 * pictures(5, 1)[0]
    wanted = search(guidance_scales=(1.0,))

    class Nearly(OneImage):
        def generate(self, seeds, **options):
            return super().generate(seeds, **options) + torch.from_numpy(
                np.stack([np.random.default_rng(seed).random((1, SIDE, SIDE)) for seed in seeds]) * 1e-3
            ).to(self.image)

    (claim,) = judged(Nearly(0.95 * TRAINING[3] + noise), probes, search=wanted).claims
    assert claim.value == 1.0
    assert claim.high == 1.0
    if others == 30:
        assert claim.verdict == "FAIL"
        assert any(note.startswith("1 of 12 prompts that bring a training image back") for note in claim.notes)
    else:
        assert claim.verdict in ("FAIL", "INCONCLUSIVE")


def test_one_unseen_image_for_every_prompt_is_no_training_image() -> None:
    probes = ProbeSet(TRAINING, UNSEEN, member_prompts=PROMPTS, nonmember_prompts=PROMPTS[:1] * 30)
    (claim,) = judged(Remembering(np.repeat(UNSEEN[:1], 12, 0)), probes, search=search(guidance_scales=(1.0,))).claims
    assert claim.value == 0.0
    assert claim.verdict == "INCONCLUSIVE"
