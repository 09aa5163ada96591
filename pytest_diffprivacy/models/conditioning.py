"""Conditioning: what a network takes besides x_t and the timestep, as named tensors with one row an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError


@final
class Conditioning:
    """What `predict_eps` takes as conditioning: a class label, a text embedding, or several tensors of one meaning.

    Rows may be chosen, repeated and joined without knowing which tensors a model family needs, so an attack never looks
    inside. Never changed after it was made.

    Args:
        tensors: at least one by name, each with the images' rows first; the names are the adapter's own.
    """

    __slots__ = ("_rows", "_tensors")

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        rows = {name: len(tensor) if tensor.ndim else None for name, tensor in tensors.items()}
        if not rows or None in rows.values() or len(set(rows.values())) != 1:
            raise UsageError(f"`tensors` must be at least one, all with the same number of rows first, got {rows}.")
        self._tensors = dict(tensors)
        self._rows = len(next(iter(tensors.values())))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, in the order in which they were given."""
        yield from self._tensors.items()

    def rows(self, index: slice | Sequence[int]) -> Conditioning:
        """Some rows, in the order of the index."""
        return Conditioning({name: t[index] if isinstance(index, slice) else t[[*index]] for name, t in self.items()})

    def repeated(self, times: int) -> Conditioning:
        """Each row `times` times in succession: a, a, b, b, ..."""
        return Conditioning({name: tensor.repeat_interleave(times, dim=0) for name, tensor in self.items()})

    def replaced(self, **tensors: Tensor) -> Conditioning:
        """The same with some tensors replaced, as an optimized prompt embedding is.

        Raises:
            UsageError: a name that is not there, or another number of rows.
        """
        unknown = sorted(set(tensors) - set(self._tensors))
        if unknown:
            raise UsageError(f"`tensors` must be among {', '.join(self._tensors)}, got {', '.join(unknown)}.")
        return Conditioning({**self._tensors, **tensors})

    @staticmethod
    def joined(parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of several, one after the other.

        Raises:
            UsageError: none given, or they hold different tensors.
        """
        names = {tuple(name for name, _ in part.items()) for part in parts}
        if len(names) != 1:
            raise UsageError(f"`parts` must be at least one and hold the same tensors, got {sorted(names)}.")
        return Conditioning({name: torch.cat([part[name] for part in parts]) for name in next(iter(names))})
