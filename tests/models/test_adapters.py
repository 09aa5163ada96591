"""Base, base with an adapter, and the adapter at another scale are three models, and records name what was loaded."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model

from pytest_diffprivacy.audit.recording import model_record
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import load_model
from tests.models.builders import tiny_unet
from tests.models.text_builders import golden_pipeline

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def with_lora(pipeline=None, *, name="style", seed=0, rank=2, text=False):
    """A pipeline with a random LoRA that changes its images."""
    pipeline = pipeline or golden_pipeline()
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=False, target_modules=TARGETS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline.unet.add_adapter(config, name)
        if text:
            targets = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=False, target_modules=["q_proj"])
            inject_adapter_in_model(targets, pipeline.text_encoder, name)
    return pipeline


@pytest.fixture(scope="module")
def base():
    return load_model(golden_pipeline())


@pytest.mark.slow
def test_an_adapter_is_named_hashed_and_part_of_the_digest(base):
    model = load_model(with_lora(text=True))
    (adapter,) = model.identity.adapters
    assert (adapter.name, adapter.kind, adapter.scale) == ("style", "LoRA", "1")
    tuned = [*model.named_parameters(), *model._frozen.call.text_encoder.named_parameters()]
    assert adapter.parameters == sum(p.numel() for name, p in tuned if "lora_" in name)
    assert model.identity.digest != base.identity.digest
    assert base.identity.adapters == ()
    assert model_record(model.identity).adapters[0].digest == adapter.digest
    x = torch.randn(1, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model.predict_eps(x, 300), base.predict_eps(x, 300))


@pytest.mark.slow
def test_the_digest_follows_the_weights_and_the_scale_but_not_the_name(base):
    plain = load_model(with_lora())
    renamed, other = load_model(with_lora(name="another")), load_model(with_lora(seed=1))
    pipeline = with_lora()
    pipeline.set_adapters(["style"], [0.5])
    half = load_model(pipeline)
    assert renamed.identity.digest == plain.identity.digest
    assert len({m.identity.digest for m in (base, plain, other, half)}) == 4
    assert half.identity.adapters[0].scale == "0.5"
    assert half.identity.adapters[0].digest == plain.identity.adapters[0].digest != other.identity.adapters[0].digest


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
@pytest.mark.slow
def test_what_is_switched_off_is_not_there_and_several_are_told_apart(base):
    pipeline = with_lora(with_lora(), name="second", seed=1)
    pipeline.set_adapters(["style", "second"], [1.0, 0.25])
    assert [(a.name, a.scale) for a in load_model(pipeline).identity.adapters] == [("style", "1"), ("second", "0.25")]
    pipeline.set_adapters(["style"], [1.0])
    assert load_model(pipeline).identity.digest == load_model(with_lora()).identity.digest
    pipeline.disable_lora()
    assert load_model(pipeline).identity.digest == base.identity.digest


@pytest.mark.slow
def test_a_saved_adapter_is_the_same_when_it_is_loaded_again(tmp_path):
    pipeline = with_lora()
    pipeline.save_lora_weights(
        tmp_path, unet_lora_layers=get_peft_model_state_dict(pipeline.unet, adapter_name="style")
    )
    again = golden_pipeline()
    again.load_lora_weights(tmp_path, adapter_name="again", use_safetensors=True)
    assert load_model(again).identity.digest == load_model(pipeline).identity.digest


@pytest.mark.slow
def test_a_fused_adapter_is_part_of_the_weights(base):
    pipeline = with_lora()
    pipeline.fuse_lora()
    fused = load_model(pipeline)
    assert fused.identity.adapters == ()
    pipeline.unload_lora_weights()
    assert load_model(pipeline).identity.digest == fused.identity.digest != base.identity.digest


@pytest.mark.parametrize("change", ["loaded", "scaled", "switched off"])
def test_a_pipeline_that_changed_after_it_was_loaded_is_refused(change):
    pipeline = golden_pipeline() if change == "loaded" else with_lora()
    model = load_model(pipeline)
    if change == "loaded":
        with_lora(pipeline)
    elif change == "scaled":
        pipeline.set_adapters(["style"], [0.5])
    else:
        pipeline.disable_lora()
    with pytest.raises(ModelError, match=r"adapters of StableDiffusionPipeline were changed.*Call load_model again"):
        model.predict_eps(torch.zeros(1, *model.sample_shape), 300)
    with pytest.raises(ModelError, match="pipelines of their own"):
        model.generate([1], steps=1)


def test_a_textual_inversion_is_named_by_its_token(base):
    width = base.condition(None, 1)["encoder_hidden_states"].shape[-1]
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    pipeline = golden_pipeline()
    pipeline.load_textual_inversion({"<toy>": vectors[:2]})
    pipeline.load_textual_inversion({"<hat>": vectors[2]})
    model = load_model(pipeline)
    found = [(a.name, a.kind, a.scale, a.parameters) for a in model.identity.adapters]
    kind = "textual inversion"
    assert found == [("<toy> (tokenizer)", kind, "", 2 * width), ("<hat> (tokenizer)", kind, "", width)]
    assert len({a.digest for a in model.identity.adapters} | {model.identity.digest, base.identity.digest}) == 4
    pipeline.load_textual_inversion({"<fez>": vectors[1]})
    with pytest.raises(ModelError, match="were changed after load_model"):
        model.condition(["a <fez>"], 1)


def test_a_bare_unet_may_hold_an_adapter():
    unet = tiny_unet()
    plain = load_model(unet, scheduler=DDPMScheduler()).identity
    config = LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, target_modules=["conv1"])
    model = load_model(inject_adapter_in_model(config, unet, "tuned"), scheduler=DDPMScheduler())
    assert [(a.name, a.scale) for a in model.identity.adapters] == [("tuned", "2")]
    assert model.identity.digest != plain.digest
    assert load_model(tiny_unet(), scheduler=DDPMScheduler()).identity.digest == plain.digest
