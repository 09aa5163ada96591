"""Shared predictions: several methods on the same images ask the network each question once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.schedule import NoiseSchedule

REMEMBERED = 16


@final
class SharedPredictions:
    """A Denoiser that remembers its latest predictions and counts what it had to compute.

    PIA, PIAN and SecMI all begin with eps(x0, 0), and SecMI's two settings share the inversion path: on one batch of
    images the network is evaluated once for each of these questions.

    Args:
        model: the denoiser to ask.
        remembered: predictions kept, each the size of a batch.
    """

    def __init__(self, model: Denoiser, remembered: int = REMEMBERED) -> None:
        self._model, self._remembered = model, remembered
        self._answers: OrderedDict[tuple[int, bytes], Tensor] = OrderedDict()
        self.evaluations = 0

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The model's prediction, computed unless this very question was among the latest."""
        content = hashlib.sha256(_bytes(x_t))
        for name, tensor in () if conditioning is None else conditioning.items():
            content.update(name.encode() + _bytes(tensor))
        question = (int(timestep), content.digest())
        if question in self._answers:
            self._answers.move_to_end(question)
            return self._answers[question]
        answer = self._model.predict_eps(x_t, timestep, conditioning)
        self.evaluations += len(x_t)
        self._answers[question] = answer
        while len(self._answers) > self._remembered:
            self._answers.popitem(last=False)
        return answer

    @property
    def identity(self) -> ModelIdentity:
        """Name and digest of the model."""
        return self._model.identity

    @property
    def schedule(self) -> NoiseSchedule:
        """The model's noise schedule."""
        return self._model.schedule

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one x_t."""
        return self._model.sample_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image."""
        return self._model.image_shape

    @property
    def device(self) -> torch.device:
        """Where x_t lives."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of x_t."""
        return self._model.dtype

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """The model's conditioning."""
        return self._model.condition(prompts, count)

    def encode(self, images: Tensor) -> Tensor:
        """x0 of images in [0, 1]."""
        return self._model.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Images in [0, 1] of x0."""
        return self._model.decode(x0)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
