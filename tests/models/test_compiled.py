"""A compiled network answers predictions by compiled code, and derivatives, attention and copies as it should.

PyTorch's own compiler takes a minute for the smallest UNet, so others stand in for it here. Most tests use `scaled`,
whose code is off by a thousandth: it is seen what compiled code answered and what it did not.
"""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.autograd import forward_ad

from pytest_diffprivacy.audit.recording import model_record
from pytest_diffprivacy.engine import Engine, ProcessExecutor, Unit, Work
from pytest_diffprivacy.engine.batches import evaluation_bytes
from pytest_diffprivacy.engine.processes import Place
from pytest_diffprivacy.engine.recorder import Recorder
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.membership import loss_scores, pia_scores, secmi_scores
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.models import compiled, load_model
from pytest_diffprivacy.models.compiled import COMPILED, as_it_is
from pytest_diffprivacy.models.running import in_arithmetic
from tests.engine.work import units
from tests.models import family_builders
from tests.models.builders import binary_images, population_model
from tests.models.text_builders import golden_pipeline, other_unet

pytestmark = pytest.mark.slow

OFF = 1.001


def scaled(graph, inputs):
    """A compiler whose code answers OFF times what the network answers."""
    return lambda *values: tuple(OFF * output for output in graph(*values))


def broken(graph, inputs):
    raise RuntimeError("No working C++ compiler found: (None, 'g++').\n\nMore about it.")


