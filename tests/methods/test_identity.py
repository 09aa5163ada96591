"""A stored result is that of the code that computed it: whatever a user brings, an edit of it is another method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from pytest_diffprivacy import Auditor
from pytest_diffprivacy.engine import Engine, ScoreTask, Work
from pytest_diffprivacy.engine.code_identity import code_identity
from pytest_diffprivacy.evidence import Store, fingerprint
from pytest_diffprivacy.membership import (
    ATTACKS,
    Attack,
    Measure,
    Shadow,
    gsa_attack,
    lira_attack,
    quantile_attack,
    score_shadows,
)
from pytest_diffprivacy.methods import Configured, Kind, Method, family_task, resolve
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from tests.methods.conftest import Written
from tests.models.builders import binary_images

IMAGES = binary_images(16, 3, side=4)
MODEL = ideal_denoiser(IMAGES[:8])

OWN = """
from dataclasses import dataclass
from pytest_diffprivacy.membership import Attack, Measure
from pytest_diffprivacy.methods import Access, Kind, method

def help_out(images):
    return {factor} * images.double().flatten(1).mean(1)

def own_scores(model, images, *, batch_size, prompts=None):
    return -help_out(images).numpy() - 1.0

def own_features(model, images, *, batch_size, prompts=None):
    return help_out(images).numpy()[:, None] * [[1.0, model.schedule.at(5)[1] + hash(model.identity.digest) % 7]]

def attack(name="own", version=1):
    return Attack(name=name, title="Own", access="grey box", source="here", scores=own_scores, defaults={{}},
                  version=version, seeded=False, evaluations=lambda p: 0, timesteps=lambda p: ())

def own_distance(x0, mean):
    return {factor} * (x0 - mean).square().flatten(1).sum(1)

@dataclass(frozen=True)
class Corner:
    side: int

def closure():
    factor = {factor}
    return lambda model, images, *, batch_size: factor * images.double().flatten(1).mean(1).numpy()

@method(title="Own formula", access=Access.GREY_BOX, source="here", version=1, kind=Kind.{kind})
def own(batch, *, factor: float = 1.0):
    return factor * help_out(batch.images)
