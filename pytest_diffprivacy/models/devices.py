"""Where can a model run, and which device does a pytest-xdist worker's model go to? Each worker has one of its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from pytest_diffprivacy.errors import ModelError, SharedDevice

WORKER, WORKERS = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"


def worker_device(device: str, environment: Mapping[str, str], gpus: int) -> str:
    """The device of this process: "cuda" is given out in turn between the workers of pytest-xdist.

    Args:
        device: what was asked for, e.g. "cuda" or "cuda:0".
        environment: the environment variables, in which pytest-xdist numbers its workers.
        gpus: GPUs that torch sees.

    Warns:
        SharedDevice: several workers put their models on one GPU.
    """
    count = int(environment.get(WORKERS, "1"))
    if count == 1 or device.partition(":")[0] != "cuda":
        return device
    if device != "cuda" or count > gpus:
        shared = "one GPU" if device != "cuda" or gpus == 1 else f"{gpus} GPUs"
        warnings.warn(
            f"{count} pytest-xdist workers share {shared}, each with a model of its own. Use -n for as many workers as "
            "GPUs and the device cuda, or one pytest process and --diffprivacy-workers.",
            SharedDevice,
            stacklevel=2,
        )
    number = int(environment.get(WORKER, "gw0").removeprefix("gw"))
    return f"cuda:{number % gpus}" if device == "cuda" and gpus else device


def check_device(device: object) -> None:
    """Refuse a device that is none, or that this machine does not have.

    Args:
        device: text such as "cuda:0", a torch.device, or None for wherever the model is.

    Raises:
        ModelError: it cannot hold a tensor.
    """
    if device is None:
        return
    import torch

    try:
        torch.empty(0, device=device)  # type: ignore[call-overload]  # whatever was given
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(
            f"`device` must be one that torch has here, such as cpu, got {str(device)!r}: {str(error).splitlines()[0]}"
        ) from None
