"""Quantile regression: whether the image's error is small for an image that looks like this one.

One threshold for all images accuses the easy ones, smooth images that any model reconstructs well. Here the threshold
depends on the image: regressors that see pixels alone learn, from known non-members, the quantile of the error. It is
nominal: what share of fresh non-members is really accused must be measured on them, as `assert_mia_tpr_below` does.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from pytest_diffprivacy.errors import AuditError, ProbeError, UsageError
from pytest_diffprivacy.membership.loss import loss
from pytest_diffprivacy.membership.pia import pia
from pytest_diffprivacy.membership.secmi import secmi
from pytest_diffprivacy.membership.shadow import digests_of
from pytest_diffprivacy.membership.sima import sima
from pytest_diffprivacy.methods import Access, Method, Need, Published, register
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images

BASES: Final[Mapping[str, Method]] = {attack.name: attack for attack in (secmi, loss, pia, sima)}
BAG = 8
TREES = 50
SIDE = 8
SMALLEST = 1e-300
VERSION = 1
MODELS_KEPT = 4

QUANTILE = Published(
    name="quantile",
    title="Quantile regression",
    access=Access.GREY_BOX,
    source="Tang et al. 2023",
    needs=frozenset({Need.NONMEMBERS}),
    built_by="quantile_attack(calibration_images, fpr=...)",
)
register(QUANTILE)

Bag: TypeAlias = list[Any]  # of scikit-learn's gradient boosting

_fitted: OrderedDict[tuple[Any, ...], Bag] = OrderedDict()
"""The latest bags of this process: a worker is sent the attack with every call, and fits no bag again."""


def quantile_attack(
    calibration_images: Tensor | ArrayLike,
    *,
    fpr: float,
    base: str | Method = "secmi",
    bag: int = BAG,
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
    prompts: Sequence[Prompt] | None = None,
) -> Method:
    """Build an attack whose score is `q_p(x) - log error(x)`, p = fpr, positive where membership is claimed.

    q_p is the mean of a bag of gradient-boosted trees, each fitted by the pinball loss to the logarithm of the base
    attack's error on a bootstrap sample of the calibration images. It sees pixels alone, never the model.

    Args:
        calibration_images: (n, channels, height, width) in [0, 1], known non-members that are not scored otherwise;
            n >= 1 / fpr, since fewer show no such quantile.
        fpr: the quantile, in (0, 1): the false positive rate aimed at. **It is not guaranteed**: judge the attack's
            scores on fresh non-members, whose threshold carries its own error.
        base: name of an attack in BASES, or an Attack whose scores are minus an error.
        bag: number of regressors.
        seed: of the bootstrap samples and the trees.
        parameters: arguments of the base that differ from its defaults.
        prompts: one prompt a calibration image, where the scored images have prompts.

    Returns:
        The attack; its regressors are fitted once a model, when it first scores.

    Raises:
        UsageError: an argument is wrong.
        ProbeError: fewer than 1 / fpr calibration images, or equal ones among them.

    Source: Follows Tang et al. 2023 (quantile regression), except for log errors, pixel features with boosted trees for
    its networks, and a bag whose quantiles are averaged (the paper's backbone and bag are not known to us).
    """
    if isinstance(base, str) and base not in BASES:
        raise UsageError(f"`base` must be one of {', '.join(BASES)} or an Attack, got {base!r}.")
    attack = BASES[base] if isinstance(base, str) else base
    if not 0.0 < fpr < 1.0:
        raise UsageError(f"`fpr` must be strictly between 0 and 1, got {fpr!r}. Write 1 % as 0.01.")
    if bag < 1 or seed < 0:
        raise UsageError(f"`bag` must be at least 1 and `seed` at least 0, got {bag!r} and {seed!r}.")
    given = dict(parameters or {})
    if unknown := sorted(set(given) - set(attack.defaults)):
        raise UsageError(f"`parameters` must be among {', '.join(attack.defaults)}, got {', '.join(unknown)}.")
    regressors = _Regressors(as_images(calibration_images), prompts, attack, fpr, bag, seed)
    told = attack.version is not None and attack.code is not None
    return replace(
        attack,
        name="quantile",
        title=f"Quantile regression of {attack.title}, nominal FPR {fpr:g}",
        source=f"Tang et al. 2023, on {attack.source}",
        scores=regressors.scores,
        defaults={**attack.defaults, **given, **regressors.fixed},
        version=1_000 * VERSION + (attack.version or 0) if told else None,
        decides_at_timestep=False,
        evidence=None,
    )


@final
class _Regressors:
    """Calibration images, and the bags fitted on them for the latest models."""

    def __init__(
        self, images: Tensor, prompts: Sequence[Prompt] | None, base: Method, fpr: float, bag: int, seed: int
    ) -> None:
        digests = digests_of(images)
        self._known = frozenset(digests)
        if len(images) * fpr < 1.0:
            raise ProbeError(
                f"`calibration_images` must be at least {int(np.ceil(1.0 / fpr))} for fpr {fpr:g}, got {len(images)}. "
                "Add known non-members or raise fpr."
            )
        if len(self._known) < len(digests):
            raise ProbeError(
                f"`calibration_images` must be distinct, got {len(digests) - len(self._known)} repetitions. Drop them."
            )
        if prompts is not None and len(prompts) != len(images):
            raise UsageError(f"`prompts` must be one for each of the {len(images)} images, got {len(prompts)}.")
        self._images, self._prompts = images, prompts
        self._base_scores, self._base_title = base.scores, base.title
        self._fpr, self._bag, self._seed = fpr, bag, seed
        described = b"" if prompts is None else repr(list(prompts)).encode()
        calibration = hashlib.sha256(b"".join(digests) + described).hexdigest()
        self.fixed = {"base": base.name, "fpr": fpr, "bag": bag, "calibration": calibration, "training_seed": seed}
        if source := (base.code or {}).get("source"):
            self.fixed["base_source"] = source

    def scores(
        self,
        model: Denoiser,
        images: Tensor | ArrayLike,
        *,
        prompts: Sequence[Prompt] | None = None,
        batch_size: int = BATCH_SIZE,
        **parameters: Any,
    ) -> NDArray[np.float64]:
        """Scores of images: float64 (n,), higher = more likely member.

        Raises:
            UsageError: what defines the regressors was changed; or prompts on one side only.
            ProbeError: an image is among the calibration images.
            AuditError: the base attack's scores are not minus an error, or not finite.
        """
        denoiser = require_denoiser(model, "Quantile regression")
        checked = as_images(images)
        changed = [name for name, value in self.fixed.items() if parameters.pop(name, value) != value]
        if changed:
            raise UsageError(
                f"`{changed[0]}` must be what the regressors were built with. Call quantile_attack(...) again."
            )
        if (prompts is None) != (self._prompts is None):
            raise UsageError("Calibration images and scored images must both have prompts or neither. Give `prompts`.")
        shared = sum(digest in self._known for digest in digests_of(checked))
        if shared:
            raise ProbeError(
                f"{shared} of {len(checked)} images to be scored are calibration images of the quantile regression. "
                "Calibrate on non-members that are not in the probe set."
            )
        settings = {"batch_size": batch_size, **parameters}
        looks = _pixel_features(checked)
        quantile = np.mean([regressor.predict(looks) for regressor in self._bag_of(denoiser, settings)], axis=0)
        return np.asarray(quantile - self._log_errors(denoiser, checked, prompts, settings), dtype=np.float64)

    def _bag_of(self, model: Denoiser, settings: Mapping[str, Any]) -> Bag:
        """The regressors for a model, fitted where it is not among the latest."""
        identity = model.identity
        ours = id(self) if identity.digest == UNKNOWN_DIGEST else self._base_scores
        # repr tells a ReferenceTimestep from a plain int.
        asked = repr(sorted((name, value) for name, value in settings.items() if name != "batch_size"))
        key = (ours, *self.fixed.values(), identity.digest, identity.dtype, asked)
        if key not in _fitted:
            _fitted[key] = self._fit(self._log_errors(model, self._images, self._prompts, settings))
        _fitted.move_to_end(key)
        while len(_fitted) > MODELS_KEPT:
            _fitted.popitem(last=False)
        return _fitted[key]

    def _log_errors(
        self, model: Denoiser, images: Tensor, prompts: Sequence[Prompt] | None, settings: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        given = {} if prompts is None else {"prompts": prompts}
        errors = -self._base_scores(model, images, **settings, **given)
        if not (errors >= 0.0).all():
            raise AuditError(
                f"{self._base_title} cannot be the base of a quantile regression: its scores must be minus an error, "
                f"got {float(-errors.min()):g}. Choose one of {', '.join(BASES)}."
            )
        return np.log(np.maximum(errors, SMALLEST))

    def _fit(self, log_errors: NDArray[np.float64]) -> Bag:
        from sklearn.ensemble import GradientBoostingRegressor

        looks, count = _pixel_features(self._images), len(log_errors)
        bag = []
        for index in range(self._bag):
            drawn = np.random.default_rng([self._seed, index]).integers(0, count, count)
            regressor = GradientBoostingRegressor(
                loss="quantile",
                alpha=self._fpr,
                n_estimators=TREES,
                max_depth=2,
                max_features="sqrt",
                min_samples_leaf=max(1, min(20, count // 10)),
                random_state=(self._seed + index) % 2**32,
            )
            bag.append(regressor.fit(looks[drawn], log_errors[drawn]))
        return bag


def _pixel_features(images: Tensor) -> NDArray[np.float64]:
    """What an image looks like: float64 (n, k): contrast, roughness, quantiles, and a small copy of at most 8 x 8.

    Source: ours, after the blind baseline of METHODS 7.10.
    """
    pixels = images.double()
    size = min(SIDE, pixels.shape[2]), min(SIDE, pixels.shape[3])
    levels = torch.quantile(pixels.flatten(1), torch.linspace(0.0, 1.0, 5, dtype=torch.float64), dim=1).T
    columns = [
        pixels.mean((2, 3)),
        pixels.flatten(2).std(2, correction=0),
        _mean_square(pixels.diff(dim=2)),
        _mean_square(pixels.diff(dim=3)),
        _mean_square(pixels.diff(dim=2).diff(dim=3)),
        levels,
        adaptive_avg_pool2d(pixels, size).flatten(1),
    ]
    return torch.cat(columns, dim=1).numpy()


def _mean_square(differences: Tensor) -> Tensor:
    """(n, 1); 0 where an image is one pixel wide."""
    flat = differences.flatten(1)
    return flat.square().sum(1, keepdim=True) / max(1, flat.shape[1])