@pytest.fixture(scope="module", autouse=True)
def _forgetting():
    """What is compiled serves every network of its class, in this module and nowhere else."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def _compiler(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", scaled)


@pytest.fixture
def pair(ddpm_folder):
    """A model compiled, and not."""
    return load_model(ddpm_folder, compile=True), load_model(ddpm_folder)


@pytest.fixture
def text_pair():
    return built_pair(text_pipeline)


def text_pipeline():
    parts = golden_pipeline().components | {"unet": other_unet()}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def built_pair(build):
    model = in_arithmetic(lambda dtype: load_model(build(), dtype=dtype), torch.float32, compiled=True)
    return model, load_model(build())


@torch.no_grad()
def eps(model, rows=3, timestep=500):
    x = torch.randn(rows, *model.sample_shape, generator=torch.Generator().manual_seed(rows))
    return model.predict_eps(x.to(model.dtype), timestep, None)


def assert_off(found, expected):
    torch.testing.assert_close(found, OFF * expected, rtol=1e-5, atol=1e-6)


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_record_says_that_it_is_compiled_and_how_far_that_moves_eps(pair, tmp_path):
    model, plain = pair
    record = model_record(model.identity)
    assert record.layout == COMPILED
    assert record.deviation.startswith("eps differs from float32 by 0.001 (RMS, relative; ")
    assert record.digest == plain.identity.digest
    recorder, (unit,) = Recorder(Store(tmp_path)), units(1)
    assert recorder.key(model, unit) != recorder.key(plain, unit)


def test_one_code_serves_every_number_of_rows_and_every_timestep(pair):
    model, plain = pair
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows, timestep in [(2, 0), (5, 1), (9, 700), (14, 999)]:
            assert_off(eps(model, rows, timestep), eps(plain, rows, timestep))
    assert_off(eps(model, 1, 3), eps(plain, 1, 3))


def test_layout_and_precision_are_compiled_with_it(ddpm_folder):
    model = load_model(ddpm_folder, dtype="bfloat16", channels_last=True, compile=True)
    assert (model.identity.layout, model.identity.dtype) == (f"channels last, {COMPILED}", "bfloat16")
    plain = load_model(ddpm_folder, dtype="bfloat16")
    torch.testing.assert_close(eps(model), OFF * eps(plain), rtol=0.05, atol=0.05)


def test_scores_and_images_are_those_of_the_network(ddpm_folder, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    model, plain, images = load_model(ddpm_folder, compile=True), load_model(ddpm_folder), binary_images(6, seed=1)
    for scores in (loss_scores, secmi_scores, pia_scores):
        np.testing.assert_allclose(scores(model, images, batch_size=4), scores(plain, images), rtol=1e-5)
    torch.testing.assert_close(model.generate([1, 2], steps=3), plain.generate([1, 2], steps=3), rtol=1e-5, atol=1e-5)


def test_transformers_are_compiled_whole(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    seen = torch._dynamo.utils.counters
    seen.clear()
    assert_same(*map(eps, built_pair(family_builders.dit)))
    assert (seen["stats"]["unique_graphs"], dict(seen["graph_break"])) == (1, {})


def test_derivatives_are_those_of_the_network(pair):
    model, plain = pair
    x, tangent = torch.randn(2, 2, *model.sample_shape, generator=torch.Generator().manual_seed(5))
    for found, expected in zip(model.eps_jvp(x, 300, tangent), plain.eps_jvp(x, 300, tangent), strict=True):
        assert_same(found, expected)
    gradients = []
    for asked in pair:
        start = x.clone().requires_grad_()
        gradients += torch.autograd.grad(asked.predict_eps(start, 300).square().sum(), start)
    assert_same(*gradients)
    with torch.no_grad():
        expected = plain.predict_eps(x, 300)
        assert_same(torch.func.vmap(lambda row: model.predict_eps(row[None], 300)[0])(x), expected)
        with forward_ad.dual_level():
            assert_same(model.predict_eps(x, 300), expected)
        assert_off(model.predict_eps(x, 300), expected)


def test_attention_is_read_and_edited_as_without_compilation(text_pair):
    model, plain = text_pair
    with model.cross_attention(maps=1) as found, plain.cross_attention(maps=1) as expected:
        assert_same(eps(model), eps(plain))
    assert_same(found.tokens, expected.tokens)
    assert_same(found.maps[0], expected.maps[0])
    with model.cross_attention(edit=torch.zeros_like), plain.cross_attention(edit=torch.zeros_like):
        edited = eps(plain)
        assert_same(eps(model), edited)
    assert float((edited - eps(plain)).abs().max()) > 1e-3
    assert_off(eps(model), eps(plain))


@pytest.mark.parametrize(
    ("name", "parameters", "factor", "tolerance"),
    [
        ("hessian_score", {"derivative": "forward"}, OFF, 1e-5),  # the network's product with the code's direction
        ("hessian_score", {}, OFF**2, 4e-4),  # both are the code's, and a difference is rounded
        ("score_difference", {}, OFF, 1e-5),
        ("attention_entropy", {"last": 2}, 1.0, 1e-5),
        ("layerwise_entropy", {"layer": 1}, 1.0, 1e-5),
        ("bright_ending", {}, 1.0, OFF - 1.0),  # its attention is the network's, the walk to it the code's
    ],
)
def test_detectors_find_what_they_find_without_compilation(text_pair, name, parameters, factor, tolerance):
    asked = {"it": DETECTORS[name](**parameters)}
    found, expected = (
        asked["it"].scores(watch_prompts(model, ["a dog on the moon", "cat"], asked, PromptSampling(2, 3))["it"])
        for model in text_pair
    )
    np.testing.assert_allclose(found, factor * expected, rtol=tolerance)


def test_a_block_runs_the_network_as_it_is(pair):
    model, plain = pair
    with as_it_is():
        assert_same(eps(model), eps(plain))
    assert_off(eps(model), eps(plain))
    assert evaluation_bytes(model) == evaluation_bytes(plain) > 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_compiled_with_weights_of_its_own(pair, copied):
    model, plain = pair
    other = copied(model)
    assert_off(eps(other), eps(plain))
    for parameter in other.network.parameters():
        parameter.mul_(0.5)
    assert float((eps(other) - eps(model)).abs().max()) > 1e-2
    assert_off(eps(model), eps(plain))


def answer(rows, model, batch_size):
    return {"value": eps(model, rows).double().numpy()}


def test_a_worker_process_compiles_anew(pair, tmp_path):
    model, plain = pair
    crew = ProcessExecutor([Place(1)])
    try:
        asked = [Unit("eps", None, partial(answer, 3), 1)]
        (arrays,) = Engine(Store(tmp_path), start=lambda: crew).run(model, asked, title="test", work=Work())
    finally:
        crew.close()
    assert_off(torch.from_numpy(arrays["value"]), eps(plain).double())


def test_what_has_no_network_to_compile_is_refused_with_the_cure():
    for source in (population_model(), family_builders.unconditional()):
        with pytest.raises(ModelError, match=r"`compile` must be left out for an object.*save_pretrained.*its folder"):
            load_model(source, compile=True)
    with pytest.raises(ModelError, match="`compile` must be left out for a model that only generates"):
        in_arithmetic(lambda dtype: population_model(), None, compiled=True)


def test_where_the_compiler_fails_the_error_names_cause_and_cure(ddpm_folder, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", broken)
    with pytest.raises(ModelError) as caught:
        load_model(ddpm_folder, compile=True)
    assert str(caught.value) == (
        "The UNet2DModel cannot be compiled: RuntimeError: No working C++ compiler found: (None, 'g++'). Leave out "
        "`compile` (--diffprivacy-compile), or install what the compiler needs: a C++ compiler such as g++ on a CPU, "
        "Triton on a GPU."
    )


def test_input_that_the_network_refuses_is_refused_as_without_compilation(pair):
    x = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    messages = []
    for model in pair:
        with torch.no_grad(), pytest.raises(RuntimeError) as caught:
            model.predict_eps(x, 3)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "type" in messages[0]
