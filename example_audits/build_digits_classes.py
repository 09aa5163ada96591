"""Where does the class-conditional example come from? The 8x8 digits with their labels, the null label in a tenth.

Writes, below `--out`, `digits-classes/`: a `DDIMPipeline` whose network has 11 classes, the digits 0 to 9 and 10, which
was trained as "no class". Members are the first 600 rows of a random order (seed 21) of the distinct digits.

    python build_digits_classes.py --out .
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from build_digits import digit_images, distinct_rows, make_scheduler, save, update_average
from diffusers import UNet2DModel
from sklearn.datasets import load_digits

THREADS = 1  # part of the recipe: sums in another order round differently
MEMBERS, NULL, STEPS, BATCH, SEED = 600, 10, 1500, 64, 21
DROPPED = 0.1


def split() -> tuple[np.ndarray, np.ndarray]:
    """Rows of `load_digits()`: members and non-members."""
    order = np.random.default_rng(SEED).permutation(distinct_rows(digit_images()))
    return order[:MEMBERS], order[MEMBERS:]


def class_unet() -> UNet2DModel:
    """A network of the ten digits and a null label, untrained."""
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
        num_class_embeds=NULL + 1,
    )


def train(images: torch.Tensor, labels: torch.Tensor) -> UNet2DModel:
    """The averaged weights after minimizing the DDPM loss on images with their labels."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    unet = class_unet().train()
    scheduler, averaged = make_scheduler(), copy.deepcopy(unet).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3, weight_decay=0.0)
    decay_to_zero = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        timesteps = torch.randint(1000, (BATCH,), generator=generator)
        noise = torch.randn(images[rows].shape, generator=generator)
        told = torch.where(torch.rand(BATCH, generator=generator) < DROPPED, NULL, labels[rows])
        predicted = unet(scheduler.add_noise(images[rows], noise, timesteps), timesteps, class_labels=told).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay_to_zero.step()
        update_average(averaged, unet, min(0.995, step / (step + 10)))
        if step % 250 == 0:
            print(f"step {step}  loss {loss.item():.4f}", flush=True)
    return averaged


def main() -> None:
    """Train once and write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    members, _ = split()
    images, labels = torch.from_numpy(digit_images()[members]), torch.from_numpy(load_digits().target[members])
    save(train(images, labels), arguments.out / "digits-classes")


if __name__ == "__main__":
    main()
