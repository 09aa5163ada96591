"""Wiring control: whether a grey-box model answers, and is asked as its network was trained.

A network whose prediction type, times or range of images are declared wrongly denoises nothing, and an attack on it
finds nothing. So its error at timesteps over the schedule is compared with that of a blur, a Gaussian fitted to each
pixel of the non-members; where it loses, other wirings of the same network are tried, and the one that explains the
errors is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.engine import Unit, Work
from pytest_diffprivacy.engine.batches import is_out_of_memory
from pytest_diffprivacy.errors import AuditError, ModelError
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.models import ReferenceTimestep
from pytest_diffprivacy.models.analytic import AnalyticDenoiser, AnalyticPrompts
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import DenoisingNetwork
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.models.planted import PlantedLeak, PlantedPrompts
from pytest_diffprivacy.models.prediction import PredictionType, eps_from, prediction_from_eps
from pytest_diffprivacy.models.prompts import class_labels
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.sources.controls import FEW, LARGE, control, not_applicable, stop
from pytest_diffprivacy.sources.synthetic import ROLE, synthetic_images
from pytest_diffprivacy.statistics.wiring import TINY, Other, Wiring, judge_wiring, loses_by_far

VERSION: Final = 2
TIMESTEPS: Final = (50, 200, 500, 800)
"""Of the papers, matched by signal-to-noise ratio."""
IMAGES, FITTED, LEAST = 32, 128, 10
SEARCHED, SEARCHED_AT = 8, 1
"""Images, and the place of the timestep, on which a range is searched for."""
SCALES, SHIFTS = (0.25, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 4.0), (-1.0, -0.6, -0.3, 0.0, 0.3, 0.5, 1.0)
RANGES: Final = (*product(SCALES, SHIFTS), (127.5, 127.5), (1.0 / 127.5, -1.0))
EXACT: Final = (AnalyticDenoiser, AnalyticPrompts, PlantedLeak, PlantedPrompts)
DECLARED, BLUR, FIT, OTHER_BLUR, BASE = "declared", "blur", "fitted", "blur: ", "beside: "
DONE: Final = (
    "The model predicted the noise in {count} {role}s at timesteps {times} (matched by signal-to-noise ratio). A blur, "
    "the best guess of a Gaussian fitted to each pixel, predicted the same; no timestep may be lost to it where other "
    "wirings (prediction type, sign, times, range) or what the output holds show that the network knows "
    "better (paired over images, significance 0.001)."
)
CHECK: Final = "Check `predicts`, the order and scale of times, the range of images and their normalization"

HALVED: Final = (
    " Errors of a consistency function, whose answer is no mean but one image that could be there, count half."
)

Ask: TypeAlias = Callable[[Tensor, int, Conditioning | None], Tensor]
Matrix: TypeAlias = NDArray[np.float64]
Named: TypeAlias = Iterator[tuple[str, Matrix, Matrix, Matrix]]
"""What would be different, its errors, those of its blur, and those that it is compared with."""


def wiring_control(
    auditor: Auditor, model: Denoiser, images: ImageSet | None, findings: Findings, *, decides: bool = True
) -> None:
    """Check a model's outputs and its wiring, once for all claims on it, and record it.

    A network that denoises no better than a blur, and that no other wiring makes better, cannot PASS; nor can one with
    too few images for the check.

    Args:
        auditor: who computes.
        model: under audit.
        images: the non-members; shown with their prompts where the model takes them. None, or of another size than
            the model's: synthetic images take their place.
        findings: the claim's.
        decides: whether a network that denoises no better than a blur cannot PASS; not of a claim about generations,
            which are those of the network as it is.

    Raises:
        AuditError: the outputs are not those of a denoiser, or the wiring is wrong.
    """
    large = int(np.prod(model.sample_shape)) > LARGE
    if isinstance(model, EXACT) or images is None or images.image_shape != model.image_shape:
        images = synthetic_images(model.image_shape, FEW if large else FITTED)
    count = min(FEW if large else IMAGES, len(images))
    title, times = model.identity.name, ", ".join(map(str, TIMESTEPS))
    done = DONE.format(count=count, role=images.role, times=times) + ("" if _share(model) == 1.0 else HALVED)
    if isinstance(model, EXACT):
        findings.controls.append(not_applicable("wiring", title, done, "Its answers are exact; no network is wired."))
        return
    if count < LEAST:
        why = f"{len(images)} {images.role}s are too few: {LEAST} are needed."
        findings.controls.append(not_applicable("wiring", title, done, why))
        if decides:
            findings.unproven = f"{title} is not shown to be asked as it was trained: {why}"
        return
    used = images.subset(images.digest_order[: count if large else FITTED])
    own = used.prompts(range(len(used)))
    depends = {
        "method": "wiring", "version": VERSION, "images": used.part_digest(0, len(used)), "count": count,
        "prompts": own, "times": TIMESTEPS,
    }  # fmt: skip
    unit = Unit("wiring", depends, partial(_errors, used, count), len(TIMESTEPS) * count)
    (arrays,) = auditor.engine.run(model, [unit], title="checking the wiring", work=Work())
    if _record(arrays, title, done, findings) is Wiring.BLUR and decides:
        findings.unproven = f"{title} denoises no better than a blur: it has not learned, or is wired wrongly. {CHECK}."
        if images.role == ROLE:
            findings.unproven += (
                " Images of the kind that it was trained on show more than synthetic ones: give "
                "ProbeSet(members, nonmembers, prompts=...) in the place of the prompts."
            )
    stop(findings, "wiring", f"so silence of an attack proves nothing. {CHECK}")


def generator_wiring(auditor: Auditor, model: object, images: ImageSet | None, findings: Findings) -> None:
    """The same of a generator of ours, whose generations and noise predictions are wired alike; no other is asked.

    A pipeline makes images by its own code, so they are those of the network as it is. Of a network that is not
    diffusers' they come of what was declared, and none better than a blur cannot PASS.

    Raises:
        AuditError: the wiring is wrong, so that what is generated is not what the network has learned.
    """
    if isinstance(model, Denoiser) and _network(model) is not None:
        wiring_control(auditor, model, images, findings, decides=isinstance(model, NetworkDenoiser))


def _record(arrays: Arrays, title: str, done: str, findings: Findings) -> Wiring:
    others = {
        name: Other(arrays[name], arrays[OTHER_BLUR + name], arrays[BASE + name])
        for name in arrays
        if OTHER_BLUR + name in arrays
    }
    found = judge_wiring(arrays[DECLARED], arrays[BLUR], arrays[FIT], others)
    shown = (
        f"Error of the predicted noise at timesteps {' / '.join(map(str, TIMESTEPS))}: {_means(arrays[DECLARED])}; of "
        f"the blur {_means(arrays[BLUR])}."
    )
    outcome = {Wiring.RIGHT: ControlOutcome.HELD, Wiring.WRONG: ControlOutcome.FAILED}
    meaning = {
        Wiring.RIGHT: "The network denoises as it is asked.",
        Wiring.WRONG: "The network denoises, but not as it is asked.",
        Wiring.BLUR: "The network denoises no better than a blur.",
    }[found.wiring]
    if found.remedy:
        meaning = f"It looks like {found.remedy}: then the error is {_means(arrays[found.remedy])}."
    recorded = outcome.get(found.wiring, ControlOutcome.NOT_APPLICABLE)
    findings.controls.append(control("wiring", title, done, recorded, f"{meaning} {shown}"))
    return found.wiring


def _means(errors: NDArray[np.generic]) -> str:
    return " / ".join(f"{value:.3g}" for value in np.asarray(errors, dtype=np.float64).mean(0))


@dataclass(frozen=True, slots=True)
class _Points:
    """Clean images in the model's space, one draw of noise at each timestep, and the Gaussian of each pixel."""

    model: Denoiser
    x0: Tensor
    noise: tuple[Tensor, ...]
    indices: tuple[int, ...]
    mean: Tensor
    variance: Tensor
    prompts: Any
    batch_size: int

    def at(self, place: int) -> tuple[int, float, float, Tensor, Tensor]:
        """Index, alpha, sigma, noise and x_t of a timestep."""
        index = self.indices[place]
        alpha, sigma = self.model.schedule.at(index)
        return index, alpha, sigma, self.noise[place], alpha * self.x0 + sigma * self.noise[place]

    def answers(self, ask: Ask, changed: Callable[[Tensor], Tensor] = lambda x: x) -> list[Tensor]:
        """What is answered at each timestep."""
        return [self.answer(ask, changed(x_t), index) for index, _, _, _, x_t in map(self.at, range(len(self.noise)))]

    def answer(self, ask: Ask, x_t: Tensor, index: int) -> Tensor:
        """Cut into batches."""
        parts = []
        for rows in in_batches(len(x_t), self.batch_size):
            prompts = None if self.prompts is None else self.prompts[rows]
            part = x_t[rows]
            parts.append(ask(part, index, self.model.condition(prompts, len(part))))
        return torch.cat(parts)

    def errors(self, predicted: list[Tensor], *, mean: bool = False) -> Matrix:
        """(images, timesteps) mean squared errors; half of those of a draw, which doubles them, not of a mean."""
        both = zip(predicted, self.noise, strict=True)
        columns = [(p.double() - e.double()).square().flatten(1).mean(1).cpu().numpy() for p, e in both]
        return (1.0 if mean else _share(self.model)) * np.stack(columns, axis=1)

    def blur(self) -> Matrix:
        """The same of a Gaussian of each pixel."""
        return self.errors(self.blurred(), mean=True)

    def fit(self, outputs: list[Tensor]) -> Matrix:
        """The same of the best combination of output, input and a constant."""
        return self.errors(self.fitted(outputs), mean=True)

    def blurred(self) -> list[Tensor]:
        """What a Gaussian of each pixel predicts."""
        found = []
        for place in range(len(self.noise)):
            _, alpha, sigma, _, x_t = self.at(place)
            found.append(sigma * (x_t.double() - alpha * self.mean) / (alpha**2 * self.variance + sigma**2))
        return found

    def fitted(self, outputs: list[Tensor]) -> list[Tensor]:
        """The best combination of output, input and a constant at each timestep."""
        return [self.combined(output, place) for place, output in enumerate(outputs)]

    def combined(self, output: Tensor, place: int) -> Tensor:
        """The same at one timestep."""
        _, _, _, eps, x_t = self.at(place)
        rows = [values.double().flatten() for values in (output, x_t, torch.ones_like(x_t))]
        columns = torch.stack(rows) / torch.stack([row.square().mean().sqrt() + TINY for row in rows])[:, None]
        ridge = 1e-9 * columns.shape[1] * torch.eye(3, device=columns.device, dtype=columns.dtype)
        weights = torch.linalg.solve(columns @ columns.T + ridge, columns @ eps.double().flatten())
        combined: Tensor = (weights @ columns).reshape(eps.shape)
        return combined

    def first(self, count: int) -> _Points:
        """The first images only."""
        prompts = self.prompts and self.prompts[:count]
        return replace(self, x0=self.x0[:count], noise=tuple(eps[:count] for eps in self.noise), prompts=prompts)

    def changed(self, change: Callable[[Tensor], Tensor]) -> _Points:
        """The same noise on changed images."""
        x0, slope = change(self.x0), change(torch.ones_like(self.mean)) - change(torch.zeros_like(self.mean))
        return replace(self, x0=x0, mean=change(self.mean), variance=self.variance * slope.square())