"""


def edition(written: Written, factor: float, kind: Kind = Kind.MEMBERSHIP) -> ModuleType:
    return written(OWN.format(factor=factor, kind=kind.name))


def scored(store: Path, task: ScoreTask) -> tuple[np.ndarray, int]:
    """Scores of some images, and how many units were computed and not answered from the store."""
    work = Work()
    judge = Auditor(engine=Engine(Store(store)))
    return judge.scores(MODEL, ImageSet.of(IMAGES[8:].numpy(), "member"), task, work), work.computed


def of_attack(module: ModuleType) -> Configured:
    return resolve("membership", module.attack())[0]


def of_formula(module: ModuleType) -> Configured:
    return resolve("membership", "own")[0]


def of_sharpness(module: ModuleType) -> Configured:
    return resolve("sharpness", "own")[0]


def of_quantile(module: ModuleType) -> Configured:
    return quantile_attack(IMAGES[:8], fpr=0.25, base=module.attack(), bag=1)()


@pytest.mark.parametrize("own", [of_attack, of_formula, of_sharpness, of_quantile])
def test_an_edited_method_of_a_user_is_computed_anew(
    tmp_path: Path, written: Written, own: Callable[[ModuleType], Configured]
) -> None:
    kind = Kind.SHARPNESS if own is of_sharpness else Kind.MEMBERSHIP
    first, computed = scored(tmp_path, own(edition(written, 1.0, kind)).task(0))
    assert computed == 1
    again, computed = scored(tmp_path, own(edition(written, 1.0, kind)).task(0))
    assert computed == 0
    assert np.array_equal(first, again)
    edited, computed = scored(tmp_path, own(edition(written, 2.0, kind)).task(0))
    assert computed == 1
    assert not np.array_equal(first, edited)


def test_a_family_with_an_edited_member_is_computed_anew(tmp_path: Path, written: Written) -> None:
    for factor, expected in ((1.0, 1), (1.0, 0), (2.0, 1)):
        family = resolve("membership", ["sima", edition(written, factor).attack()])
        assert scored(tmp_path, family_task(family, 0))[1] == expected


def test_an_attack_of_a_user_shares_nothing_with_ours_of_the_same_name(tmp_path: Path, written: Written) -> None:
    scored(tmp_path, ATTACKS["sima"]().task(0))
    ours = ATTACKS["sima"]
    own = edition(written, 1.0).attack(name="sima")
    assert own.version == ours.version
    scores, computed = scored(tmp_path, own().task(0))
    assert computed == 1
    assert not np.array_equal(scores, ours.scores(MODEL, IMAGES[8:]))


@pytest.mark.parametrize("build", [lira_attack, gsa_attack])
def test_an_edited_measure_of_a_user_is_asked_anew(
    tmp_path: Path, written: Written, build: Callable[..., Method]
) -> None:
    def measured(factor: float) -> tuple[Method, int]:
        module, work = edition(written, factor), Work()
        function = module.own_features if build is gsa_attack else module.own_scores
        shadows = [Shadow.of(ideal_denoiser(IMAGES[i : i + 8]), IMAGES[i : i + 8], str(i)) for i in range(0, 8, 2)]
        (found,) = score_shadows(
            shadows, ImageSet.of(IMAGES[4:12].numpy(), "probe"), [Measure("own", 1, function, {}, 0)],
            engine=Engine(Store(tmp_path)), work=work,
        )  # fmt: skip
        assert found.asked.stored
        return found, work.computed

    shadows = {factor: measured(factor) for factor in (1.0, 2.0)}
    assert [computed for _, computed in shadows.values()] == [4, 4]
    assert measured(1.0)[1] == 0
    assert shadows[1.0][0].digest != shadows[2.0][0].digest


def test_what_cannot_be_told_from_its_next_edition_is_never_stored(tmp_path: Path, written: Written) -> None:
    module = edition(written, 1.0)
    own = {
        "closure": module.closure(),
        "lambda": lambda model, images, *, batch_size: np.zeros(len(images)),
        "bound method": Mean().scores,
        "object": Mean(),
        "partial of something": partial(module.own_scores, anything=object()),
    }
    for name, function in own.items():
        assert code_identity(function) is None, name
        attack = Attack(name="own", title="Own", access="grey box", source="here", scores=function, version=1)
        assert attack().identity is None
        assert not attack().task(0).stored, name
        assert not Measure("own", 1, function, {}, 0).stored
    for _ in range(2):
        (alone,) = resolve("membership", darkest)
        assert scored(tmp_path, alone.task(0))[1] == 1


def test_an_edited_parameter_of_a_user_is_computed_anew(tmp_path: Path, written: Written) -> None:
    """A distance, an embedding or a mask of one's own is code as well."""
    for factor, expected in ((1.0, 1), (1.0, 0), (2.0, 1)):
        distance = edition(written, factor).own_distance
        task = resolve("membership", "rediffuse", {"distance": distance, "draws": 1})[0].task(0)
        assert scored(tmp_path, task)[1] == expected
    for _ in range(2):
        closure = resolve("membership", "rediffuse", {"distance": edition(written, 1.0).closure(), "draws": 1})[0]
        assert not closure.task(0).stored


def test_an_edited_class_of_a_user_is_another_parameter(written: Written) -> None:
    def identity(factor: float) -> str:
        masks = [edition(written, factor).Corner(2)]
        return fingerprint(resolve("membership", "drc", {"masks": masks})[0].task(0).identity)

    assert identity(1.0) == identity(1.0)
    assert identity(1.0) != identity(2.0)


def test_without_a_version_nothing_is_stored(tmp_path: Path, written: Written) -> None:
    for _ in range(2):
        attack = edition(written, 1.0).attack(version=None)
        assert attack().identity is None
        assert scored(tmp_path, attack().task(0))[1] == 1


def test_an_identity_is_fields(written: Written) -> None:
    ours = ATTACKS["secmi"](timestep=50).labelled("timestep 50").identity
    assert ours == {
        "name": "secmi",
        "label": "timestep 50",
        "version": 1,
        "function": "pytest_diffprivacy.membership.secmi.secmi",
        "parameters": {**ATTACKS["secmi"].defaults, "timestep": 50},
    }
    own = edition(written, 1.0).attack()().identity
    assert own["function"] == "own_methods.own_scores"
    assert len(own["source"]) == 64


def darkest(model: object, images: torch.Tensor) -> np.ndarray:
    return -images.double().mean((1, 2, 3)).numpy()


class Mean:
    """Scores of an object with a state."""

    def scores(self, model: object, images: torch.Tensor, *, batch_size: int) -> np.ndarray:
        return images.double().mean((1, 2, 3)).numpy()

    __call__ = scores
