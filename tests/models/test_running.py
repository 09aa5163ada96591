"""Offloaded, quantized, autocast and tiled pipelines: what keeps working, and what is refused with the reason."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.membership import loss_scores
from pytest_diffprivacy.models import load_model
from tests.models.builders import tiny_unet
from tests.models.text_builders import golden_pipeline


def test_a_pipeline_that_accelerate_offloads_is_refused():
    accelerate = pytest.importorskip("accelerate")
    pipeline = golden_pipeline()
    accelerate.cpu_offload_with_hook(pipeline.unet, execution_device="cpu")
    with pytest.raises(ModelError, match=r"The unet is offloaded \(enable_model_cpu_offload.*remove_all_hooks"):
        load_model(pipeline)
    accelerate.hooks.remove_hook_from_module(pipeline.unet)
    assert load_model(pipeline).identity.device == "cpu"


def test_a_pipeline_that_offloads_layer_by_layer_is_refused():
    accelerate = pytest.importorskip("accelerate")
    pipeline = golden_pipeline()
    accelerate.cpu_offload(pipeline.unet, execution_device="cpu")
    with pytest.raises(ModelError, match="The unet is offloaded"):
        load_model(pipeline)


def test_a_network_placed_whole_on_a_device_keeps_working():
    accelerate = pytest.importorskip("accelerate")
    pipeline = golden_pipeline()
    accelerate.hooks.add_hook_to_module(pipeline.unet, accelerate.hooks.AlignDevicesHook(execution_device="cpu"))
    assert load_model(pipeline).identity.digest == load_model(golden_pipeline()).identity.digest


class Packed(torch.Tensor):
    """Stands for the weights of a library that packs them."""


def test_weights_without_plain_bytes_are_refused_by_name():
    pipeline = golden_pipeline()
    weight = pipeline.unet.conv_out.weight
    packed = torch.nn.Parameter(weight.detach().as_subclass(Packed), requires_grad=False)
    pipeline.unet.conv_out.weight = packed
    with pytest.raises(ModelError, match=r"unet is quantized: 'conv_out\.weight' is a Packed.*dequantize"):
        load_model(pipeline)


def test_dynamic_quantization_is_refused():
    pipeline = golden_pipeline()
    encoder = pipeline.text_encoder
    encoder.packed = type("Packed", (torch.nn.Module,), {"get_extra_state": lambda self: (1, 2)})()
    with pytest.raises(ModelError, match=r"text_encoder is quantized: 'packed\._extra_state' is a tuple"):
        load_model(pipeline)


def test_a_quantized_network_keeps_its_precision():
    pipeline = golden_pipeline()
    pipeline.unet.is_quantized = True
    assert load_model(pipeline).identity.dtype == "float32"
    with pytest.raises(ModelError, match=r"`dtype` must be None: the unet is quantized.*got torch\.float64"):
        load_model(pipeline, dtype="float64")


def eps_of(model):
    x = torch.randn(2, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    return model.predict_eps(x, 500, model.condition(["a cat", "a dog"], 2))


def test_weights_of_bitsandbytes_are_audited_as_they_are():
    library = pytest.importorskip("bitsandbytes")

    def quantize(module):
        for name, layer in module.named_children():
            if isinstance(layer, torch.nn.Linear):
                sizes = (layer.in_features, layer.out_features, layer.bias is not None)
                packed = library.nn.Linear8bitLt(*sizes, has_fp16_weights=False)
                packed.load_state_dict(layer.state_dict())
                setattr(module, name, packed)
            else:
                quantize(layer)

    pipeline, plain = golden_pipeline(), load_model(golden_pipeline())
    quantize(pipeline.unet)
    pipeline.unet.to("cpu")  # which packs the weights
    model = load_model(pipeline)
    assert model.identity.digest == load_model(pipeline).identity.digest != plain.identity.digest
    expected = eps_of(plain)
    apart = float((eps_of(model) - expected).norm() / expected.norm())
    assert 0.0 < apart < 0.05
    with pytest.raises(ModelError, match=r"`dtype` must be None: the unet is quantized.*got torch\.float64"):
        load_model(pipeline, dtype="float64")


@pytest.mark.filterwarnings("ignore")  # of the library's own import
def test_weights_of_torchao_are_refused_by_name():
    quantization = pytest.importorskip("torchao.quantization")
    pipeline = golden_pipeline()
    quantization.quantize_(pipeline.unet, quantization.Int8WeightOnlyConfig())
    with pytest.raises(ModelError, match=r"unet is quantized: .* is a Int8Tensor, whose bytes have no digest"):
        load_model(pipeline)


@pytest.mark.parametrize("make", [golden_pipeline, tiny_unet])
def test_autocast_is_refused_because_records_would_name_another_precision(make):
    scheduler = {"scheduler": DDPMScheduler()} if make is tiny_unet else {}
    model = load_model(make(), **scheduler)
    images = torch.rand(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ModelError, match=r"inside torch\.autocast.*dtype=\.\.\."),
    ):
        loss_scores(model, images, draws=1)
    assert loss_scores(model, images, draws=1).shape == (1,)


def test_a_tiled_autoencoder_keeps_working_and_is_a_model_of_its_own():
    plain, pipeline = load_model(golden_pipeline()), golden_pipeline()
    pipeline.vae.enable_tiling()
    model = load_model(pipeline)
    images = torch.rand(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.encode(images), plain.encode(images), atol=1e-5)  # smaller than a tile
    assert model.identity.digest != plain.identity.digest
    pipeline.vae.tile_sample_min_size *= 2
    other = load_model(pipeline)
    assert other.identity.digest not in (model.identity.digest, plain.identity.digest)
