"""What a record says of the model that prompts were shown to."""

import pytest

from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.sources.prompts import model_notes
from tests.models import family_builders as build


@pytest.mark.parametrize("name", ["flux", "stable_diffusion_3"])
def test_the_record_says_where_the_empty_prompt_stands_in_for_an_unconditional_branch(name):
    model = load_model(getattr(build, name)(), resolution=16)
    notes = " ".join(model_notes(model, ()))
    assert "own scheduler is FlowMatchEulerDiscreteScheduler; detectors walk by deterministic DDIM" in notes
    said = "Guidance was distilled into the network" in notes and "the empty prompt stands in" in notes
    assert said == (name == "flux") == model.identity.family.endswith("guidance-distilled")
