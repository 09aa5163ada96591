"""Prompt alignment: a scorer of the user's, or a map from images to the model's own text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, ProbeError
from pytest_diffprivacy.mitigation.embedding_optimization import embedding_name
from pytest_diffprivacy.mitigation.method import prompt_conditioning
from pytest_diffprivacy.models.protocols import PromptedDenoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import Auroc, auroc

SIDE: Final = 32
PATCH: Final = 5
FILTERS: Final = 128
REGIONS: Final = 2
PENALTY: Final = 0.01
HELD_OUT: Final = 0.2
LEAST_PAIRS: Final = 50
BATCH: Final = 128
FLAT_PATCH: Final = 0.05


class AlignmentScorer(Protocol):
    """Scores how well images fit their prompts, on a scale whose zero means no relation."""

    @property
    def name(self) -> str:
        """What a record says of it, with the encoder and its version."""
        ...

    def scores(self, images: NDArray[np.float32], prompts: Sequence[str]) -> NDArray[np.float64]:
        """One score for each image and its prompt, higher = fits better: (n,)."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextImageMap:
    """Cosine between a text's embedding by the audited model and what a fitted map predicts of it from the image.

    Attributes:
        name: what a record says of it.
        validity: AUROC of matched against mismatched pairs that the fit did not see; 0.5 would mean that it cannot
            tell whether an image fits its text.
    """

    name: str
    validity: Auroc
    _model: PromptedDenoiser
    _filters: Tensor
    _regression: Any
    _centre: NDArray[np.float64]

    def scores(self, images: NDArray[np.float32], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Cosine of predicted and actual text embedding, both about the captions' mean: (n,)."""
        predicted = self._regression.predict(_features(images, self._filters))
        return _cosines(predicted, text_embeddings(self._model, prompts) - self._centre)


def fit_text_image_map(model: PromptedDenoiser, reference: ImageSet, *, seed: int = 0) -> TextImageMap:
    """Fit the map on captioned images that show the subjects of the prompts to be judged.

    Image features are the responses of filters made from random whitened patches of the images themselves, averaged
    over quarters of the image; a ridge regression takes them to the model's text embedding (mean over the prompt's
    tokens). A denoising gain of the model under its prompt would be biased here: a model that has memorized an image
    finds the copy, and nothing but the copy, likely under the prompt.

    Args:
        model: whose text encoder gives the embeddings.
        reference: captioned images, at least 50; a fifth of them is held out to measure the map. Images that are not
            those under suspicion: a map that knows only the memorized picture of a prompt takes the copy for the
            meaning.
        seed: of patches and split.

    Raises:
        ProbeError: too few images, or images without captions.
        ModelError: the model has no token embedding.
        AuditError: on held-out pairs the map does not tell matched from mismatched.

    Source: Features of Coates and Ng 2012; the map and its check are ours.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    captions = reference.prompts(range(len(reference)))
    if captions is None or len(reference) < LEAST_PAIRS:
        raise ProbeError(
            f"`reference` must hold at least {LEAST_PAIRS} images with captions, got {len(reference)}"
            + (" without captions." if captions is None else ".")
        )
    texts = [str(caption) for caption in captions]
    order = np.random.default_rng([seed, 5]).permutation(len(reference))
    held = max(2, int(HELD_OUT * len(order)))
    fitted, unseen = order[held:].tolist(), order[:held].tolist()
    pictures = reference.load(fitted)
    filters = _patch_filters(pictures, seed)
    targets = text_embeddings(model, [texts[i] for i in fitted])
    centre = targets.mean(0)
    penalty = PENALTY * len(fitted)
    regression = make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(
        _features(pictures, filters), targets - centre
    )
    predicted = regression.predict(_features(reference.load(unseen), filters))
    actual = text_embeddings(model, [texts[i] for i in unseen]) - centre
    shifted = _mismatched([texts[i] for i in unseen])
    validity = auroc(_cosines(predicted, actual), _cosines(predicted, actual[shifted]))
    if validity.low <= 0.5:
        raise AuditError(
            f"The text-image map does not tell matched from mismatched pairs (AUROC {validity.value:.3f}, lower bound "
            f"{validity.low:.3f}). Give more captioned images, or a scorer of your own."
        )
    name = (
        f"cosine of the model's text embedding and a ridge regression on {FILTERS} patch filters, fitted on "
        f"{len(fitted)} captioned images; AUROC of matched against mismatched held-out pairs {validity.value:.3f}"
    )
    return TextImageMap(name, validity, model, filters, regression, centre)


def text_embeddings(model: PromptedDenoiser, prompts: Sequence[str]) -> NDArray[np.float64]:
    """The model's embedding of each prompt, mean over its tokens after the start token: (n, width)."""
    distinct = list(dict.fromkeys(prompts))
    conditioning = prompt_conditioning(model, distinct)
    tokens = conditioning[embedding_name(conditioning)].double().cpu()
    counts = [min(count, model.token_limit) for count in model.token_counts(distinct)]
    rows = {prompt: row[1:count].mean(0).numpy() for prompt, row, count in zip(distinct, tokens, counts, strict=True)}
    return np.stack([rows[prompt] for prompt in prompts])


def _patch_filters(images: NDArray[np.float32], seed: int) -> Tensor:
    """Filters (FILTERS, channels, PATCH, PATCH) from random whitened patches that are not flat."""
    small = _shrunk(torch.from_numpy(images))
    rng = np.random.default_rng([seed, 6])
    count, side = FILTERS * 40, small.shape[-1] - PATCH + 1
    places = zip(
        rng.integers(len(small), size=count),
        rng.integers(small.shape[-2] - PATCH + 1, size=count),
        rng.integers(side, size=count),
        strict=True,
    )
    patches = torch.stack([small[i, :, y : y + PATCH, x : x + PATCH] for i, y, x in places]).double().flatten(1)
    patches = patches - patches.mean(1, keepdim=True)
    patches = patches[patches.std(1) > FLAT_PATCH] if bool((patches.std(1) > FLAT_PATCH).sum() > FILTERS) else patches
    values, vectors = torch.linalg.eigh(torch.cov(patches.T) + 0.01 * torch.eye(patches.shape[1], dtype=torch.float64))
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    chosen = torch.nn.functional.normalize(patches[:FILTERS] @ whiten, dim=1) @ whiten
    chosen = chosen - chosen.mean(1, keepdim=True)
    filters: Tensor = chosen.reshape(len(chosen), small.shape[1], PATCH, PATCH).float()
    return filters


@torch.no_grad()
def _features(images: NDArray[np.float32], filters: Tensor) -> NDArray[np.float64]:
    parts = []
    for start in range(0, len(images), BATCH):
        small = _shrunk(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH], dtype=np.float32)))
        responses = torch.nn.functional.conv2d(small, filters)
        both = torch.cat([responses.relu(), (-responses).relu()], 1)
        parts.append(torch.nn.functional.adaptive_avg_pool2d(both, REGIONS).flatten(1))
    return torch.cat(parts).double().numpy()


def _shrunk(images: Tensor) -> Tensor:
    if max(images.shape[2:]) <= SIDE:
        return images.float()
    return torch.nn.functional.interpolate(images.float(), (SIDE, SIDE), mode="area")


def _mismatched(texts: Sequence[str]) -> list[int]:
    """For each text the position of the next one that differs from it."""
    count = len(texts)

    def partner(i: int) -> int:
        return next((j % count for j in range(i + 1, i + count) if texts[j % count] != texts[i]), i)

    return [partner(i) for i in range(count)]


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 0.0)
    return cosines