@torch.no_grad()
def _errors(images: ImageSet, count: int, model: Denoiser, batch_size: int) -> Arrays:
    points = _points(images, count, model, batch_size)
    outputs = _checked_outputs(points)
    errors, blur = points.errors(outputs), points.blur()
    arrays = {DECLARED: errors, BLUR: blur, FIT: points.fit(outputs)}
    if loses_by_far(errors, blur).any() or _share(points.model) < 1.0:
        for name, theirs, other, beside in _others(points, outputs, arrays):
            if np.isfinite(theirs).all():
                arrays |= {name: theirs, OTHER_BLUR + name: other, BASE + name: beside}
    return arrays


def _points(images: ImageSet, count: int, model: Denoiser, batch_size: int) -> _Points:
    loaded = torch.from_numpy(images.load(range(len(images))))
    encoded = torch.cat([model.encode(loaded[rows]).detach() for rows in in_batches(len(loaded), batch_size)])
    prompts = images.prompts(range(count))
    if prompts is not None:
        try:
            model.condition(prompts, count)
        except ModelError:  # an unconditional model; an attack that hands prompts on says so itself
            prompts = None
    classes = class_labels(model)
    if prompts is None and classes is not None and classes.null is None:  # any class: it need not be the image's own
        prompts = [number % (classes.classes or 1) for number in range(count)]
    x0 = encoded[:count]
    draws = [np.random.default_rng(number).standard_normal(tuple(x0.shape)) for number in TIMESTEPS]
    noise = tuple(torch.from_numpy(draw).to(x0) for draw in draws)
    indices = tuple(model.schedule.match(ReferenceTimestep(t)).index for t in TIMESTEPS)
    values = encoded.double()
    return _Points(model, x0, noise, indices, values.mean(0), values.var(0) + 1e-6, prompts, batch_size)


