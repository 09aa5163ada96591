"""How does the noise prediction change with x? Forward-mode derivatives that work whatever layers the network uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pytest_diffprivacy.models.compiled import as_it_is


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
    """function(x) and its Jacobian-vector product with `tangent`, in one forward pass.

    Fused attention kernels have no forward derivative, so the plain ("math") kernel is used inside and the caller's
    choice is restored afterwards. Neither has compiled code: a compiled network runs as it is.

    Source: Implements the product H v of Jeon et al. 2025 (forward mode; a reverse-mode product would be H^T v).
    """
    with as_it_is(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _ContiguousGroupNorm(), warnings.catch_warnings():
        # PyTorch compiles its own formulas on the first use and warns about the way it does so.
        warnings.filterwarnings("ignore", "`torch.jit.script` is", DeprecationWarning)
        value, product = torch.func.jvp(function, (x,), (tangent,))  # type: ignore[misc]  # two without has_aux
    return value, product
