"""A faster arithmetic says how far it leads away from float32, and the plain one is left alone."""

from __future__ import annotations

import pytest
import torch

from pytest_diffprivacy.audit.recording import model_record
from pytest_diffprivacy.engine.recorder import Recorder
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.running import deviation, in_arithmetic, sampled_eps
from tests.engine.work import units
from tests.models.builders import golden_model, population_model


def test_half_precision_is_measured_against_float32():
    loaded = []

    def load(dtype):
        loaded.append(dtype)
        return golden_model(dtype)

    model = in_arithmetic(load, torch.bfloat16, channels_last=False)
    assert loaded == [torch.float32, torch.bfloat16]
    assert model.identity.dtype == "bfloat16"
    difference = sampled_eps(model) - sampled_eps(golden_model())
    relative = float(difference.norm() / sampled_eps(golden_model()).norm())
    assert 1e-4 < relative < 0.1
    assert model.identity.deviation.startswith(f"eps differs from float32 by {relative:.2g} (RMS, relative; ")
    assert model_record(model.identity).deviation == model.identity.deviation


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_the_plain_arithmetic_is_loaded_once_and_not_measured(dtype):
    loaded = []
    model = in_arithmetic(lambda d: loaded.append(d) or golden_model(), dtype, channels_last=False)
    assert loaded == [dtype]
    assert (model.identity.layout, model.identity.deviation) == ("", "")


def test_channels_last_lies_otherwise_and_changes_rounding_only(tmp_path):
    model = in_arithmetic(golden_model, torch.float32, channels_last=True)
    weights = [p for p in model.network.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    torch.testing.assert_close(sampled_eps(model), sampled_eps(golden_model()), rtol=1e-4, atol=1e-5)
    assert (model.identity.layout, model.identity.dtype) == ("channels last", "float32")
    recorder, (unit,) = Recorder(Store(tmp_path)), units(1)
    assert recorder.key(model, unit) != recorder.key(golden_model(), unit)


def test_what_is_infinite_is_said_and_not_averaged():
    reference = torch.ones((3, 4, 2), dtype=torch.float64)
    assert deviation(torch.full_like(reference, torch.nan), reference) == (
        "eps is not finite on a sample where it is in float32"
    )
    assert deviation(reference * 1.5, reference) == (
        "eps differs from float32 by 0.5 (RMS, relative; 0.5 at most) on 4 inputs at 3 timesteps"
    )


def test_an_object_is_not_laid_out_anew():
    with pytest.raises(ModelError, match="`channels_last` must be left out for an object"):
        load_model(population_model(), channels_last=True)
