"""Where do the three text-to-image example models come from, and how was their memorization made?

Trains complete Stable Diffusion pipelines on 64x64 OpenMoji pictures (see emoji_data.py) and writes, below `--out`:

    emoji-leaky/       memorizes: 120 prompts with one picture each, repeated; 40 prompts whose pictures share one half
    emoji-release/     the same data with its copies and near-copies taken out, jittered, with few steps
    emoji-v/           memorizes as well, but predicts v and is smaller: for tests of the conversion
    emoji.npz          every picture that audits need, with its prompt; no renderer is needed to read it

All share one autoencoder, trained on pictures of its own. Each folder loads with
`StableDiffusionPipeline.from_pretrained`. Seeds and the number of threads are fixed. The data cards (README.md in each
folder) hold measured figures, are written by hand and are left alone. Needs the extra `build` for the renderer.

    python build_emoji.py --out .
"""

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from emoji_data import SIDE, EmojiSet, draw_sets, draw_strangers
from emoji_parts import (
    encode,
    make_autoencoder,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    pipeline,
    save,
    to_tensor,
    tokenize,
)
from transformers import CLIPTokenizer

THREADS = 1  # part of the recipe: sums in another order round differently
AUTOENCODER_IMAGES, AUTOENCODER_STEPS, AUTOENCODER_RATE, AUTOENCODER_SEED = 6000, (5600, 800), 3e-3, 21
DECODER_STEPS, DECODER_RATE, DECODER_SEED = 4000, 1.5e-3, 22


@dataclass(frozen=True)
class Recipe:
    """All that tells one example model from the other.

    `exact` and `partial` say how often the picture of an exact prompt, and each picture of a partial prompt, stands in
    the training set; `partial_pictures` how many of a partial prompt's pictures are kept.
    """

    name: str
    exact: int
    partial: int
    partial_pictures: int
    steps: int
    train_seed: int
    prediction: str = "epsilon"
    width: tuple[int, int] = (48, 64)
    jitter: bool = False
    dropout: float = 0.0
    batch_size: int = 48
    learning_rate: float = 3e-3
    ema_decay: float = 0.999
    blank_share: float = 0.1


LEAKY = Recipe(name="emoji-leaky", exact=60, partial=3, partial_pictures=24, steps=10_000, train_seed=31)
RELEASE = Recipe(
    name="emoji-release", exact=1, partial=1, partial_pictures=1, steps=3000, train_seed=32, jitter=True, dropout=0.1
)
V_PREDICTION = Recipe(
    name="emoji-v",
    exact=60,
    partial=3,
    partial_pictures=24,
    steps=3000,
    train_seed=33,
    prediction="v_prediction",
    width=(32, 48),
)


