"""Embedding optimization: the prompt's embedding is moved until the first step no longer tells it from no prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigated,
    Mitigation,
    MitigationCard,
    SamplingCost,
    card_of,
    check_settings,
    first_timestep,
    mitigation,
    prompt_conditioning,
    sample_images,
    seeded_noise,
)
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import predict_pair
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted

WEIGHT_DECAY: Final = 0.01
Mask = Callable[[PromptedDenoiser, str, Tensor, DdimSampling], Tensor]


@dataclass(frozen=True, slots=True)
class OptimizedEmbedding:
    """A prompt's conditioning after optimization.

    Attributes:
        conditioning: one row.
        losses: float64 (evaluations,), before each update and, if the target was met, at the end.
        updates: how many updates were made.
        reached: whether the loss fell to the target.
    """

    conditioning: Conditioning
    losses: NDArray[np.float64]
    updates: int
    reached: bool


def token_gradients(
    model: PromptedDenoiser, x_T: Tensor, conditioning: Conditioning, *, timestep: int
) -> NDArray[np.float64]:
    """Which tokens trigger memorization: the norm of the loss's gradient with respect to each token, (tokens,).

    Args:
        model: the text-to-image model.
        x_T: (n, *model.sample_shape).
        conditioning: of the prompt, one row.
        timestep: of the first sampling step.

    Raises:
        ModelError: the conditioning holds no token embedding.

    Source: Implements the token attribution of Wen et al. 2024, section 4.2; its code returns 1/(2n) of it
        (METHODS 4.1).
    """
    name = embedding_name(conditioning)
    embedding = conditioning[name].detach().clone().requires_grad_(True)
    loss = _loss(model, x_T, conditioning.replaced(**{name: embedding}), timestep, None)
    (gradient,) = torch.autograd.grad(loss, embedding)
    norms: NDArray[np.float64] = torch.linalg.vector_norm(gradient[0].double(), dim=1).cpu().numpy()
    return norms


def embedding_name(conditioning: Conditioning) -> str:
    """The name of the token embedding (rows, tokens, width) in a conditioning.

    Raises:
        ModelError: it holds none, or several.
    """
    names = [name for name, tensor in conditioning.items() if tensor.ndim == 3 and tensor.is_floating_point()]
    if len(names) != 1:
        raise ModelError(
            f"The model's conditioning must hold one token embedding (rows, tokens, width), got {len(names)}. "
            "Embedding optimization needs a model whose text encoder gives one."
        )
    return names[0]


def _loss(
    model: PromptedDenoiser, x_T: Tensor, conditioning: Conditioning, timestep: int, mask: Tensor | None
) -> Tensor:
    eps_u, eps_c = predict_pair(model, x_T, timestep, conditioning.repeated(len(x_T)), None)
    difference = eps_c - eps_u
    norm: Tensor = torch.linalg.vector_norm(difference if mask is None else difference * mask)
    return norm if mask is None else norm / mask.mean()


@mitigation(
    "wen",
    "Embedding optimization (Wen)",
    access=Access.WHITE_BOX,
    source="Wen et al. 2024, section 5",
    version=1,
)
@final
@dataclass(frozen=True, slots=True)
class EmbeddingOptimization(Mitigation):
    """Wen's mitigation; the embedding depends on all seeds of a prompt together, since they are optimized as a batch.

    Args:
        target_loss: loss over the batch that is enough. It belongs to a model and a batch size: 3 for 4 images of
            Stable Diffusion 1.4 in the authors' README.
        lr: of AdamW, whose weight decay of 0.01 also moves the start token; its gradient does not.
        iterations: updates at the most.
        mask: (model, prompt, x_T, sampling) -> (n, 1, height, width): the part of the image that counts, as in the
            variant of Chen et al. 2025 for locally memorized images; None: all of it.

    Source: Implements Wen et al. 2024, section 5, as in its code; masked, Chen et al. 2025 (BE) (METHODS 5.2).
    """

    target_loss: float
    lr: float = 0.05
    iterations: int = 10
    mask: Mask | None = None

    def __post_init__(self) -> None:
        check_settings(self, positive=("target_loss", "lr"), counts={"iterations": 1})

    @property
    def card(self) -> MitigationCard:
        """What a record says of it; with a mask, which is code of the user's, its images are not stored for reuse."""
        card = card_of(self)
        parameters = {name: value for name, value in card.parameters.items() if name != "mask"}
        if self.mask is None:
            return replace(card, parameters=parameters)
        name = getattr(self.mask, "__name__", type(self.mask).__name__)
        return replace(card, parameters={**parameters, "mask": name}, version=None)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt, one a seed."""
        denoiser = require_prompted(model, "Embedding optimization")
        x_T = seeded_noise(denoiser, seeds)
        optimized = self.optimize(
            denoiser,
            x_T,
            prompt_conditioning(denoiser, [prompt]),
            timestep=first_timestep(denoiser, sampling),
            mask=None if self.mask is None else self.mask(denoiser, prompt, x_T, sampling),
        )
        count = len(seeds)
        images = sample_images(denoiser, x_T, optimized.conditioning.repeated(count), sampling)
        search = SamplingCost(
            evaluations=2 * count * len(optimized.losses),
            backward=2 * count * optimized.updates,
            over_budget=0 if optimized.reached else count,
        )
        return Mitigated(images.images, search + images.cost)

    def optimize(
        self,
        model: PromptedDenoiser,
        x_T: Tensor,
        conditioning: Conditioning,
        *,
        timestep: int,
        mask: Tensor | None = None,
    ) -> OptimizedEmbedding:
        """Descend `|| eps_c - eps_u ||_2` over the whole batch; stop before an update once it is low enough.

        Args:
            model: the text-to-image model; gradients go through `predict_eps` to the embedding.
            x_T: (n, *model.sample_shape), the noise that is sampled from later. One norm over the batch: it grows like
                sqrt(n).
            conditioning: of the prompt, one row.
            timestep: of the first sampling step.
            mask: (n, 1, height, width); the loss becomes `|| (eps_c - eps_u) * mask ||_2 / mean(mask)`.

        Raises:
            ModelError: the conditioning holds no token embedding.
        """
        name = embedding_name(conditioning)
        embedding = conditioning[name].detach().clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([embedding], lr=self.lr, weight_decay=WEIGHT_DECAY)
        losses: list[float] = []
        reached = False
        for _ in range(self.iterations):
            loss = _loss(model, x_T, conditioning.replaced(**{name: embedding}), timestep, mask)
            losses.append(float(loss.detach()))
            reached = losses[-1] <= self.target_loss
            if reached:
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            assert embedding.grad is not None
            embedding.grad[:, 0] = 0.0
            optimizer.step()
        updates = len(losses) - int(reached)
        return OptimizedEmbedding(
            conditioning.replaced(**{name: embedding.detach()}), np.asarray(losses), updates, reached
        )
