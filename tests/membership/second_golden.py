"""The second set of reference values, a group at a time, and the models that they were computed with."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

from pytest_diffprivacy.models import NoiseSchedule, load_model
from tests.models.builders import GOLDEN

CAPTIONS = (
    "a cat on a red sofa in the sun",
    "two old boats near the harbour",
    "portrait of a woman with a hat",
    "a bowl of fruit on a table",
)
SECOND = Path(__file__).parents[1] / "golden" / "second"


@lru_cache(maxsize=4)
def golden(group):
    return load_file(SECOND / f"{group}.safetensors")


def golden_input(group, key):
    return golden(group)[f"inputs/{key}"]


@lru_cache(maxsize=4)
def golden_keys(group):
    return json.loads((SECOND / f"{group}.json").read_text("utf-8"))


def assert_agrees(group, key, found, dtype=torch.float32, rows=None):
    """The first rows of this precision's reference value, of float32 where float64 has none, within its tolerance."""
    values, tolerances = golden(group), golden_keys(group)[key]
    exact = dtype == torch.float64 and f"float64/{key}" in values
    expected = values[f"{'float64' if exact else 'float32'}/{key}"].double().numpy()
    suffix = "_float64" if exact else ""
    rtol, atol = (tolerances.get(name + suffix, tolerances.get(name, 0.0)) for name in ("rtol", "atol"))
    np.testing.assert_allclose(np.asarray(found), expected[:rows], rtol=rtol, atol=atol, err_msg=key)


def pixel_model(side, dtype):
    """The pixel model of the first set, whose network is convolutional, at another side."""
    unet = UNet2DModel.from_pretrained(GOLDEN / "unet", use_safetensors=True)
    unet.register_to_config(sample_size=side)
    model = load_model(unet, scheduler=DDPMScheduler.from_pretrained(GOLDEN / "scheduler"), dtype=dtype)
    if dtype == torch.float64:
        model.schedule = NoiseSchedule.linear()
    return model
