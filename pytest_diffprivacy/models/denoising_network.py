"""A denoising network with its schedule, parametrization, codec, conditioning and guard: one part, held by models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pytest_diffprivacy.models.adapters import AdapterGuard
from pytest_diffprivacy.models.codec import Codec
from pytest_diffprivacy.models.compiled import as_it_is
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.identity import ModelIdentity, Weights, dtype_name
from pytest_diffprivacy.models.prediction import Direct, Parametrization, PredictionType
from pytest_diffprivacy.models.protocols import Prompts
from pytest_diffprivacy.models.schedule import NoiseSchedule

Output: TypeAlias = Callable[[Tensor, float, Conditioning | None], Tensor]
"""(what the network takes, its time, conditioning) -> what it predicts, in the shape of what it takes."""


class Condition(Protocol):
    """Prompts, or none, to the conditioning of a number of rows."""

    def __call__(self, prompts: Prompts, count: int, /) -> Conditioning | None:
        """One row a prompt; no prompts: the unconditional branch."""


@final
@dataclass(frozen=True, slots=True)
class DenoisingNetwork:
    """White-box access to a network; a model hands on what it answers.

    Attributes:
        module: the network, frozen; None: a plain function, which has no parameters.
        output: evaluates it.
        condition: prompts to conditioning.
        schedule: of the x_t that attacks see.
        parametrization: between x_t and what the network takes and predicts.
        codec: between images and x0.
        guard: refuses to answer where the network is not the one that was identified; None: a network of the user's.
    """

    module: torch.nn.Module | None
    output: Output
    condition: Condition
    schedule: NoiseSchedule
    parametrization: Parametrization
    codec: Codec
    guard: AdapterGuard | None = None

    def identity(
        self,
        name: str,
        family: str,
        digest: str,
        *,
        dtype: torch.dtype,
        device: torch.device,
        networks: Iterable[torch.nn.Module] = (),
    ) -> ModelIdentity:
        """The identity of a model that is this network, or with it others, in a precision on a device."""
        count = sum(parameter.numel() for _, parameter in self.named_parameters())
        adapters = () if self.guard is None else self.guard.loaded
        weights = Weights(networks or ([] if self.module is None else [self.module]))
        precision = dtype_name(dtype)
        return ModelIdentity(
            name, family, digest, count, precision, device.type, "white box", adapters, weights=weights
        )

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts; never clipped."""
        if self.guard is not None:
            self.guard.check()
        given = self.condition(None, len(x_t)) if conditioning is None else conditioning
        return self.parametrization.eps(lambda x, time: self.output(x, time, given), x_t, timestep, self.schedule)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent in one forward-mode pass."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The network's parameters."""
        if self.module is not None:
            yield from self.module.named_parameters()


def exact_part(output: Output, condition: Condition, schedule: NoiseSchedule, codec: Codec) -> DenoisingNetwork:
    """The part of a model whose noise prediction is a closed form: no network, no parameters."""
    return DenoisingNetwork(None, output, condition, schedule, Direct(PredictionType.EPS), codec)


class _ContiguousGroupNorm(TorchFunctionMode):
    """Group norm whose input and tangent are laid out contiguously.

    PyTorch's forward derivative of group norm views its tangent, which fails on the transposed input that diffusers'
    attention blocks give it. A copy changes no value.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.nn.functional.group_norm:
            args = (args[0].clone(memory_format=torch.contiguous_format), *args[1:])
        return func(*args, **(kwargs or {}))


def forward_jvp(function: Callable[[Tensor], Tensor], x: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """function(x) and its Jacobian-vector product with `tangent`, in one forward pass, whatever layers it has.

    Fused attention kernels have no forward derivative, so the plain ("math") kernel is used inside and the caller's
    choice is restored afterwards. Neither has compiled code: a compiled network runs as it is.

    Source: Implements the product H v of Jeon et al. 2025 (forward mode; a reverse-mode product would be H^T v).
    """
    with as_it_is(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _ContiguousGroupNorm(), warnings.catch_warnings():
        # PyTorch compiles its own formulas on the first use and warns about the way it does so.
        warnings.filterwarnings("ignore", "`torch.jit.script` is", DeprecationWarning)
        value, product = torch.func.jvp(function, (x,), (tangent,))  # type: ignore[misc]  # two without has_aux
    return value, product


def each_row(time: float, x: Tensor) -> Tensor:
    """The time as a tensor with an entry a row, as transformers take it."""
    return torch.full((len(x),), time, device=x.device, dtype=torch.float32)
