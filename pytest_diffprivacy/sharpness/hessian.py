"""Hessian of the log density at one point: products with it and with its transpose, never the matrix.

`H = grad_x s = -J_eps / sigma_t` is a network's Jacobian: it is symmetric only where the network is an exact score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser
from pytest_diffprivacy.models.scoring import BATCH_SIZE

Rows = NDArray[np.float64]


class LinearMap(Protocol):
    """A square matrix A known by its products; vectors are rows of a float64 array (k, dimension)."""

    @property
    def dimension(self) -> int:
        """Number of rows and columns."""
        ...

    def times(self, rows: Rows) -> Rows:
        """A v for every row v."""
        ...

    def transpose_times(self, rows: Rows) -> Rows:
        """A^T v for every row v."""
        ...


@final
class ScoreHessian:
    """H at one point x_t as a LinearMap, by forward-mode (H v) and reverse-mode (H^T v) differentiation.

    Args:
        model: white-box access.
        x_t: one point, of the model's sample_shape.
        timestep: a ReferenceTimestep is matched by signal-to-noise ratio; a plain int is the model's own.
        prompt: condition of the score; None: the unconditional branch.
        minus_unconditional: the difference H_Delta = H(x | prompt) - H(x) instead of H(x | prompt).
        batch_size: vectors in one network call.

    Products are computed in the model's precision and returned in float64.

    Source: Implements H of METHODS 0.3 and H_Delta of Jeon et al. 2025, section 4.
    """

    def __init__(
        self,
        model: WhiteBoxDenoiser,
        x_t: Tensor,
        timestep: int,
        *,
        prompt: Prompt | None = None,
        minus_unconditional: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        if tuple(x_t.shape) != model.sample_shape:
            raise UsageError(f"`x_t` must be one point of shape {model.sample_shape}, got {tuple(x_t.shape)}.")
        if minus_unconditional and prompt is None:
            raise UsageError("`prompt` must be given for the difference to the unconditional Hessian, got None.")
        if batch_size < 1:
            raise UsageError(f"`batch_size` must be at least 1, got {batch_size!r}.")
        self._model, self._batch_size = model, batch_size
        self._x = x_t.detach().to(device=model.device, dtype=model.dtype)
        self._timestep = model.schedule.match(timestep).index
        self._sigma = model.schedule.at(self._timestep)[1]
        self._branches: list[tuple[Prompt | None, float]] = [(prompt, 1.0)]
        if minus_unconditional:
            self._branches.append((None, -1.0))

    @property
    def dimension(self) -> int:
        """Number of elements of x_t."""
        return self._x.numel()

    def times(self, rows: Rows) -> Rows:
        """H v for every row v: float64 (k, dimension).

        Raises:
            AuditError: the model's derivative is not finite.
        """
        return self._batched(rows, self._forward)

    def transpose_times(self, rows: Rows) -> Rows:
        """H^T v for every row v: float64 (k, dimension).

        Raises:
            AuditError: the model's derivative is not finite.
        """
        return self._batched(rows, self._reverse)

    def _batched(self, rows: Rows, product: Callable[[Tensor, Tensor, Prompt | None], Tensor]) -> Rows:
        vectors = torch.from_numpy(np.ascontiguousarray(rows)).to(device=self._x.device, dtype=self._x.dtype)
        results = []
        for start in range(0, len(vectors), self._batch_size):
            part = vectors[start : start + self._batch_size]
            x = self._x.expand(len(part), *self._x.shape).contiguous()
            change = torch.zeros_like(x)
            for prompt, weight in self._branches:
                change = change + weight * product(x, part.reshape(x.shape), prompt)
            results.append((-change / self._sigma).double().flatten(1))
        result: Rows = torch.cat(results).cpu().numpy()
        if not np.isfinite(result).all():
            raise AuditError("The derivative of the model's output is not finite. Check the checkpoint and its dtype.")
        return result

    def _forward(self, x: Tensor, vectors: Tensor, prompt: Prompt | None) -> Tensor:
        condition = self._model.condition(None if prompt is None else [prompt] * len(x), len(x))
        return self._model.eps_jvp(x, self._timestep, vectors, condition)[1]

    def _reverse(self, x: Tensor, vectors: Tensor, prompt: Prompt | None) -> Tensor:
        condition = self._model.condition(None if prompt is None else [prompt] * len(x), len(x))
        x = x.requires_grad_(True)
        with torch.enable_grad():
            eps = self._model.predict_eps(x, self._timestep, condition)
            (gradient,) = torch.autograd.grad(eps, x, vectors)
        return gradient


def symmetric_times(matrix: LinearMap, rows: Rows) -> Rows:
    """(A + A^T) / 2 times every row."""
    return 0.5 * (matrix.times(rows) + matrix.transpose_times(rows))


LARGEST_EXACT = 4096


@dataclass(frozen=True, slots=True)
class Spectrum:
    """All eigenvalues of the symmetric part of a Hessian.

    Attributes:
        eigenvalues: float64 (d,), ascending: the sharpest direction first.
        asymmetry: `|| H - H^T ||_F / || H ||_F`; 0 for an exact score. What a network's Hessian has of it bounds how
            much the eigenvalues say.
    """

    eigenvalues: NDArray[np.float64]
    asymmetry: float

    @property
    def trace(self) -> float:
        """Tr H."""
        return float(self.eigenvalues.sum())

    @property
    def nonnegative(self) -> int:
        """How many eigenvalues are >= 0: directions in which the log density does not fall off."""
        return int((self.eigenvalues >= 0.0).sum())


def full_matrix(matrix: LinearMap) -> NDArray[np.float64]:
    """The matrix itself, (d, d), from d products with unit vectors.

    Raises:
        UsageError: d is above 4,096.
    """
    if matrix.dimension > LARGEST_EXACT:
        raise UsageError(
            f"The matrix must have dimension at most {LARGEST_EXACT} to be written out, got {matrix.dimension}. "
            "Use arnoldi or lanczos."
        )
    return np.ascontiguousarray(matrix.times(np.eye(matrix.dimension)).T)


def full_spectrum(matrix: LinearMap) -> Spectrum:
    """The exact spectrum of a Hessian of dimension up to 4,096, by as many forward-mode products.

    Memorized samples have larger negative eigenvalues and fewer non-negative ones.

    Args:
        matrix: a ScoreHessian, or any other LinearMap.

    Raises:
        UsageError: the dimension is above 4,096.
        AuditError: the model's derivative is not finite.

    Source: Implements the spectra of Jeon et al. 2025, section 3, with the symmetric part as in METHODS 4.3.
    """
    hessian = full_matrix(matrix)
    norm = float(np.linalg.norm(hessian))
    asymmetry = float(np.linalg.norm(hessian - hessian.T)) / norm if norm > 0.0 else 0.0
    eigenvalues: NDArray[np.float64] = np.linalg.eigvalsh(0.5 * (hessian + hessian.T)).astype(np.float64)
    return Spectrum(eigenvalues, asymmetry)