def _checked_outputs(points: _Points) -> list[Tensor]:
    """The model's predictions.

    Raises:
        AuditError: they have another shape, are no numbers, differ when asked again or alone, or do not look at the
            input.
    """
    model, name = points.model, points.model.identity.name
    index, _, _, _, x_t = points.at(1)
    part = x_t[: points.batch_size]
    prompts = None if points.prompts is None else points.prompts[: len(part)]
    conditioning = model.condition(prompts, len(part))
    first = model.predict_eps(part, index, conditioning)
    shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
    if not isinstance(first, Tensor) or first.shape != part.shape or not first.is_floating_point():
        kind = f" of {first.dtype}" if isinstance(first, Tensor) else ""
        raise AuditError(
            f"{name}: predict_eps must return floats in the shape {tuple(part.shape)} of x_t, got {shape}{kind}."
        )
    if not bool(torch.isfinite(first).all()):
        raise AuditError(f"{name}: predict_eps returns NaN or infinity. Check the checkpoint and its precision.")
    again = model.predict_eps(part, index, conditioning)
    if not torch.allclose(first, again, rtol=0.05, atol=0.05 * float(first.double().square().mean().sqrt())):
        raise AuditError(
            f"{name}: predict_eps gives another answer to the same x_t when it is asked again. Put the network into "
            "eval mode, and draw no noise in it."
        )
    alone = model.predict_eps(part[:1], index, model.condition(prompts and prompts[:1], 1))
    if not torch.allclose(first[:1], alone, rtol=0.05, atol=0.05 * float(first.double().square().mean().sqrt())):
        raise AuditError(
            f"{name}: predict_eps gives another answer to an x_t alone than beside others. Put batch normalization "
            "into eval mode, and use no statistics of a batch."
        )
    outputs = points.answers(model.predict_eps)
    if any(bool((output == output[:1]).all()) for output in outputs):
        raise AuditError(
            f"{name}: predict_eps gives one answer to {len(outputs[0])} different x_t: it does not look at them, or "
            "one row stands for all."
        )
    return outputs