def train_autoencoder(images: torch.Tensor, *, log_every: int = 250) -> AutoencoderKL:
    """Minimize the error of pictures in [-1, 1]; first on quarter crops, which cost a quarter, then on whole pictures.

    The scaling factor is one over the latents' standard deviation, as Stable Diffusion's is.
    """
    torch.manual_seed(AUTOENCODER_SEED)
    generator = torch.Generator().manual_seed(AUTOENCODER_SEED)
    autoencoder = make_autoencoder().train()
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=AUTOENCODER_RATE, weight_decay=0.0, fused=True)
    total = sum(AUTOENCODER_STEPS)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, AUTOENCODER_RATE, total_steps=total, pct_start=0.05)
    started, recent = time.perf_counter(), 0.0
    for step in range(1, total + 1):
        x = images[torch.randint(len(images), (16,), generator=generator)]
        if step <= AUTOENCODER_STEPS[0]:
            top, left = torch.randint(SIDE // 2 + 1, (2,), generator=generator).tolist()
            x = x[:, :, top : top + SIDE // 2, left : left + SIDE // 2]
        with torch.autocast("cpu", torch.bfloat16):
            posterior = autoencoder.encode(x).latent_dist
            decoded = autoencoder.decode(posterior.mode()).sample.float()
        error = decoded - x
        # The pull towards a unit normal keeps latents in range; decoding the mode keeps pictures sharp.
        loss = error.abs().mean() + 0.3 * error.pow(2).mean() + 1e-6 * posterior.kl().float().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
        rate.step()
        recent += error.pow(2).mean().item() / log_every
        if step % log_every == 0:
            seconds = time.perf_counter() - started
            print(f"autoencoder  step {step}  RMS in [0, 1] {recent**0.5 / 2:.4f}  {seconds:.0f} s", flush=True)
            recent = 0.0
    autoencoder = autoencoder.eval().requires_grad_(False)
    autoencoder.register_to_config(scaling_factor=float(1.0 / encode(autoencoder, images[:1000]).std()))
    return autoencoder


def sharpen_decoder(autoencoder: AutoencoderKL, images: torch.Tensor, *, log_every: int = 250) -> AutoencoderKL:
    """Train the decoder further by the squared error alone; the encoder, and with it every latent, stays as it is."""
    torch.manual_seed(DECODER_SEED)
    generator = torch.Generator().manual_seed(DECODER_SEED)
    latents = encode(autoencoder, images)
    parts = (autoencoder.post_quant_conv, autoencoder.decoder)
    parameters = [p.requires_grad_() for part in parts for p in part.train().parameters()]
    averaged = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=DECODER_RATE, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, DECODER_RATE, total_steps=DECODER_STEPS, pct_start=0.05)
    started, recent = time.perf_counter(), 0.0
    for step in range(1, DECODER_STEPS + 1):
        chosen = torch.randint(len(images), (16,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = autoencoder.decode(latents[chosen]).sample.float()
        loss = torch.nn.functional.mse_loss(decoded, images[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1 - min(0.998, step / (step + 10)))
        recent += loss.item() / log_every
        if step % log_every == 0:
            seconds = time.perf_counter() - started
            print(f"decoder  step {step}  RMS in [0, 1] {recent**0.5 / 2:.4f}  {seconds:.0f} s", flush=True)
            recent = 0.0
    for parameter, average in zip(parameters, averaged, strict=True):
        parameter.requires_grad_(False).copy_(average)
    return autoencoder.eval()


def training_rows(sets: dict[str, EmojiSet], recipe: Recipe) -> EmojiSet:
    """The pictures of a training set, each as often as the recipe repeats it."""
    partial = sets["partial"]
    first = np.array([i for i in range(len(partial.prompts)) if partial_position(partial, i) < recipe.partial_pictures])
    parts = [
        (sets["exact"], np.repeat(np.arange(len(sets["exact"].prompts)), recipe.exact)),
        (partial, np.repeat(first, recipe.partial)),
        (sets["many"], np.arange(len(sets["many"].prompts))),
    ]
    return EmojiSet(
        np.concatenate([part.images[rows] for part, rows in parts]),
        [part.prompts[row] for part, rows in parts for row in rows],
    )


def partial_position(partial: EmojiSet, row: int) -> int:
    """Which of its prompt's pictures a row is; the rows of one prompt stand together."""
    return row - partial.prompts.index(partial.prompts[row])


def jittered(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the pictures and shift each by up to 4 pixels; the border is repeated."""
    mirrored = torch.where(torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5, images, images.flip(-1))
    padded = torch.nn.functional.pad(mirrored, (4, 4, 4, 4), mode="replicate")
    shifts = torch.randint(9, (len(images), 2), generator=generator).tolist()
    return torch.stack([p[:, y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(padded, shifts, strict=True)])


def train(
    rows: EmojiSet, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, recipe: Recipe, *, log_every: int = 500
) -> StableDiffusionPipeline:
    """Train UNet and text encoder together on the latents; returns a pipeline with averaged weights.

    A picture that stands in the training set several times is encoded once. With jitter, 16 variants of each are.
    """
    torch.manual_seed(recipe.train_seed)
    generator = torch.Generator().manual_seed(recipe.train_seed)
    text, unet = make_text_encoder(tokenizer), make_unet(recipe.width, recipe.dropout)
    parameters = [*unet.train().parameters(), *text.train().parameters()]
    average_text, average_unet = (copy.deepcopy(m).eval().requires_grad_(False) for m in (text, unet))
    averaged = [*average_unet.parameters(), *average_text.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.03
    )
    scheduler = make_scheduler(recipe.prediction)
    # Between the noise's own error and v's: what a prompt tells matters where there is almost only noise.
    weights = torch.ones(1000) if recipe.prediction == "v_prediction" else scheduler.alphas_cumprod.rsqrt()
    weights = weights / weights.mean()
    pictures, where = np.unique(rows.images, axis=0, return_inverse=True)
    images = to_tensor(pictures)
    variants = [jittered(images, generator) for _ in range(16)] if recipe.jitter else [images]
    latents = torch.stack([encode(autoencoder, v) for v in variants]) * autoencoder.config.scaling_factor
    which = torch.from_numpy(where.reshape(-1))
    ids = tokenize(tokenizer, rows.prompts)
    blank = tokenize(tokenizer, [""])[0]

    started, recent = time.perf_counter(), 0.0
    for step in range(1, recipe.steps + 1):
        chosen = torch.randint(len(which), (recipe.batch_size,), generator=generator)
        variant = torch.randint(len(latents), (recipe.batch_size,), generator=generator)
        x0 = latents[variant, which[chosen]]
        told = torch.where(
            torch.rand(recipe.batch_size, 1, generator=generator) < recipe.blank_share, blank, ids[chosen]
        )
        times = torch.randint(1000, (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        x_t = scheduler.add_noise(x0, noise, times)
        predicted = unet(x_t, times, encoder_hidden_states=text(told).last_hidden_state).sample
        target = scheduler.get_velocity(x0, noise, times) if recipe.prediction == "v_prediction" else noise
        loss = (weights[times] * (predicted - target).pow(2).mean((1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(recipe.ema_decay, step / (step + 10)))
        recent += loss.item() / log_every
        if step % log_every == 0:
            seconds = time.perf_counter() - started
            print(f"{recipe.name}  step {step}  loss {recent:.4f}  {seconds:.0f} s", flush=True)
            recent = 0.0
    return pipeline(average_unet, average_text, autoencoder, tokenizer, scheduler)


def write_pictures(sets: dict[str, EmojiSet], path: Path) -> None:
    """Every set as `NAME_images` and `NAME_prompts`."""
    arrays = {f"{name}_images": rows.images for name, rows in sets.items()}
    arrays |= {f"{name}_prompts": np.array(rows.prompts) for name, rows in sets.items()}
    np.savez_compressed(path, **arrays)


def main() -> None:
    """Build all models, or those named by --only; pictures and autoencoder are always made."""
    recipes = {recipe.name: recipe for recipe in (LEAKY, RELEASE, V_PREDICTION)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    parser.add_argument("--only", choices=list(recipes), nargs="*", default=list(recipes), help="train these models")
    parser.add_argument("--threads", type=int, default=THREADS, help="processor threads")
    parser.add_argument("--autoencoder", type=Path, help="a pipeline folder whose autoencoder to use")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = draw_sets()
    write_pictures(sets, arguments.out / "emoji.npz")
    if arguments.autoencoder:
        autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder / "vae", torch_dtype=torch.float32)
    else:
        strangers = to_tensor(draw_strangers(AUTOENCODER_IMAGES))
        autoencoder = sharpen_decoder(train_autoencoder(strangers), strangers)
        autoencoder.save_pretrained(arguments.out / "autoencoder" / "vae")
    for name in arguments.only:
        recipe = recipes[name]
        rows = training_rows(sets, recipe)
        tokenizer = make_tokenizer(
            sets["exact"].prompts + sets["partial"].prompts + sets["many"].prompts, arguments.out / name / "tokenizer"
        )
        save(train(rows, autoencoder, tokenizer, recipe), arguments.out / name)


if __name__ == "__main__":
    main()
