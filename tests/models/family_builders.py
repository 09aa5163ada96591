"""Tiny pipelines with random weights, one for each family that is audited, built of the family's own classes."""

import torch
from diffusers import (
    AutoencoderKL,
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMPipeline,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    KandinskyV22CombinedPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PriorTransformer,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.models.text_builders import golden_pipeline

torch.set_num_threads(1)

WIDTH = 16
SIDE = 8


def seeded(build, seed=0):
    """What `build` returns, with weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def clip_tokenizer():
    return golden_pipeline().tokenizer


def clip(kind=CLIPTextModel, *, width=WIDTH, seed=1):
    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, projection_dim=width,
        vocab_size=len(clip_tokenizer()), bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return seeded(lambda: kind(config), seed)


def autoencoder(channels=4, **settings):
    return seeded(
        lambda: AutoencoderKL(
            block_out_channels=(4, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=2, latent_channels=channels,
            sample_size=2 * SIDE, mid_block_add_attention=False, **settings,
        ),
        seed=2,
    )  # fmt: skip


def unet(**settings):
    return seeded(
        lambda: UNet2DConditionModel(
            sample_size=SIDE, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(1, 2), use_linear_projection=True, **{"cross_attention_dim": WIDTH} | settings,
        ),
        seed=3,
    )  # fmt: skip


def stable_diffusion():
    return golden_pipeline()


def stable_diffusion_xl(*, zeros=True, **scheduler):
    first, second = clip(), clip(CLIPTextModelWithProjection, seed=4)
    return StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 2.0, 0.5, 1.5]),
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            cross_attention_dim=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH, transformer_layers_per_block=1,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, **scheduler
        ),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )  # fmt: skip


def t5_tokenizer():
    words = sorted("abcdefghijklmnopqrstuvwxyz0123456789 ,.")
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w.replace(" ", "▁"), -2.0) for w in words)]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0)


def t5(*, width=WIDTH):
    config = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return seeded(lambda: T5EncoderModel(config), seed=5)


def stable_diffusion_3(*, t5_encoder=True, **scheduler):
    transformer = seeded(
        lambda: SD3Transformer2DModel(
            sample_size=SIDE, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=2 * WIDTH, caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * WIDTH, pos_embed_max_size=SIDE,
        ),
        seed=6,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0} | scheduler),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(CLIPTextModelWithProjection, seed=4),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(width=2 * WIDTH) if t5_encoder else None,
        tokenizer_3=t5_tokenizer() if t5_encoder else None,
    )


def flux(*, guidance=True):
    transformer = seeded(
        lambda: FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=guidance,
            axes_dims_rope=(4, 2, 2),
        ),
        seed=7,
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
    )


def pixart_transformer(width=WIDTH, **settings):
    return seeded(
        lambda: PixArtTransformer2DModel(
            **{"sample_size": SIDE, "attention_head_dim": width // 2} | settings, num_layers=1, patch_size=2,
            num_attention_heads=2, caption_channels=WIDTH, cross_attention_dim=width, in_channels=4, out_channels=8,
        ),
        seed=8,
    )  # fmt: skip


def pixart(*, width=WIDTH, **settings):
    return PixArtAlphaPipeline(
        transformer=pixart_transformer(width, **settings),
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
        vae=autoencoder(),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )


def pixart_sigma():
    return PixArtSigmaPipeline(
        transformer=pixart_transformer(use_additional_conditions=False, interpolation_scale=2),
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )


def latent_consistency():
    return LatentConsistencyModelPipeline(
        unet=unet(time_cond_proj_dim=16),
        scheduler=LCMScheduler(),
        vae=autoencoder(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def dit():
    transformer = seeded(
        lambda: DiTTransformer2DModel(
            sample_size=SIDE, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
            out_channels=8, num_embeds_ada_norm=1000,
        ),
        seed=9,
    )  # fmt: skip
    return DiTPipeline(transformer=transformer, vae=autoencoder(), scheduler=DDIMScheduler())


def pixels(channels=3, *, classes=None, **settings):
    return seeded(
        lambda: UNet2DModel(
            sample_size=SIDE, in_channels=channels, out_channels=channels, layers_per_block=1,
            block_out_channels=(8, 8), down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
            norm_num_groups=4, attention_head_dim=4, add_attention=False, num_class_embeds=classes, **settings,
        ),
        seed=10,
    )  # fmt: skip


def unconditional():
    return DDIMPipeline(unet=pixels(), scheduler=DDIMScheduler(clip_sample=False))


def consistency():
    return ConsistencyModelPipeline(unet=pixels(classes=4), scheduler=CMStochasticIterativeScheduler())


def kandinsky():
    decoder = seeded(
        lambda: UNet2DConditionModel(
            sample_size=SIDE, in_channels=4, out_channels=8, addition_embed_type="image", layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(8, 16), norm_num_groups=4,
            encoder_hid_dim=WIDTH, encoder_hid_dim_type="image_proj", cross_attention_dim=WIDTH, attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
        ),
        seed=11,
    )  # fmt: skip
    movq = seeded(
        lambda: VQModel(
            block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), latent_channels=4, layers_per_block=1,
            norm_num_groups=4, norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
        ),
        seed=12,
    )  # fmt: skip
    prior = seeded(
        lambda: PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=WIDTH, num_layers=1),
        seed=13,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=2,
        image_size=8, patch_size=4,
    )  # fmt: skip
    return KandinskyV22CombinedPipeline(
        unet=decoder,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        movq=movq,
        prior_prior=prior,
        prior_image_encoder=seeded(lambda: CLIPVisionModelWithProjection(vision), seed=14),
        prior_text_encoder=clip(CLIPTextModelWithProjection),
        prior_tokenizer=clip_tokenizer(),
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000, clip_sample_range=10.0
        ),
        prior_image_processor=CLIPImageProcessor(crop_size=8, do_resize=True, size=8),
    )
