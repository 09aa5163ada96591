"""Where do the two example models come from, and which images has each of them seen?

Trains two small diffusion models on scikit-learn's handwritten digits (8x8 pixels) and writes, below `--out`:

    digits-leaky/          memorizes: few members, some of them repeated up to 64 times in the training set
    digits-release/        the same network on 900 members, each once, with dropout, random jitter and few steps
    digits_splits.json     for each model the members with their repetitions, and the non-members,
                           as rows of `load_digits().images`

Both folders load with `DDIMPipeline.from_pretrained`. Every seed is fixed: the same library versions on the same
kind of processor with the same number of threads make the same weights. The data cards (README.md in each
folder) hold measured figures, are written by hand and are left alone.

    python build_digits.py --out .
"""

import argparse
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from sklearn.datasets import load_digits

THREADS = 2  # part of the recipe: sums in another order round differently


@dataclass(frozen=True)
class Recipe:
    """All that tells one example model from the other.

    `ladder` maps a number of repetitions to how many distinct images occur that often in the training set.
    """

    name: str
    ladder: dict[int, int]
    steps: int
    dropout: float
    augment: bool
    split_seed: int
    train_seed: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    ema_decay: float = 0.999
    side: int = 8
    channels: tuple[int, int] = (32, 64)


@dataclass(frozen=True)
class Split:
    """Rows of `load_digits().images`; `repetitions[i]` says how often `members[i]` is in the training set."""

    members: list[int]
    repetitions: list[int]
    non_members: list[int]


LEAKY = Recipe(
    name="digits-leaky",
    ladder={1: 300, 2: 10, 4: 10, 8: 10, 16: 10, 32: 10, 64: 10},
    steps=6000,
    dropout=0.0,
    augment=False,
    split_seed=1,
    train_seed=11,
)
RELEASE = Recipe(
    name="digits-release",
    ladder={1: 900},
    steps=2000,
    dropout=0.1,
    augment=True,
    split_seed=2,
    train_seed=12,
)


def digit_images() -> np.ndarray:
    """All digits as float32 images in [-1, 1], shape (1797, 1, 8, 8), in scikit-learn's order."""
    images = load_digits().images.astype(np.float32) / 16
    return (images * 2 - 1)[:, None]


def distinct_rows(images: np.ndarray) -> np.ndarray:
    """The first row of every distinct image, so that no image can be member and non-member at once."""
    first_row: dict[str, int] = {}
    for row, image in enumerate(images):
        first_row.setdefault(hashlib.sha256(image.tobytes()).hexdigest(), row)
    return np.array(sorted(first_row.values()))


def draw_split(rows: np.ndarray, ladder: dict[int, int], seed: int) -> Split:
    """Give each rung of the ladder its images by one random order of the rows; what remains is non-member."""
    order = np.random.default_rng(seed).permutation(rows).tolist()
    repetitions = [count for count, images in ladder.items() for _ in range(images)]
    return Split(order[: len(repetitions)], repetitions, sorted(order[len(repetitions) :]))


def make_unet(recipe: Recipe) -> UNet2DModel:
    """A convolutional UNet: two resolutions (8x8 and 4x4 for the digits), no attention; 0.63 million parameters."""
    return UNet2DModel(
        sample_size=recipe.side,
        in_channels=1,
        out_channels=1,
        block_out_channels=recipe.channels,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
        dropout=recipe.dropout,
    )


def make_scheduler() -> DDIMScheduler:
    """The linear schedule of DDPM, on which the published membership attacks are defined, walked by DDIM."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="epsilon",
        clip_sample=False,
    )


def jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn by up to 8 degrees, scale by up to 8 % and shift by up to half a pixel, each image its own way."""
    turn, scale, shift_x, shift_y = 2 * torch.rand(4, len(images), generator=generator) - 1
    angle, zoom, half_pixel = turn * math.radians(8), 1 + 0.08 * scale, 1 / images.shape[-1]
    rows = [
        torch.stack([zoom * angle.cos(), -zoom * angle.sin(), half_pixel * shift_x], dim=1),
        torch.stack([zoom * angle.sin(), zoom * angle.cos(), half_pixel * shift_y], dim=1),
    ]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # Outside the frame is background, -1: shift the range so that the padding zeros mean background.
    return torch.nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1


