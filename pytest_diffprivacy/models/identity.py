"""Identity of a model: name, family and a digest of weights and configuration that a third person can recompute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

UNKNOWN_DIGEST = "unknown"
"""Of a model that cannot say what its images depend on: nothing that it computes is stored or reused."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """What was loaded on top of a model and changes its images.

    Attributes:
        name: as it was loaded.
        kind: "LoRA" or "textual inversion".
        digest: sha256 over its weights.
        scale: factor of its layers, or the range of them; empty where it has none.
        parameters: number of its scalars.
    """

    name: str
    kind: str
    digest: str
    scale: str
    parameters: int


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What names a model in records and cache keys.

    Attributes:
        name: what a person calls it, usually the folder's name.
        family: the adapter's kind, e.g. "pixel diffusion".
        digest: sha256 over configuration and every weight (name, type, shape, bytes), or `UNKNOWN_DIGEST`.
        parameters: number of trainable scalars; 0 for analytic models.
        dtype: precision that the audit runs in.
        device: kind of device, e.g. "cpu".
        access: the strongest access it offers: "black box", "grey box" or "white box".
        adapters: what was loaded on top; part of the digest.
        layout: how the network's weights lie in memory and its code is run, where it is not the usual way.
        deviation: how far its predictions are from float32, in words, where it runs otherwise and was compared.
    """

    name: str
    family: str
    digest: str
    parameters: int
    dtype: str
    device: str
    access: str
    adapters: tuple[Adapter, ...] = ()
    layout: str = ""
    deviation: str = ""


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a precision in records, such as float32."""
    return str(dtype).removeprefix("torch.")


def weights_digest(tensors: Iterable[tuple[str, Tensor]], configuration: Mapping[str, object]) -> str:
    """sha256 over a canonical configuration and all tensors in name order."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tensors):
        cpu = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{cpu.dtype}|{tuple(cpu.shape)}|".encode())
        digest.update(cpu.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def public(configuration: Any) -> Any:
    """The configuration without private entries such as the file it was loaded from."""
    if isinstance(configuration, dict):
        return {k: public(v) for k, v in configuration.items() if not str(k).startswith("_")}
    return configuration
