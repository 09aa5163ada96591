"""Training and measuring that other processes can be given, and that leave a file for every training."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from pytest_diffprivacy.membership import Measure, loss_measure
from pytest_diffprivacy.models import ideal_denoiser

IMAGES = torch.from_numpy(np.random.default_rng(3).random((12, 1, 4, 4), dtype=np.float32))


def train(folder: Path, indices, seed):
    """The ideal denoiser of the images; a file in `folder` names its seed and the process that trained it."""
    number = sum(path.name.startswith(f"{seed} ") for path in folder.iterdir())
    (folder / f"{seed} {number} {os.getpid()}").touch()
    end = time.monotonic() + 60.0
    while len({path.name.split()[-1] for path in folder.iterdir()}) < 2 and time.monotonic() < end:
        time.sleep(0.02)  # until the other worker has begun as well
    return ideal_denoiser(IMAGES[indices])


def train_or_die(folder: Path, marker: Path, indices, seed):
    """The same, but the third training kills its process, once."""
    model = train(folder, indices, seed)
    if len(list(folder.iterdir())) >= 3:
        die_once(marker)
    return model


def die_once(marker: Path):
    with suppress(FileExistsError):
        marker.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)


def brightness(model, images, *, batch_size, marker=None):
    """A second measure, which kills its process once where it is given a marker."""
    if marker is not None:
        die_once(Path(marker))
    eps = model.predict_eps(model.encode(images).to(model.dtype), 200)
    return eps.flatten(1).double().mean(1).numpy()


def measures(marker=None):
    return [loss_measure(draws=1), Measure("brightness", 1, brightness, {"marker": marker and str(marker)}, 1)]


def trainings(folder: Path):
    """How often each shadow was trained, by its seed, and by how many processes."""
    names = [path.name.split() for path in folder.iterdir()]
    seeds, counts = np.unique([int(seed) for seed, _, _ in names], return_counts=True)
    return dict(zip(seeds.tolist(), counts.tolist(), strict=True)), len({process for _, _, process in names})
