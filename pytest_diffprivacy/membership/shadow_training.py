"""Training of shadow models: train, measure, store; each of them by one worker.

The array that an attack needs is stored, not the model. A run that is killed continues with the shadows that were not
finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy import options
from pytest_diffprivacy.engine import Engine, Unit, Work, current_engine
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import Arrays, fingerprint
from pytest_diffprivacy.membership.shadow import Measure, PlannedShadows, Shadow, ShadowScores
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.probes import ImageSet

CHUNK = 256
VERSION = 2

Train: TypeAlias = Callable[[NDArray[np.int64], int], Any]


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
    work: Work | None = None,
) -> tuple[ShadowScores, ...]:
    """Train shadow models on known halves of the images and keep what they measure on all of them.

    A shadow is trained if one of its measures is not in the engine's store, measured, and dropped before the next one.
    Where several workers share the work, each shadow is trained by one of them, on its GPU or its share of the CPU.

    Args:
        images: the pool: the probes of the audit, members and non-members alike; with their captions or classes if
            the audit is to tell the target them.
        train: (indices into `images`, int64, ascending; seed below 2^31) -> a model like the target. Workers import it:
            a function of a module, not one that was made inside of another.
        measures: what to keep of each shadow, e.g. [loss_measure(draws=20)].
        recipe: names the training: everything that changes the trained model (code version, architecture, steps,
            library, device). It is part of every stored result's key; a function's own text cannot be.
        models: number of shadow models, even.
        seed: seed of the splits and, with the model's number, of each training.
        engine: where work runs and is stored; as the pytest session's options say by default, and outside pytest in
            this process and nowhere.
        work: counts what was computed and what was reused.

    Returns:
        The measured values, one a measure, in their order. While a pytest run is only planned (--diffprivacy-plan),
        stand-ins: nothing is trained and no image read.

    Raises:
        UsageError: a bad argument, or `train` returned the same model twice.
        ModelError: `train` returned something that is no model.
        AuditError: training ran out of memory, or workers were lost in it again and again.
        BudgetSpent: the audit's time is over before a shadow that is not trained.

    Source: Follows Carlini et al. 2022 (LiRA), algorithm 1, with METHODS 3.2.
    """
    if not isinstance(recipe, (str, Mapping)) or not recipe:
        raise UsageError(f"`recipe` must be a text or a mapping that names the training, got {recipe!r}.")
    if options.planning():
        shadow_splits(images.source_count, models, seed)  # refuses a number that cannot be shared
        return _planned(models, measures)
    membership = shadow_splits(images, models, seed)
    trainer, shown = _Trainer(train, recipe), images.part_digest(0, len(images))
    units = []
    for number, inside in enumerate(membership):
        indices, own_seed = np.flatnonzero(inside).astype(np.int64), _training_seed(seed, number)
        members = hashlib.sha256(np.packbits(inside).tobytes()).hexdigest()
        for measure in _checked(measures):
            depends = _depends(measure, shown, {"members": members, "training seed": own_seed})
            last = measure is measures[-1]
            compute = partial(_train_and_measure, _Training(number, indices, own_seed), images, measure, last)
            label, bundle = f"shadow {number}, {measure.name}", f"shadow {number}"
            units.append(Unit(label, depends, compute, len(images), bundle=bundle))
    runner, work = engine or current_engine(), work or Work()
    results = list(runner.run(trainer, units, title="shadow models", work=work))
    return tuple(_collect(results[i :: len(measures)], membership, images, m) for i, m in enumerate(measures))


def score_shadows(
    shadows: Sequence[Shadow],
    images: ImageSet,
    measures: Sequence[Measure],
    *,
    engine: Engine | None = None,
    work: Work | None = None,
) -> tuple[ShadowScores, ...]:
    """Measure given shadow models on the images; each result is stored as soon as it is there.

    Args:
        shadows: checkpoints with their membership lists; none of them the target.
        images: the probes of the audit, with their captions or classes if the target is to be told them.
        measures: what to keep of each shadow.
        engine: where work runs and is stored; as the pytest session's options say by default, and outside pytest in
            this process and nowhere.
        work: counts what was computed and what was reused.

    Returns:
        The measured values, one a measure, in their order; stand-ins while a pytest run is only planned.

    Raises:
        UsageError: no shadows, the same model twice, or a model that does not fit the images.

    Source: Follows METHODS 3.2.
    """
    if not shadows:
        raise UsageError("`shadows` must hold at least one model, got none.")
    if options.planning():
        return _planned(len(shadows), measures)
    membership = np.array([[digest in shadow.members for digest in images.digests] for shadow in shadows])
    runner, work = engine or current_engine(), work or Work()
    results: list[Arrays] = []
    for shadow in shadows:
        units = [unit for measure in _checked(measures) for unit in _asking(shadow, images, measure)]
        parts = list(runner.run(shadow.model, units, title=f"shadow model {shadow.name}", work=work))
        each = len(parts) // len(measures)
        results += [_joined(parts[start : start + each]) for start in range(0, len(parts), each)]
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

    def drop(self) -> None:
        """Nothing more is asked of the last model: a worker's memory is for the next one."""
        self._latest = None


