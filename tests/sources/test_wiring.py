"""Wiring control: the right wiring of every family holds or says why not; a wrong one is an error that names it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch.nn.functional import interpolate

from pytest_diffprivacy import (
    assert_no_extraction,
    assert_no_memorized_prompts,
    assert_not_closer_to_members,
    compare_mitigations,
    load_model,
)
from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sources.wiring import generator_wiring, wiring_control
from tests.mitigation.needles import Brightness
from tests.models import family_builders as build

EXAMPLES = Path(__file__).parents[2] / "example_audits"
sys.path.append(str(EXAMPLES))

from digits_probes import digits_probes  # noqa: E402


@pytest.fixture(scope="module")
def release():
    return load_model(EXAMPLES / "digits-release")


@pytest.fixture(scope="module")
def unseen():
    return digits_probes("digits-release").nonmembers


def judged(model, images):
    findings = Findings()
    wiring_control(Auditor(), model, images, findings)
    (control,) = findings.controls
    return control.outcome.value, findings.unproven


def network(release, change, **settings):
    """The trained network behind a change of its input, time or output."""

    def asked(x, t):
        return change(lambda x, t: release.network(x, t, return_dict=False)[0], x, t)

    return NetworkDenoiser(asked, release.schedule, release.image_shape, version="1", **settings)


WRONG = {
    "predicts='epsilon'": (lambda net, x, t: net(x, t), {"predicts": "v_prediction"}),
    "predicts='epsilon' (it is read as 'sample')": (lambda net, x, t: net(x, t), {"predicts": "sample"}),
    "with the opposite sign": (lambda net, x, t: -net(x, t), {}),
    "time runs the other way": (lambda net, x, t: net(x, 999 - t), {}),
    "it is told t / 1000": (lambda net, x, t: net(x, t / 1000), {}),
    "must be given 2 x_t -1": (lambda net, x, t: net((x + 1) / 2, t), {}),
    "must be given 0.00784 x_t -1": (lambda net, x, t: net((x + 1) * 127.5, t), {}),
    "must be given 0.4 x_t -0.3": (lambda net, x, t: net(2.5 * x + 0.8, t), {}),
}


@pytest.mark.parametrize("remedy", WRONG)
def test_a_wrong_wiring_is_an_error_that_names_the_right_one(release, unseen, remedy):
    change, settings = WRONG[remedy]
    with pytest.raises(AuditError, match="A control failed, so silence") as failed:
        judged(network(release, change, **settings), unseen)
    assert remedy in str(failed.value)


def test_a_network_asked_as_it_was_trained_holds(release, unseen):
    assert judged(release, unseen) == ("held", "")
    assert judged(network(release, lambda net, x, t: net(x, t)), unseen) == ("held", "")


class Answers:
    """The model with other answers."""

    def __init__(self, model, answer):
        self.model, self.predict_eps = model, answer

    def __getattr__(self, name):
        return getattr(self.__dict__["model"], name)


BROKEN = {
    "another answer": lambda x, t, c: torch.randn_like(x),
    "one answer to 32 different": lambda x, t, c: torch.zeros_like(x),
    "must return floats in the shape": lambda x, t, c: torch.zeros(()),
    "got NoneType": lambda x, t, c: None,
    "returns NaN": lambda x, t, c: x * torch.nan,
    "one row stands for all": lambda x, t, c: x[:1].expand_as(x),
    "alone than beside others": lambda x, t, c: x - x.mean(0, keepdim=True),
}


@pytest.mark.parametrize("said", BROKEN)
def test_outputs_of_no_denoiser_are_an_error(release, unseen, said):
    with pytest.raises(AuditError, match=said):
        judged(Answers(release, BROKEN[said]), unseen)


def test_an_answer_that_denoises_nothing_cannot_pass(release, unseen):
    outcome, unproven = judged(Answers(release, lambda x, t, c: x), unseen)
    assert outcome == "not applicable"
    assert "denoises no better than a blur" in unproven


@pytest.mark.parametrize(
    "family",
    # Not Flux, which knows no image below 256 pixels: minutes for what Stable Diffusion 3 says of flow networks.
    ["unconditional", "dit", "stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "pixart",
     "latent_consistency"],
)  # fmt: skip
@pytest.mark.slow
def test_random_weights_of_a_family_are_no_wrong_wiring(family):
    model = load_model(getattr(build, family)())
    coarse = torch.from_numpy(np.random.default_rng(0).random((40, 3, 4, 4), dtype=np.float32))
    images = interpolate(coarse, model.image_shape[1:], mode="bilinear")
    outcome, unproven = judged(model, ImageSet.of(images.numpy(), "non-member"))
    assert outcome == "not applicable"
    assert "has not learned" in unproven


def test_few_images_and_exact_models_say_why_there_is_no_control(release, unseen):
    outcome, unproven = judged(release, unseen.subset(range(9)))
    assert outcome == "not applicable"
    assert "9 non-members are too few: 10 are needed" in unproven


def prompted(folder, kind=None):
    """A text-to-image example, perhaps with another prediction type than the one it was trained with."""
    own = json.loads((EXAMPLES / folder / "scheduler" / "scheduler_config.json").read_text())
    scheduler = DDIMScheduler.from_config(own | ({} if kind is None else {"prediction_type": kind}))
    return load_model(EXAMPLES / folder, scheduler=scheduler)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "wrong"), [("emoji-v", "epsilon"), ("emoji-release", "v_prediction")])
def test_without_images_synthetic_ones_tell_a_right_wiring_from_a_wrong_one(folder, wrong):
    assert judged(prompted(folder), None) == ("held", "")
    with pytest.raises(AuditError, match=r"It looks like predicts='(epsilon|v_prediction)' \(it is read as"):
        judged(prompted(folder, wrong), None)


@pytest.mark.slow
def test_a_claim_about_prompts_alone_on_a_wrong_wiring_is_an_error_before_anything_is_watched():
    judge = Auditor()
    with pytest.raises(AuditError, match=r"It looks like predicts='v_prediction' \(it is read as 'epsilon'\)"):
        assert_no_memorized_prompts(
            prompted("emoji-v", "epsilon"), ["a cat", "a dog"], reference=["a cow", "a pig"],
            detector="score_difference",
            images_per_prompt=1, sampling_steps=4, limit=0.5, auditor=judge,
        )  # fmt: skip
    assert judge.claims[0].verdict == "ERROR"


def test_generations_of_a_wrong_wiring_are_an_error(release, unseen):
    probes, change = digits_probes("digits-release"), WRONG["it is told t / 1000"][0]
    wrong = network(release, change)
    with pytest.raises(AuditError, match="it is told t / 1000"):
        assert_no_extraction(wrong, probes, generations=8, steps=2, max_rate=0.5, auditor=Auditor())
    with pytest.raises(AuditError, match="it is told t / 1000"):
        assert_not_closer_to_members(wrong, probes, generations=8, steps=2, limit=0.9, auditor=Auditor())


@pytest.mark.slow
def test_mitigations_are_not_compared_on_a_wrong_wiring():
    picture = np.zeros((3, 64, 64), dtype=np.float32)
    with pytest.raises(AuditError, match=r"It looks like predicts='v_prediction' \(it is read as 'epsilon'\)"):
        compare_mitigations(
            prompted("emoji-v", "epsilon"), ["a cat"], [picture], mitigations=[], alignment=Brightness(), steps=2,
            auditor=Auditor(),
        )  # fmt: skip


def test_a_network_that_has_not_learned_may_pass_a_claim_about_its_generations(unseen):
    model, findings = load_model(build.unconditional()), Findings()
    generator_wiring(Auditor(), model, None, findings)
    assert [control.outcome.value for control in findings.controls] == ["not applicable"]
    assert findings.unproven == ""


def test_generations_that_come_of_what_was_declared_cannot_pass_where_that_is_no_better_than_a_blur():
    model, findings = NetworkDenoiser(lambda x, t: 0.01 * x, NoiseSchedule.linear(), (1, 8, 8), version="1"), Findings()
    generator_wiring(Auditor(), model, None, findings)
    assert "denoises no better than a blur" in findings.unproven


def test_a_claim_about_prompts_of_a_network_that_has_not_learned_says_what_would_show_more():
    outcome, unproven = judged(load_model(build.stable_diffusion()), None)
    assert outcome == "not applicable"
    assert "give ProbeSet(members, nonmembers, prompts=...)" in unproven