def _others(points: _Points, outputs: list[Tensor], arrays: Arrays) -> Named:
    """Errors under other wirings; where a conversion of the model's own stands between, of the best combination."""
    errors, blur, fit = arrays[DECLARED], arrays[BLUR], arrays[FIT]
    yield from ((name, theirs, blur, errors) for name, theirs in _other_kinds(points, outputs))
    for name, ask in _other_times(points.model):
        try:
            answers = points.answers(ask)
        except Exception as error:  # the model has no such time
            if is_out_of_memory(error):
                raise
            continue
        yield name, points.errors(answers), blur, errors
        yield f"{name}, up to a scale of its output", points.fit(answers), blur, fit
    yield from _other_ranges(points, errors, blur, fit)


def _other_ranges(points: _Points, errors: Matrix, blur: Matrix, fit: Matrix) -> Named:
    """The range of images, or of all that the network is given, that a search over scales and shifts finds best."""
    ask, few = points.model.predict_eps, points.first(SEARCHED)

    def error(other: _Points, change: Callable[[Tensor], Tensor]) -> float:
        index, _, _, noise, x_t = other.at(SEARCHED_AT)
        found = other.combined(other.answer(ask, change(x_t), index), SEARCHED_AT)
        mean = float((found - noise).square().mean())
        return mean if np.isfinite(mean) else np.inf

    def same(x: Tensor) -> Tensor:
        return x

    scale, shift = min(RANGES, key=lambda r: error(few.changed(partial(_line, *r)), same))
    other = points.changed(partial(_line, scale, shift))
    trained = f"the network was trained on images in [{shift - scale:g}, {shift + scale:g}], not [-1, 1]"
    yield trained, other.errors(other.answers(ask)), other.blur(), errors
    scale, shift = min(RANGES, key=lambda r: error(few, partial(_line, *r)))
    given = f"the network must be given {scale:.3g} x_t {shift:+.3g}, not x_t"
    yield given, points.fit(points.answers(ask, partial(_line, scale, shift))), blur, fit


