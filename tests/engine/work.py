"""Units that other processes can be given: functions of this module and plain values."""

from __future__ import annotations

import os
import signal
import time
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pytest_diffprivacy.engine import Unit, Work
from pytest_diffprivacy.models import ideal_denoiser


def model():
    """A model that needs torch alone."""
    images = np.random.default_rng(3).random((20, 1, 4, 4))
    return ideal_denoiser(torch.from_numpy(images))


def noise_norm(number, model, batch_size):
    """Something that asks the model: the size of its answer to known noise."""
    x = torch.from_numpy(np.random.default_rng(number).normal(size=(8, *model.sample_shape))).to(model.dtype)
    parts = [model.predict_eps(part, 100).flatten(1).norm(dim=1) for part in x.split(batch_size)]
    return {"value": torch.cat(parts).double().numpy(), "process": np.array([os.getpid(), batch_size])}


def dies_once(number, marker: Path, model, batch_size):
    """Kills its own process the first time, and only one, however many come at once."""
    with suppress(FileExistsError):
        marker.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return noise_norm(number, model, batch_size)


def meets(number, folder: Path, model, batch_size):
    """Answers once units have come to two processes, or after a minute."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60.0
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return noise_norm(number, model, batch_size)


def too_large(number, fits, model, batch_size):
    if batch_size > fits:
        raise MemoryError("no room")
    return noise_norm(number, model, batch_size)


def broken(model, batch_size):
    raise ZeroDivisionError("in the model")


class Peculiar(Exception):
    """Cannot be unpickled: its words alone do not make it."""

    def __init__(self, *, needed):
        super().__init__(f"needs {needed}")


def peculiar(model, batch_size):
    raise Peculiar(needed=3)


def warns(number, model, batch_size):
    warnings.warn("prompts are too long", UserWarning, stacklevel=1)
    return noise_norm(number, model, batch_size)


def units(count, function=noise_norm, *arguments):
    return [unit(number, partial(function, number, *arguments)) for number in range(count)]


def bundles(count, size, function=noise_norm, *arguments):
    """`count` bundles of `size` units each, in a row."""
    return [unit(n, partial(function, n, *arguments), bundle=f"bundle {n // size}") for n in range(count * size)]


def unit(number, compute, **options):
    return Unit(f"unit {number}", {"method": "norm", "number": number}, compute, 8, **options)


def values(engine, model, asked, done=None):
    results = list(engine.run(model, asked, title="test", work=done or Work()))
    return np.array([arrays["value"] for arrays in results])
