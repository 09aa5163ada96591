"""Shadow models: what models that saw an image, and models that did not, measure on it.

A shadow model is trained like the target on a known half of the images. What an attack needs of it is an array: its
losses or gradient norms on the probes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.engine.code_identity import code_identity
from pytest_diffprivacy.engine.units import Identified
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import fingerprint
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.scoring import as_images
from pytest_diffprivacy.probes import ImageSet


@dataclass(frozen=True, slots=True)
class Measure:
    """What a shadow model, and later the target, is asked about images: the same thing with the same noise.

    Attributes:
        name: short name, e.g. "averaged losses".
        version: raised whenever the same parameters would give other values; a caller's own function is also told by
            the file that defines it, and a lambda or closure is measured anew every time.
        function: (model, images in [0, 1], *, batch_size, **parameters) -> float64 (images,) or (images, features);
            takes `prompts` as well, one an image, where the images have any.
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
        """What a fingerprint says of it; of a caller's own function the file that defines it as well."""
        code = code_identity(self.function) or {}
        own = {"code": code} if "source" in code else {}
        return {"name": self.name, "version": self.version, "parameters": dict(self.parameters), **own}

    @property
    def stored(self) -> bool:
        """Whether its values may be answered from the store: its function can be told from its next edition."""
        return code_identity(self.function) is not None


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
        prompts: one text or class index an image, with which it was measured; None: without.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, an image or a model that occurs twice.
    """

    values: NDArray[np.float64]
    membership: NDArray[np.bool_]
    digests: Sequence[bytes]
    models: Sequence[str]
    measure: Measure | None = None
    prompts: Sequence[Prompt] | None = None

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
        if self.prompts is not None and len(self.prompts) != values.shape[1]:
            raise UsageError(f"`prompts` must hold {values.shape[1]} texts or class indices, got {len(self.prompts)}.")
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
                "prompts": None if self.prompts is None else list(self.prompts),
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
        return ShadowScores(self.values[rest], self.membership[rest], self.digests, names, self.measure, self.prompts)

    def check_target(self, target: Identified) -> None:
        """Refuse a target that is one of its own shadows."""
        if target.identity.digest in self.models:
            raise UsageError(
                f"`shadows` must not contain the target, got {target.identity.name!r} as shadow "
                f"{list(self.models).index(target.identity.digest)}. Leave it out, or use ShadowScores.without(...)."
            )

    def check_prompts(self, prompts: Sequence[Prompt] | None) -> None:
        """Refuse to ask a target with prompts what the shadows were asked without, or the other way round."""
        if self.prompts is None and prompts is not None:
            raise UsageError(
                "`shadows` were measured without prompts, got images with prompts. Give the pool its captions as well "
                "(ImageSet.captioned(...), or ImageSet.of(..., prompts=...)), or audit probes without any."
            )
        if self.prompts is not None and prompts is None:
            raise UsageError(
                "`shadows` were measured with prompts, got images without. Give the probes their captions, "
                "ProbeSet(..., captions=True), or measure the shadow models without."
            )

    def measured(self, model: Denoiser, images: Tensor, prompts: Sequence[Prompt] | None, batch_size: int) -> Any:
        """What the target says of the images, asked as its shadows were."""
        self.check_target(model)
        self.check_prompts(prompts)
        given = {} if prompts is None else {"prompts": prompts}
        return self.asked.function(model, images, batch_size=batch_size, **self.asked.parameters, **given)

    def asked_of_target(
        self,
        model: Denoiser,
        images: Tensor | ArrayLike,
        prompts: Sequence[Prompt] | None,
        batch_size: int,
        given: Mapping[str, Any],
    ) -> tuple[NDArray[np.float64], list[bytes]]:
        """What the target says of images that the shadows were asked about, and the images' digests.

        Raises:
            UsageError: the target is a shadow, or images, prompts or parameters are not those of the shadows.
        """
        check_asked(given, {**self.asked.parameters, "shadows": self.digest})
        checked = as_images(images)
        digests = digests_of(checked)
        places = self.positions(digests)
        if self.prompts is not None and prompts is not None:
            other = sum(self.prompts[place] != prompt for place, prompt in zip(places, prompts, strict=True))
            if other:
                raise UsageError(
                    f"`prompts` must be those that the shadow models were asked with, got {other} of {len(digests)} "
                    "others. Give pool and probes the same captions."
                )
        return self.measured(model, checked, prompts, batch_size), digests


@dataclass(frozen=True, slots=True)
class PlannedShadows:
    """What stands for shadow models while an audit is planned: they are neither trained nor asked.

    Attributes:
        models: how many.
        asked: what they would be asked, and the target as well.
        digest: of their values, which there are none of.
    """

    models: int
    asked: Measure
    digest: str = "planned"

    def __len__(self) -> int:
        return self.models


def digests_of(images: Tensor | ArrayLike) -> list[bytes]:
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


def _kind(value: object) -> str:
    return f"{len(value)} items" if isinstance(value, (list, tuple, set, frozenset)) else type(value).__name__