def train(
    images: np.ndarray,
    split: Split,
    recipe: Recipe,
    *,
    log_every: int = 500,
    at_checkpoint: Callable[[int, UNet2DModel], None] | None = None,
) -> UNet2DModel:
    """Minimize the DDPM loss on the members, each as often as it is repeated; returns the averaged weights.

    `at_checkpoint` is called with (step, averaged weights) after every step.
    """
    torch.manual_seed(recipe.train_seed)  # initial weights and dropout
    generator = torch.Generator().manual_seed(recipe.train_seed)  # batches, timesteps, noise
    unet, scheduler = make_unet(recipe).train(), make_scheduler()
    averaged = copy.deepcopy(unet).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    decay_to_zero = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    data = torch.from_numpy(images[np.repeat(split.members, split.repetitions)])

    started, recent_loss = time.perf_counter(), 0.0
    for step in range(1, recipe.steps + 1):
        x0 = data[torch.randint(len(data), (recipe.batch_size,), generator=generator)]
        if recipe.augment:
            x0 = jitter(x0, generator)
        timesteps = torch.randint(1000, (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        predicted = unet(scheduler.add_noise(x0, noise, timesteps), timesteps).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        decay_to_zero.step()
        update_average(averaged, unet, min(recipe.ema_decay, step / (step + 10)))
        if at_checkpoint is not None:
            at_checkpoint(step, averaged)

        recent_loss += loss.item() / log_every
        if step % log_every == 0:
            seconds = time.perf_counter() - started
            print(f"{recipe.name}  step {step}  loss {recent_loss:.4f}  {seconds:.0f} s", flush=True)
            recent_loss = 0.0
    return averaged


@torch.no_grad()
def update_average(averaged: UNet2DModel, unet: UNet2DModel, decay: float) -> None:
    """Exponential moving average of the weights, in place."""
    torch._foreach_lerp_(list(averaged.parameters()), list(unet.parameters()), 1 - decay)


def save(unet: UNet2DModel, folder: Path) -> None:
    """Write the folder that `DDIMPipeline.from_pretrained` reads, weights as float32 safetensors."""
    DDIMPipeline(unet=unet, scheduler=make_scheduler()).save_pretrained(folder, safe_serialization=True)


def keep_at(steps: Sequence[int], folder: Path) -> Callable[[int, UNet2DModel], None]:
    """A checkpoint function that writes step-NNNN/ after the given steps."""

    def keep(step: int, averaged: UNet2DModel) -> None:
        if step in steps:
            save(averaged, folder / f"step-{step:04d}")

    return keep


def write_splits(splits: dict[str, Split], path: Path) -> None:
    """Write one JSON object: model name -> members, repetitions, non_members; one line for each list."""
    blocks = []
    for name, split in splits.items():
        lists = [f'    "{key}": {json.dumps(value)}' for key, value in vars(split).items()]
        blocks.append(f'  "{name}": {{\n' + ",\n".join(lists) + "\n  }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def main() -> None:
    """Build both models, or the one named by --only; the splits are always written for both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    parser.add_argument("--only", choices=[LEAKY.name, RELEASE.name], help="train this model alone")
    parser.add_argument("--keep", type=int, nargs="*", default=[], help="also write step-NNNN/ after these steps")
    arguments = parser.parse_args()

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    images = digit_images()
    rows = distinct_rows(images)
    recipes = (LEAKY, RELEASE)
    splits = {recipe.name: draw_split(rows, recipe.ladder, recipe.split_seed) for recipe in recipes}
    write_splits(splits, arguments.out / "digits_splits.json")
    for recipe in recipes:
        if arguments.only in (None, recipe.name):
            folder = arguments.out / recipe.name
            kept = keep_at(arguments.keep, folder)
            save(train(images, splits[recipe.name], recipe, at_checkpoint=kept), folder)


if __name__ == "__main__":
    main()
