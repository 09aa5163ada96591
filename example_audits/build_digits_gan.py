"""Where does the example GAN come from? A small DCGAN, trained on the same rows as `digits-leaky`.

Writes, below `--out`, `digits-gan/generator.safetensors`: the averaged weights of the generator after 2,000 steps on
the 360 members of `digits-leaky`, each as often as that model saw it (`digits_splits.json`). It is a target for the
black-box claims: `digits_gan.py` makes it a generator of images by seed.

    python build_digits_gan.py --out .
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from build_digits import digit_images
from digits_gan import LATENT, make_generator
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

THREADS = 1  # part of the recipe: sums in another order round differently
STEPS = 2000
BATCH = 64
SEED = 14


def make_discriminator() -> nn.Module:
    """Three convolutions with spectral norm; 8x8 images in [-1, 1] to one number."""
    return nn.Sequential(
        spectral_norm(nn.Conv2d(1, 32, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(32, 64, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(64, 64, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        spectral_norm(nn.Linear(64 * 2 * 2, 1)),
    )


def train(data: torch.Tensor) -> nn.Module:
    """Hinge loss, Adam with two time scales; returns the generator with averaged weights."""
    torch.manual_seed(SEED)
    noise = torch.Generator().manual_seed(SEED)
    generator, discriminator = make_generator(), make_discriminator()
    averaged = copy.deepcopy(generator)
    slow = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9))
    fast = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.0, 0.9))
    started = time.perf_counter()
    for step in range(1, STEPS + 1):
        real = data[torch.randint(len(data), (BATCH,), generator=noise)]
        fake = generator(torch.randn(BATCH, LATENT, generator=noise))
        loss = torch.relu(1 - discriminator(real)).mean() + torch.relu(1 + discriminator(fake.detach())).mean()
        fast.zero_grad()
        loss.backward()
        fast.step()
        slow.zero_grad()
        (-discriminator(generator(torch.randn(BATCH, LATENT, generator=noise))).mean()).backward()
        slow.step()
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), generator.parameters(), strict=True):
                mean.lerp_(value, 1e-2)
            for mean, value in zip(averaged.buffers(), generator.buffers(), strict=True):
                mean.copy_(value)
        if step % 250 == 0:
            print(f"step {step}  loss {loss.item():.3f}  {time.perf_counter() - started:.0f} s", flush=True)
    return averaged.eval()


def main() -> None:
    """Train once and write the generator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    split = json.loads((Path(__file__).parent / "digits_splits.json").read_text(encoding="utf-8"))["digits-leaky"]
    rows = np.repeat(split["members"], split["repetitions"])
    averaged = train(torch.from_numpy(digit_images()[rows]))
    folder = arguments.out / "digits-gan"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in averaged.state_dict().items()}, folder / "generator.safetensors")


if __name__ == "__main__":
    main()
