"""What `attack=` may be: names, methods, values, callables, lists, families, and "all"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pytest_diffprivacy import Auditor, ProbeSet, UsageError
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.membership import ATTACKS, loss, pia, secmi
from pytest_diffprivacy.methods import family_task, left_out, notes_on_all, resolve
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches
from tests.models.builders import binary_images

IMAGES = binary_images(12, 5, side=4)
MODEL = ideal_denoiser(IMAGES[:8])
NO_PROMPTS = ProbeSet(IMAGES[:6].numpy(), IMAGES[6:].numpy())


def darkest(model: object, images: torch.Tensor) -> np.ndarray:
    return -images.double().flatten(1).mean(1).numpy()


def longest(model: object, images: torch.Tensor, *, prompts: Sequence[str] | None = None) -> np.ndarray:
    return np.array([float(len(prompt)) for prompt in prompts or [""] * len(images)])


@pytest.mark.parametrize(
    ("given", "parameters", "keys"),
    [
        ("secmi", {}, ["secmi"]),
        (secmi, {}, ["secmi"]),
        (secmi(timestep=50), {}, ["secmi"]),
        (darkest, {}, ["darkest"]),
        (["loss", secmi, darkest], {}, ["loss", "secmi", "darkest"]),
        ("secmi", {"timestep": [50, 100]}, ["secmi timestep 50", "secmi timestep 100"]),
        (secmi(timestep=[50, 100]), {}, ["secmi timestep 50", "secmi timestep 100"]),
        ([secmi(timestep=50), secmi(timestep=100)], {}, ["secmi timestep 50", "secmi timestep 100"]),
        (["pia", "sima"], {"pia": {"p": [2, 4]}}, ["pia p 2", "pia p 4", "sima"]),
        ("drc", {"restorations": [2, 3]}, ["drc restorations 2", "drc restorations 3"]),
    ],
)
def test_what_an_argument_names(given: object, parameters: dict[str, object], keys: list[str]) -> None:
    assert [member.key for member in resolve("membership", given, parameters)] == keys


def test_a_configured_method_keeps_its_parameters_and_takes_more() -> None:
    (chosen,) = resolve("membership", secmi(timestep=50), {"step": 5})
    assert chosen.parameters == {**secmi.defaults, "timestep": 50, "step": 5}
    (shorthand,) = resolve("membership", "secmi", {"timestep": 50, "step": 5})
    assert shorthand.identity == chosen.identity


@pytest.mark.parametrize(
    ("given", "parameters", "message"),
    [
        ("magic", {}, "`attack` must be one of loss, secmi, pia.*, got 'magic'"),
        (5, {}, "`attack` must be a name, an Attack, a callable or a list of them, got int"),
        ("secmi", {"steps": 5}, r"`parameters` must be among timestep, step, .* for secmi, got steps"),
        (["secmi", "pia"], {"step": 5}, r"`parameters` must be given by attack \(secmi, pia\), got step"),
        (["pia", pia], {}, r"`attack` must name at least one attack and none twice, got \['pia', 'pia'\]"),
        ([], {}, "none twice, got"),
        (darkest, {"step": 5}, "`parameters` must be left out for a callable attack. Bind them with functools.partial"),
        ("secmi", {"timestep": []}, "`parameters` must give at least one value for timestep, got none"),
    ],
)
def test_what_is_refused(given: object, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve("membership", given, parameters)


def test_all_leaves_out_what_cannot_run_and_says_why() -> None:
    chosen = [member.name for member in resolve("membership", "all", model=MODEL, probes=NO_PROMPTS)]
    reasons = left_out("membership", MODEL, NO_PROMPTS)
    assert {*chosen, *reasons} == set(ATTACKS)
    assert set(reasons) == {"clid", "drc", "reconstruction"}
    notes = notes_on_all("membership", MODEL, NO_PROMPTS)
    assert "DRC-style (degrade, restore, compare) was left out: it costs 1000 network evaluations an image" in notes[1]
    assert notes[-1] == (
        "Not run: LiRA, Ratio attack (RMIA) and GSA need shadow models: pass lira_attack(shadows), "
        "ratio_attack(references) or gsa_attack(shadows)."
    )


@pytest.mark.parametrize("together", [False, True])
def test_a_callable_that_takes_prompts_is_given_the_captions(together: bool) -> None:
    captions = ["a" * (i + 1) for i in range(6)]
    images = ImageSet.of(IMAGES[:6].numpy(), "member", captions)
    chosen = resolve("membership", [longest, darkest] if together else longest)
    task = family_task(chosen, 0) if together else chosen[0].task(0)
    scores = Auditor().scores(MODEL, images, task, Work())
    np.testing.assert_array_equal(scores[:, 0] if together else scores, np.arange(1.0, 7.0))
    if together:
        np.testing.assert_array_equal(scores[:, 1], darkest(MODEL, IMAGES[:6]))
        assert [member.task(0).takes_prompts for member in chosen] == [True, False]


def test_a_callable_sees_its_batch_and_its_captions() -> None:
    seen = []

    def asked(model: object, images: torch.Tensor, prompts: Sequence[str] | None = None) -> np.ndarray:
        seen.append((len(images), prompts))
        return np.zeros(len(images))

    (member,) = resolve("membership", asked)
    scores = member.task(0).function
    scores(MODEL, IMAGES[:5], batch_size=3, prompts=list("abcde"))
    assert seen == [(part.stop - part.start, list("abcde")[part]) for part in in_batches(5, 3)]


def test_a_family_costs_what_its_members_share() -> None:
    family = resolve("membership", [loss(draws=2), pia, "pian"])
    task = family_task(family, 4)
    scores = task.function(MODEL, IMAGES, batch_size=5, **task.parameters)
    assert scores.shape == (len(IMAGES), 4)
    assert set(scores[:, 3]) == {2 + 2 + 1}  # PIA and PIAN begin with the same prediction
    np.testing.assert_array_equal(scores[:, 1], pia.scores(MODEL, IMAGES, batch_size=5))
