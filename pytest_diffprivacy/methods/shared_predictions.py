"""Shared predictions: several methods on the same images ask the network each question once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.protocols import Denoiser, require_latent

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
        self.schedule, self.device, self.dtype = model.schedule, model.device, model.dtype
        self.sample_shape, self.image_shape = model.sample_shape, model.image_shape
        self.condition, self.encode, self.decode = model.condition, model.encode, model.decode

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

    def decoder_products(self, x0: Tensor, cotangents: Tensor) -> Tensor:
        """Those of the model's decoder, if it has one."""
        return require_latent(self._model, "The decoder").decoder_products(x0, cotangents)

    def autoencoder_digest(self) -> str:
        """That of the model's autoencoder, if it has one."""
        return require_latent(self._model, "The decoder").autoencoder_digest()

    @property
    def identity(self) -> ModelIdentity:
        """Name and digest of the model."""
        return self._model.identity


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
