"""Identity of a model: name, family and a digest of weights and configuration that a third person can recompute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import AuditError

SAMPLED = 64
"""Numbers of a tensor that are looked at whenever results are stored or reused."""
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
        weights: the networks that the digest was taken of, to see whether they are still the same; None: it has none,
            or they are nobody's to change.
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
    weights: Weights | None = field(default=None, compare=False, repr=False)

    def check(self) -> None:
        """Refuse results under this digest where the weights are not those that it was taken of.

        Raises:
            AuditError: a weight was changed, or a network was put into training mode.
        """
        if self.weights is not None:
            self.weights.check(self.name)


@final
class Weights:
    """The weights of networks as they were identified: their places and versions, a sample, and a digest.

    What raises no version, such as a copy through `.data`, shows in the sample. In another process it knows no network:
    what was sent there cannot change behind its back.

    Args:
        networks: frozen, and in the precision and on the device where they run.
    """

    def __init__(self, networks: Iterable[torch.nn.Module]) -> None:
        self._networks = tuple(networks)
        self._seen, self._digest = self._state(), self._hashed()

    @classmethod
    def together(cls, *several: Weights | None) -> Weights | None:
        """Those of several models, as they are now; None where none has any."""
        networks = [network for one in several if one is not None for network in one._networks]
        return cls(networks) if networks else None

    def check(self, name: str) -> None:
        """Refuse networks that are not as they were.

        Raises:
            AuditError: a weight was changed, or a network was put into training mode.
        """
        if any(module.training for network in self._networks for module in network.modules()):
            raise AuditError(
                f"{name} was put into training mode after it was loaded: its answers are not those of the model in the "
                "record. Call model.eval(), or load_model again, on a copy where training goes on."
            )
        state = self._state()
        if state != self._seen:
            if self._hashed() != self._digest:
                raise AuditError(
                    f"The weights of {name} were changed after it was loaded: its digest and stored results are those "
                    "of another model. Call load_model again, on a copy where training goes on."
                )
            self._seen = state

    def __getstate__(self) -> dict[str, Any]:
        return {"_networks": (), "_seen": [], "_digest": ""}

    def _tensors(self) -> list[tuple[str, Tensor]]:
        named = ((f"{n}.{key}", t) for n, part in enumerate(self._networks) for key, t in part.state_dict().items())
        return [(name, tensor) for name, tensor in named if isinstance(tensor, Tensor)]

    def _state(self) -> list[object]:
        tensors = self._tensors()
        sample = [tensor.detach().reshape(-1)[:: max(1, tensor.numel() // SAMPLED)] for _, tensor in tensors]
        sums = [values.double().nan_to_num().sum() for values in sample if values.numel()]
        total = torch.stack([value.cpu() for value in sums]).tolist() if sums else []
        return [*total, *((name, tensor.data_ptr(), tensor._version) for name, tensor in tensors)]

    def _hashed(self) -> str:
        return weights_digest(self._tensors(), {})


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
