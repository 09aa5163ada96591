"""A network as compiled code: through torch.compile, and as it is wherever that cannot follow.

Compiled code answers plain predictions. Derivatives and the capture of attention go on asking the network itself, so
that compilation changes nothing about them.
"""

from __future__ import annotations

import logging
import os
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

from pytest_diffprivacy.errors import ModelError

BACKEND = "inductor"
COMPILED = "compiled (not for derivatives and attention)"
REMEDY = (
    "Leave out `compile` (--diffprivacy-compile), or install what the compiler needs: a C++ compiler such as g++ on "
    "a CPU, Triton on a GPU."
)

_running_as_it_is: ContextVar[bool] = ContextVar("running_as_it_is", default=False)


@contextmanager
def as_it_is() -> Iterator[None]:
    """Inside the block compiled networks run uncompiled, with the processors and modes that the block puts on them."""
    token = _running_as_it_is.set(True)
    try:
        yield
    finally:
        _running_as_it_is.reset(token)


def compile_network(network: torch.nn.Module) -> None:
    """Let a frozen network, where it will run, answer by compiled code; it is compiled when it is first evaluated."""
    network.forward = CompiledForward(network, BACKEND)


@final
class CompiledForward:
    """A network's forward as compiled code; the network's own where gradients are recorded or transformed.

    Code is compiled for any number of rows; a single row, and a number from which a network computes otherwise, compile
    again. It stays in its process: what another one unpickles compiles anew.
    """

    def __init__(self, network: torch.nn.Module, backend: str) -> None:
        self._network, self._backend = network, backend
        self._code: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The network's answer.

        Raises:
            ModelError: the network cannot be compiled, e.g. because there is no C++ compiler.
        """
        plain = types.MethodType(type(self._network).forward, self._network)
        if _running_as_it_is.get() or _differentiated():
            return plain(*args, **kwargs)
        # Imported here: it takes seconds, which only a compiled network needs.
        from torch._dynamo.exc import TorchDynamoException, TorchRuntimeError

        args = tuple(_as_tensor(value) for value in args)
        kwargs = {name: _as_tensor(value) for name, value in kwargs.items()}
        _mark_rows(args, kwargs)
        with _untraced(), warnings.catch_warnings():
            # The compiler uses what PyTorch has deprecated, and comments on the user's hardware and settings.
            warnings.filterwarnings("ignore", module=r"torch\.")
            try:
                if self._code is None:
                    self._code = torch.compile(plain, backend=self._backend)
                return self._code(*args, **kwargs)
            except TorchDynamoException as error:
                if isinstance(error, TorchRuntimeError):
                    plain(*args, **kwargs)  # raises what is wrong with the input, if anything is
                raise ModelError(f"The {type(self._network).__name__} cannot be compiled: {_cause(error)}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Without the code, which is this process's."""
        return self.__dict__ | {"_code": None}


@contextmanager
def _untraced() -> Iterator[None]:
    """Without the handlers that pytest hangs on PyTorch's trace of compilations, which they would switch on.

    Traces take time and fill the report of a failed test. Where the user asked for one (TORCH_TRACE) it is written.
    """
    trace = logging.getLogger("torch.__trace")
    before, trace.handlers = trace.handlers, trace.handlers if "TORCH_TRACE" in os.environ else []
    try:
        yield
    finally:
        trace.handlers = before


def _differentiated() -> bool:
    """Whether a derivative is being taken, of any kind: a gradient, forward-mode, or a transform of torch.func."""
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    return torch.is_grad_enabled() or forward_ad._current_level >= 0 or transformed


def _as_tensor(value: Any) -> Any:
    """A number, which is a time, as a tensor: code is compiled for the values of numbers."""
    return torch.tensor(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _mark_rows(*arguments: Any) -> None:
    """Tell the compiler that the number of rows will change, before it compiles for one."""
    from torch._dynamo import maybe_mark_dynamic

    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.ndim]
    for tensor in tensors:
        if len(tensor) == len(tensors[0]):
            maybe_mark_dynamic(tensor, 0)


def _cause(error: Exception) -> str:
    """The first line of what the compiler stumbled over, and the remedy."""
    inner = getattr(error, "inner_exception", error)
    line = next(iter(str(inner).strip().splitlines()), "").rstrip(".")
    return f"{type(inner).__name__}{': ' if line else ''}{line}. {REMEDY}"