def _line(scale: float, shift: float, x: Tensor) -> Tensor:
    return scale * x + shift


def _other_kinds(points: _Points, outputs: list[Tensor]) -> Iterator[tuple[str, Matrix]]:
    """The same outputs, read as another kind of prediction."""
    part = _network(points.model)
    named = None if part is None else part.parametrization.name
    declared = [kind for kind in PredictionType if kind.value == named] or list(PredictionType)
    for read in declared:
        for kind in PredictionType:
            for sign in (1.0, -1.0):
                if (kind, sign) == (read, 1.0):
                    continue
                predicted = []
                for place, output in enumerate(outputs):
                    _, alpha, sigma, _, x_t = points.at(place)
                    own = sign * prediction_from_eps(*_scaled(output, x_t, alpha, sigma, read), read)
                    predicted.append(eps_from(*_scaled(own, x_t, alpha, sigma, kind), kind))
                negative = "" if sign > 0.0 else ", with the opposite sign"
                yield f"predicts='{kind}'{negative} (it is read as '{read}')", points.errors(predicted)


def _scaled(
    values: Tensor, x_t: Tensor, alpha: float, sigma: float, kind: PredictionType
) -> tuple[Tensor, Tensor, float, float]:
    """A point at the scale of flow, alpha + sigma = 1, or of the other kinds, alpha^2 + sigma^2 = 1."""
    scale = 1.0 / (alpha + sigma if kind is PredictionType.FLOW else float(np.hypot(alpha, sigma)))
    return values, scale * x_t, scale * alpha, scale * sigma


def _other_times(model: Denoiser) -> Iterator[tuple[str, Ask]]:
    """The network at other times than it is told."""
    names = {
        "time runs the other way (index 0 is the clean end)": None,
        "times are 1000 times as large (it is told t / 1000)": 1000.0,
        "times lie between 0 and 1 (it is told 0 to 999)": 1e-3,
    }
    part, last = _network(model), len(model.schedule) - 1
    if part is None:
        yield from ((name, partial(_at_time, model, factor)) for name, factor in names.items())
        return
    own = getattr(part.parametrization, "times", None)
    told = np.arange(last + 1, dtype=np.float64) if own is None else own
    tables = {name: told[::-1].copy() if factor is None else told * factor for name, factor in names.items()}
    mirrored = told[0] + told[-1] - told
    if not np.allclose(mirrored, told[::-1], atol=1e-6 * float(np.ptp(told))):
        tables["time runs the other way (it is told t for first + last - t)"] = mirrored
    for name, times in tables.items():
        changed: Any = replace(part.parametrization, times=times)  # type: ignore[type-var]
        yield name, replace(part, parametrization=changed).predict_eps


def _at_time(
    model: Denoiser, factor: float | None, x_t: Tensor, index: int, conditioning: Conditioning | None
) -> Tensor:
    time: Any = len(model.schedule) - 1 - index if factor is None else index * factor
    return model.predict_eps(x_t, time, conditioning)


def _network(model: Denoiser) -> DenoisingNetwork | None:
    """The part of one of our models that asks its network."""
    part = getattr(model.predict_eps, "__self__", None)
    return part if isinstance(part, DenoisingNetwork) else None


def _share(model: Denoiser) -> float:
    """Of an error, that counts: a draw from what could be there errs twice as much as its mean."""
    part = _network(model)
    return 1.0 if part is None or part.parametrization.mean else 0.5
