"""What a record says of the model that prompts were shown to."""

from types import SimpleNamespace

import pytest

from pytest_diffprivacy.assertions.prompts import _notes
from pytest_diffprivacy.models import load_model
from tests.models import family_builders as build


@pytest.mark.parametrize("name", ["flux", "stable_diffusion_3"])
def test_the_record_says_where_the_empty_prompt_stands_in_for_an_unconditional_branch(name):
    model = load_model(getattr(build, name)(), resolution=16)
    notes = " ".join(_notes(SimpleNamespace(model=model, sides=()), {}))
    assert "own scheduler is FlowMatchEulerDiscreteScheduler; detectors walk by deterministic DDIM" in notes
    said = "Guidance was distilled into the network" in notes and "the empty prompt stands in" in notes
    assert said == (name == "flux") == model.identity.family.endswith("guidance-distilled")
