"""What would models that saw an image, and models that did not, say about it? Shadow models and what they measured.

A shadow model is trained like the target on a known half of the images. What an attack needs of it is an array (its
losses or gradient norms), so that array is stored, not the model: train, measure, store, one shadow after the other. A
run that is killed continues with the shadow that was not finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.engine import Engine, Identified, Ledger, LocalEngine, Unit
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import Arrays, fingerprint
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.models.scoring import as_images
from pytest_diffprivacy.probes import ImageSet

CHUNK = 256
VERSION = 1

Train: TypeAlias = Callable[[NDArray[np.int64], int], Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """What a shadow model, and later the target, is asked about images: the same thing with the same noise.

    Attributes:
        name: short name, e.g. "averaged losses".
        version: raised whenever the same parameters would give other values.
        function: (model, images in [0, 1], *, batch_size, **parameters) -> float64 (images,) or (images, features).
        parameters: its arguments, plain values that can be fingerprinted; the noise's seed is among them.
        evaluations: network evaluations an image costs.
    """

    name: str
    version: int
    function: Callable[..., NDArray[np.float64]]
    parameters: Mapping[str, Any]
    evaluations: int

    @property
    def description(self) -> dict[str, Any]:
        """What a fingerprint says of it."""
        return {"name": self.name, "version": self.version, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class Shadow:
    """A model whose training images are known.

    Attributes:
        model: grey- or white-box access, as the attack needs.
        members: sha256 of each training image's pixels (models.noise.image_digest).
        name: what messages call it.
    """

    model: Denoiser
    members: frozenset[bytes]
    name: str

    @classmethod
    def of(cls, model: Denoiser, members: object, name: str = "") -> Shadow:
        """A shadow from a checkpoint and its membership list.

        Args:
            model: what load_model(...) returned.
            members: its training images: an ImageSet, an array, a folder or an array file; or their digests (bytes).
            name: what messages call it; the model's own name by default.

        Raises:
            UsageError: the list is empty or is neither images nor digests.
        """
        denoiser = require_denoiser(model, "A shadow model")
        digests = members
        if isinstance(members, (ImageSet, np.ndarray, Tensor, str, Path)):
            source = members.detach().cpu().numpy() if isinstance(members, Tensor) else members
            digests = ImageSet.of(source, "shadow member").digests
        found = list(digests) if isinstance(digests, Iterable) else []
        if not found or not all(isinstance(digest, bytes) and len(digest) == 32 for digest in found):
            raise UsageError(
                f"`members` must be the shadow's training images or their sha256 digests, got {_kind(members)}. "
                "Give an ImageSet, an array, a folder, or a list of models.noise.image_digest(image)."
            )
        return cls(denoiser, frozenset(found), name or denoiser.identity.name)


@final
@dataclass(frozen=True, eq=False)
class ShadowScores:
    """What every shadow model measured on every image, and which of them had seen it.

    Attributes:
        values: float64 (models, images) losses, or (models, images, features) such as gradient norms.
        membership: bool (models, images), whether the image was in the model's training set.
        digests: sha256 of each image's pixels; images are found by it, never by position.
        models: identity.digest of each shadow, so that a target among them is noticed.
        measure: what was measured; None for arrays made elsewhere, from which no attack on a model can be made.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, an image or a model that occurs twice.
    """

    values: NDArray[np.float64]
    membership: NDArray[np.bool_]
    digests: Sequence[bytes]
    models: Sequence[str]
    measure: Measure | None = None

    def __post_init__(self) -> None:
        values, membership = np.asarray(self.values), np.asarray(self.membership)
        if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or 0 in values.shape:
            raise UsageError(
                f"`values` must be numbers (models, images) or (models, images, features), got {values.dtype} "
                f"{values.shape}."
            )
        if membership.dtype != np.bool_ or membership.shape != values.shape[:2]:
            raise UsageError(
                f"`membership` must be bool {values.shape[:2]}, got {membership.dtype} {membership.shape}. "
                "Give one row a model and one column an image."
            )
        if not np.isfinite(values).all():
            raise UsageError(f"`values` must be finite, got {int((~np.isfinite(values)).sum())} NaN or infinite ones.")
        for name, given, count in (("digests", self.digests, values.shape[1]), ("models", self.models, len(values))):
            if len(given) != count:
                raise UsageError(f"`{name}` must hold {count} digests, got {len(given)}.")
            if len(set(given)) != count:
                raise UsageError(
                    f"`{name}` must be distinct, got {count - len(set(given))} repeated. A repeated image or shadow "
                    "model is no new evidence; does the training function use its indices and its seed?"
                )
        object.__setattr__(self, "values", values.astype(np.float64, copy=False))
        object.__setattr__(self, "membership", membership)
        object.__setattr__(self, "digests", tuple(self.digests))
        object.__setattr__(self, "models", tuple(self.models))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def losses(self) -> NDArray[np.float64]:
        """The values as one loss an image: float64 (models, images)."""
        if self.values.ndim != 2:
            raise UsageError(f"The shadows must have measured one loss an image, got {self.values.shape[2]} features.")
        return self.values

    @property
    def features(self) -> NDArray[np.float64]:
        """The values as features: float64 (models, images, features)."""
        if self.values.ndim != 3:
            raise UsageError("The shadows must have measured features, got one value an image.")
        return self.values

    @property
    def asked(self) -> Measure:
        """What was measured, which an attack asks the target too."""
        if self.measure is None:
            raise UsageError(
                "`shadows` must say what was measured, got measure None. "
                "Give ShadowScores(..., measure=loss_measure(...)) or gsa_measure(...)."
            )
        return self.measure

    @cached_property
    def digest(self) -> str:
        """sha256 over all of it, for fingerprints and records."""
        arrays = (np.ascontiguousarray(self.values, dtype="<f8"), np.ascontiguousarray(self.membership))
        return fingerprint(
            {
                "arrays": [[list(a.shape), hashlib.sha256(a.tobytes()).digest()] for a in arrays],
                "images": self.digests,
                "models": self.models,
                "measure": self.measure.description if self.measure else None,
            }
        )

    @cached_property
    def _place(self) -> dict[bytes, int]:
        return {digest: i for i, digest in enumerate(self.digests)}

    def positions(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """Columns of the images with these digests: int64 (images,).

        Raises:
            UsageError: some of the images were not shown to the shadow models; the message says how many.
        """
        missing = sum(digest not in self._place for digest in digests)
        if missing:
            raise UsageError(
                f"`images` must be among those that the shadow models measured, got {missing} of {len(digests)} that "
                "are not. Images are joined by their pixels: give both sides the same files, resized the same way."
            )
        return np.array([self._place[digest] for digest in digests], dtype=np.int64)

    def without(self, model: int) -> ShadowScores:
        """The same without one of the models."""
        rest = [m for m in range(len(self)) if m != model]
        names = [self.models[m] for m in rest]
        return ShadowScores(self.values[rest], self.membership[rest], self.digests, names, self.measure)

    def check_target(self, target: Identified) -> None:
        """Refuse a target that is one of its own shadows."""
        if target.identity.digest in self.models:
            raise UsageError(
                f"`shadows` must not contain the target, got {target.identity.name!r} as shadow "
                f"{list(self.models).index(target.identity.digest)}. Leave it out, or use ShadowScores.without(...)."
            )


def digests_of(images: Tensor) -> list[bytes]:
    """sha256 of each image's pixels; images (n, channels, height, width) in [0, 1]."""
    return [image_digest(image) for image in as_images(images).float().numpy()]