@dataclass(frozen=True, slots=True)
class _Training:
    """One training: number of the shadow model, indices of its images, and its seed."""

    number: int
    indices: NDArray[np.int64]
    seed: int


def _train_and_measure(
    training: _Training, images: ImageSet, measure: Measure, last: bool, trainer: _Trainer, batch_size: int
) -> Arrays:
    model = trainer.model(training.number, training.indices.copy(), training.seed)
    parts = [_measured(images, start, measure, model, batch_size) for start in range(0, len(images), CHUNK)]
    if last:
        trainer.drop()
    return _joined(parts)


def _asking(shadow: Shadow, images: ImageSet, measure: Measure) -> list[Unit]:
    """What a given shadow is asked: a unit for every 256 images."""
    units = []
    for start in range(0, len(images), CHUNK):
        stop = min(start + CHUNK, len(images))
        depends = _depends(measure, images.part_digest(start, stop))
        label = f"{shadow.name}, {measure.name}, {start}-{stop - 1}"
        units.append(Unit(label, depends, partial(_measured, images, start, measure), stop - start))
    return units


def _measured(images: ImageSet, start: int, measure: Measure, model: Denoiser, batch_size: int) -> Arrays:
    part = range(start, min(start + CHUNK, len(images)))
    prompts = images.prompts(part)
    given = {} if prompts is None else {"prompts": prompts}
    batch = torch.from_numpy(images.load(part))
    values = measure.function(model, batch, batch_size=batch_size, **measure.parameters, **given)
    identity = np.frombuffer(model.identity.digest.encode(), dtype=np.uint8)
    return {"values": np.asarray(values, dtype=np.float64), "identity": identity.copy()}


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {"values": np.concatenate([part["values"] for part in parts]), "identity": parts[0]["identity"]}


def _collect(
    results: Sequence[Arrays], membership: NDArray[np.bool_], images: ImageSet, measure: Measure
) -> ShadowScores:
    shapes = {result["values"].shape for result in results}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise UsageError(f"Shadow models must have one architecture, but {measure.name} gave {one} and {other}.")
    values = np.stack([result["values"] for result in results])
    models = [result["identity"].tobytes().decode() for result in results]
    return ShadowScores(values, membership, images.digests, models, measure, images.prompts(range(len(images))))


def _depends(measure: Measure, images: str, training: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    if not measure.stored:
        return None
    asked = {"method": "shadow model", "version": VERSION, "measure": measure.description, "images": images}
    return {**asked, **(training or {})}


def _planned(models: int, measures: Sequence[Measure]) -> tuple[ShadowScores, ...]:
    """They stand for scores, and nobody may ask them."""
    return cast("tuple[ShadowScores, ...]", tuple(PlannedShadows(models, measure) for measure in _checked(measures)))


def _checked(measures: Sequence[Measure]) -> Sequence[Measure]:
    if not measures or len({fingerprint(measure.description) for measure in measures}) < len(measures):
        raise UsageError(f"`measures` must be at least one and distinct, got {[m.name for m in measures]}.")
    return measures


def _training_seed(seed: int, number: int) -> int:
    """Below 2^31, which every library accepts."""
    return int.from_bytes(hashlib.sha256(f"shadow training|{seed}|{number}".encode()).digest()[:4], "big") >> 1
