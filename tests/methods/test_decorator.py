"""`@method`: the signature is the table of parameters, and everything that holds for every method is said once."""

from __future__ import annotations

import inspect
import pickle
import re

import numpy as np
import pytest
import torch

from pytest_diffprivacy import Auditor, PrivacyViolation, ProbeSet, UsageError, assert_mia_auroc_below
from pytest_diffprivacy.membership import ATTACKS, secmi, secmi_scores
from pytest_diffprivacy.methods import Access, Kind, Method, Need, methods_of
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.sharpness import STATISTICS
from tests.methods.conftest import Written
from tests.models.builders import binary_images

OURS = {**ATTACKS, **STATISTICS}
every = pytest.mark.parametrize("method", OURS.values(), ids=OURS)

OWN = '''
from pytest_diffprivacy.methods import Access, ImageBatch, method

@method(title="Mean square", access=Access.GREY_BOX, source="here", version=1, evaluations=lambda p: 1, noise="draws")
def mean_square(batch: ImageBatch, *, timestep: int = 100, power: float = 2.0):
    """Score images by minus their noise prediction.

    Args:
        timestep: the model's own.
        power: of the norm.

    Source: ours.
    """
    return -batch.predict(batch.x0, batch.at(timestep)[0]).double().abs().pow(power).flatten(1).mean(1)
'''


@every
def test_every_parameter_and_everything_common_is_documented(method: Method) -> None:
    text, signature = method.scores.__doc__ or "", inspect.signature(method.scores)
    arguments = text.partition("Args:")[2].partition("Returns:")[0]
    for name in signature.parameters:
        assert re.search(rf"^\s+{name}: ", arguments, flags=re.MULTILINE), name
    assert "Returns:" in text
    assert "UsageError: " in text
    assert "AuditError: " in text
    assert "Source: " in text


@every
def test_the_signature_is_the_table_of_parameters_and_defaults(method: Method) -> None:
    table = inspect.signature(method.scores).parameters
    assert list(table)[:2] == ["model", "images"]
    assert {"prompts", "batch_size"} <= set(table)
    assert all(table[name].default == value for name, value in method.defaults.items())
    assert ("seed" in table) == method.seeded
    assert set(table) - set(method.defaults) - set(method.required) <= {
        "model", "images", "noise", "seed", "prompts", "batch_size",
    }  # fmt: skip


def test_a_configured_method_is_a_value() -> None:
    chosen = secmi(timestep=50)
    assert (chosen.name, chosen.label, chosen.title) == ("secmi", "", "SecMI (statistic)")
    assert chosen.parameters == {**secmi.defaults, "timestep": 50}
    assert chosen.evaluations == 7
    assert chosen.task(3).parameters == chosen.parameters
    assert ATTACKS["loss"](draws=2).task(3).parameters["seed"] == 3
    with pytest.raises(
        UsageError, match=r"`parameters` must be among timestep, step, last_step, .* for secmi, got timesteps"
    ):
        secmi(timesteps=50)


def test_a_score_function_is_a_function_of_its_module() -> None:
    assert secmi.scores is secmi_scores
    assert pickle.loads(pickle.dumps(secmi_scores)) is secmi_scores
    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'"):
        secmi_scores(ideal_denoiser(binary_images(2, 1)), binary_images(2, 1), seed=1)


def test_access_is_ordered_and_needs_are_fields_of_their_own() -> None:
    assert Access.BLACK_BOX < Access.GREY_BOX < Access.WHITE_BOX
    assert Access("grey box") is Access.GREY_BOX
    assert ATTACKS["clid"].needs == {Need.PROMPTS}


def test_an_attack_of_a_user_is_one_file(written: Written) -> None:
    """It is found by its name, documented, checked, batched and controlled as ours are."""
    found = written(OWN).mean_square
    assert methods_of(Kind.MEMBERSHIP)["mean_square"] is found
    assert pickle.loads(pickle.dumps(found.scores)) is found.scores
    members, others = binary_images(40, 1), binary_images(40, 2)
    model = ideal_denoiser(members)
    scores = found.scores(model, members)
    np.testing.assert_allclose(found.scores(model, members, batch_size=3), scores, rtol=1e-9)
    with pytest.raises(UsageError, match=r"`images` must lie in \[0, 1\]"):
        found.scores(model, 2.0 * torch.ones_like(members))
    assert "seed of the draws" in found.scores.__doc__
    probes = ProbeSet(members.numpy(), others.numpy())
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_auroc_below(
            model, probes, attack="mean_square", limit=0.6, parameters={"timestep": 50}, auditor=Auditor()
        )
    (record,) = caught.value.claim.methods
    assert (record.name, record.version, record.function) == ("mean_square", 1, "own_methods.mean_square")
    assert record.parameters == {"timestep": "50", "power": "2"}


def test_a_name_that_is_taken_is_refused(written: Written) -> None:
    with pytest.raises(UsageError, match=r"A membership method must have a name of its own, got 'secmi', which "):
        written(OWN.replace("mean_square", "secmi"))