def check_asked(given: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Refuse parameters other than those that the shadow models were measured with."""
    for name, value in given.items():
        if name not in fixed:
            raise UsageError(f"`{name}` must be left out: the attack has no such parameter, got {value!r}.")
        if fixed[name] != value:
            raise UsageError(
                f"`{name}` must be that of the shadow models, {fixed[name]!r}, got {value!r}. "
                "Measure the shadow models anew to change it."
            )


def shadow_splits(images: ImageSet | Sequence[bytes] | int, models: int, seed: int) -> NDArray[np.bool_]:
    """Choose which shadow model is trained on which image.

    Every image is in exactly half of the models and every model has half of the images (one more or less where their
    number is odd): models 2k and 2k + 1 share the images between them. The choice depends on an image's digest and the
    seed, not on its position, and does not change when more models are added.

    Args:
        images: an ImageSet or the digests; a number stands for as many images without pixels.
        models: number of shadow models, even.
        seed: seed of the choice.

    Returns:
        bool (models, images), whether the image is in the model's training set.

    Raises:
        UsageError: an odd number of models, or fewer than 2 images.

    Source: Follows Carlini et al. 2022 (LiRA), section 5 (each example in half of the models) except that the halves
        are of equal size.
    """
    digests = images.digests if isinstance(images, ImageSet) else images
    keys = [str(i).encode() for i in range(digests)] if isinstance(digests, int) else list(digests)
    if models < 2 or models % 2:
        raise UsageError(f"`models` must be an even number >= 2, got {models!r}. LiRA's papers use 16 and more.")
    if len(keys) < 2:
        raise UsageError(f"`images` must be at least 2 to be shared between shadow models, got {len(keys)}.")
    inside = np.zeros((models, len(keys)), dtype=np.bool_)
    for pair in range(models // 2):
        ranks = [hashlib.sha256(f"shadow split|{seed}|{pair}|".encode() + key).digest() for key in keys]
        order = sorted(range(len(keys)), key=ranks.__getitem__)
        inside[2 * pair, order[: (len(keys) + pair % 2) // 2]] = True
        inside[2 * pair + 1] = ~inside[2 * pair]
    return inside


def train_shadows(
    images: ImageSet,
    train: Train,
    measures: Sequence[Measure],
    *,
    recipe: str | Mapping[str, Any],
    models: int = 16,
    seed: int = 0,
    engine: Engine | None = None,
    ledger: Ledger | None = None,
) -> tuple[ShadowScores, ...]:
    """Train shadow models on known halves of the images and keep what they measure on all of them.

    A shadow is trained if one of its measures is not in the engine's store, measured, and dropped before the next one.

    Args:
        images: the pool: the probes of the audit, members and non-members alike.
        train: (indices into `images`, int64, ascending; seed below 2^31) -> a model like the target.
        measures: what to keep of each shadow, e.g. [loss_measure(draws=20)].
        recipe: names the training: everything that changes the trained model (code version, architecture, steps,
            library, device). It is part of every stored result's key; a function's own text cannot be.
        models: number of shadow models, even.
        seed: seed of the splits and, with the model's number, of each training.
        engine: where work runs and is stored; in this process and nowhere by default.
        ledger: counts what was computed and what was reused.

    Returns:
        The measured values, one a measure, in their order.

    Raises:
        UsageError: a bad argument, or `train` returned the same model twice.
        ModelError: `train` returned something that is no model.
        AuditError: training ran out of memory.

    Source: Follows Carlini et al. 2022 (LiRA), algorithm 1, with METHODS 3.2.
    """
    if not isinstance(recipe, (str, Mapping)) or not recipe:
        raise UsageError(f"`recipe` must be a text or a mapping that names the training, got {recipe!r}.")
    membership = shadow_splits(images, models, seed)
    trainer = _Trainer(train, recipe)
    units = []
    for number, inside in enumerate(membership):
        indices, own_seed = np.flatnonzero(inside).astype(np.int64), _training_seed(seed, number)
        members = hashlib.sha256(np.packbits(inside).tobytes()).hexdigest()
        for measure in _checked(measures):
            depends = _depends(measure, images) | {"members": members, "training seed": own_seed}
            compute = partial(_train_and_measure, number, indices, own_seed, images, measure)
            units.append(Unit(f"shadow {number}, {measure.name}", depends, compute, len(images)))
    runner, costs = engine or LocalEngine(), ledger or Ledger()
    results = list(runner.run(trainer, units, title="shadow models", ledger=costs))
    return tuple(_collect(results[i :: len(measures)], membership, images, m) for i, m in enumerate(measures))


def score_shadows(
    shadows: Sequence[Shadow],
    images: ImageSet,
    measures: Sequence[Measure],
    *,
    engine: Engine | None = None,
    ledger: Ledger | None = None,
) -> tuple[ShadowScores, ...]:
    """Measure given shadow models on the images; each result is stored as soon as it is there.

    Args:
        shadows: checkpoints with their membership lists; none of them the target.
        images: the probes of the audit.
        measures: what to keep of each shadow.
        engine: where work runs and is stored; in this process and nowhere by default.
        ledger: counts what was computed and what was reused.

    Returns:
        The measured values, one a measure, in their order.

    Raises:
        UsageError: no shadows, the same model twice, or a model that does not fit the images.

    Source: Follows METHODS 3.2.
    """
    if not shadows:
        raise UsageError("`shadows` must hold at least one model, got none.")
    membership = np.array([[digest in shadow.members for digest in images.digests] for shadow in shadows])
    runner, costs = engine or LocalEngine(), ledger or Ledger()
    results: list[Arrays] = []
    for shadow in shadows:
        units = [
            Unit(
                f"{shadow.name}, {m.name}",
                _depends(m, images),
                partial(_measured, images=images, measure=m),
                len(images),
            )
            for m in _checked(measures)
        ]
        results += runner.run(shadow.model, units, title=f"shadow model {shadow.name}", ledger=costs)
    return tuple(_collect(results[i :: len(measures)], membership, images, m) for i, m in enumerate(measures))


@final
class _Trainer:
    """The training as the engine's model handle; keeps the last model, so that a second measure costs no training."""

    def __init__(self, train: Train, recipe: str | Mapping[str, Any]) -> None:
        self._train = train
        self._latest: tuple[int, Denoiser] | None = None
        digest = fingerprint({"recipe": recipe})
        self.identity = ModelIdentity("shadow training", "recipe", digest, 0, "as trained", "as trained", "training")

    def model(self, number: int, indices: NDArray[np.int64], seed: int) -> Denoiser:
        """Shadow model `number`, trained unless it was the last one asked for."""
        if self._latest is None or self._latest[0] != number:
            self._latest = None
            try:
                trained = self._train(indices, seed)
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise AuditError(
                    f"Training shadow model {number} ran out of memory. The audit's batch size does not reach the "
                    "training function: lower its own."
                ) from error
            self._latest = (number, require_denoiser(trained, f"Shadow model {number}"))
        return self._latest[1]


def _train_and_measure(
    number: int,
    indices: NDArray[np.int64],
    seed: int,
    images: ImageSet,
    measure: Measure,
    trainer: _Trainer,
    batch_size: int,
) -> Arrays:
    return _measured(trainer.model(number, indices.copy(), seed), batch_size, images=images, measure=measure)


def _measured(model: Denoiser, batch_size: int, *, images: ImageSet, measure: Measure) -> Arrays:
    parts = [
        measure.function(model, torch.from_numpy(batch), batch_size=batch_size, **measure.parameters)
        for _, batch in images.batches(CHUNK)
    ]
    identity = np.frombuffer(model.identity.digest.encode(), dtype=np.uint8)
    return {"values": np.concatenate(parts).astype(np.float64), "identity": identity.copy()}


def _collect(
    results: Sequence[Arrays], membership: NDArray[np.bool_], images: ImageSet, measure: Measure
) -> ShadowScores:
    shapes = {result["values"].shape for result in results}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise UsageError(f"Shadow models must have one architecture, but {measure.name} gave {one} and {other}.")
    values = np.stack([result["values"] for result in results])
    models = [result["identity"].tobytes().decode() for result in results]
    return ShadowScores(values, membership, images.digests, models, measure)


def _depends(measure: Measure, images: ImageSet) -> dict[str, Any]:
    return {"method": "shadow model", "version": VERSION, "measure": measure.description, "images": images.digest}


def _checked(measures: Sequence[Measure]) -> Sequence[Measure]:
    if not measures or len({fingerprint(measure.description) for measure in measures}) < len(measures):
        raise UsageError(f"`measures` must be at least one and distinct, got {[m.name for m in measures]}.")
    return measures


def _training_seed(seed: int, number: int) -> int:
    """Below 2^31, which every library accepts."""
    return int.from_bytes(hashlib.sha256(f"shadow training|{seed}|{number}".encode()).digest()[:4], "big") >> 1


def _kind(value: object) -> str:
    return f"{len(value)} items" if isinstance(value, (list, tuple, set, frozenset)) else type(value).__name__
