"""What a model still knows of images that had to be forgotten: its scores, its generations, and a short relearning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.engine import Unit
from pytest_diffprivacy.engine.code_identity import code_identity
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.methods import Configured, resolve
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser, require_generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.asked import asked_of
from pytest_diffprivacy.sources.controls import SILENCE, positive_control, stop
from pytest_diffprivacy.sources.generations import Request, generated
from pytest_diffprivacy.sources.method_records import method_record
from pytest_diffprivacy.sources.source import Pair, Vector
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.sources.wiring import wiring_control

Relearn: TypeAlias = Callable[[NDArray[np.float32], Sequence[Prompt] | None, int], object]
"""Images (n, channels, height, width) in [0, 1], their prompts and a seed to the audited model, trained on them."""
VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How it is tried, as in `assert_erased`."""

    attack: Any
    parameters: dict[str, Any]
    before: object | None
    relearn: Relearn | None
    recipe: str
    generations: int
    steps: int


@final
class ErasureScores:
    """Scores of forgotten and of never-seen images, what relearning adds to them, and their distance to generations.

    Args:
        auditor: computes.
        model: after the erasure.
        probes: images to be forgotten as members, images never seen as non-members.
        trial: how it is tried.
    """

    unit = "an image"

    def __init__(self, auditor: Auditor, model: object, probes: ProbeSet, trial: Trial) -> None:
        self._auditor, self.model, self._probes, self._trial = auditor, model, probes, trial
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def _chosen(self) -> Configured:
        chosen = resolve("membership", self._trial.attack, self._trial.parameters)
        if len(chosen) != 1:
            raise UsageError("`attack` must be one attack here, got a family. Judge each by a claim of its own.")
        return chosen[0]

    @cached_property
    def _denoiser(self) -> Denoiser:
        return require_denoiser(self.model, "Erasure")

    @property
    def title(self) -> str:
        """The attack."""
        return self._chosen.title

    @property
    def slug(self) -> str:
        """The attack."""
        return f"erased-{self._chosen.key}"

    @property
    def evaluations(self) -> int | None:
        """Of the network, an image: now, before and after relearning."""
        each = self._chosen.evaluations
        models = 1 + (self._trial.before is not None) + (self._trial.relearn is not None)
        return None if each is None else models * each

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @property
    def _sides(self) -> tuple[ImageSet, ImageSet]:
        return self.split.probes.members, self.split.probes.nonmembers

    @property
    def subject(self) -> Subject:
        """The model and the probes."""
        counts = f"{len(self._sides[0])} images to be forgotten, {len(self._sides[1])} never seen"
        told = asked_of(self._denoiser, self._sides, self._chosen.task(0).takes_prompts)
        return Subject(model=self._denoiser.identity, probes=self.split.probes, counts=counts, asked=told)

    def describe(self, findings: Findings) -> None:
        """Record the attack and the split, and run the positive control."""
        findings.methods = [method_record(self._chosen, self._denoiser.schedule, shown={"relearning": self._recipe()})]
        self.split.note(findings)
        positive_control(self._auditor, self._denoiser, self.split.probes, self._chosen, findings)
        stop(findings, "positive", SILENCE)
        wiring_control(self._auditor, self._denoiser, self._sides[1], findings)

    def _recipe(self) -> str | None:
        return None if self._trial.relearn is None else self._trial.recipe

    def now(self, findings: Findings) -> Pair:
        """Scores of both sides by the model after the erasure."""
        return self._by(self._denoiser, findings)

    def before(self, findings: Findings) -> Pair | None:
        """Scores of both sides by the model before it; None where there is none."""
        if self._trial.before is None:
            return None
        return self._by(require_denoiser(self._trial.before, "The model before the erasure"), findings)

    def _by(self, model: Denoiser, findings: Findings) -> Pair:
        task = self._chosen.task(self._auditor.seed)
        members, nonmembers = (self._auditor.scores(model, side, task, findings.work) for side in self._sides)
        return members, nonmembers

    def gains(self, now: Pair, findings: Findings) -> Pair | None:
        """What relearning one half of the forgotten images adds to the scores of the other, and of never-seen images.

        The relearned scores are stored: a run that ends early trains no second time.
        """
        trial = self._trial
        if trial.relearn is None:
            return None
        forget, others = self._sides
        order = forget.digest_order
        shown, held = order[::2], order[1::2]
        code = code_identity(trial.relearn)
        depends = None if code is None or self._chosen.identity is None else {
            "method": "relearning", "version": VERSION, **code, "recipe": trial.recipe, "attack": self._chosen.identity,
            "shown": forget.subset(shown).digest, "held": forget.subset(held).digest, "others": others.digest,
            "seed": self._auditor.seed,
        }  # fmt: skip
        sets = (forget.subset(shown), forget.subset(held), others)
        compute = partial(_relearned, trial.relearn, self._chosen, sets, self._auditor.seed)
        unit = Unit("relearning", depends, compute, len(held) + len(others))
        (arrays,) = self._auditor.engine.run(self._denoiser, [unit], title="relearning", work=findings.work)
        return arrays["forget"] - now[0][np.asarray(held)], arrays["never_seen"] - now[1]

    def distances(self, findings: Findings) -> Pair | None:
        """RMS distance of each image to the nearest generation; None where nothing is generated."""
        trial = self._trial
        if trial.generations == 0:
            return None
        generator = require_generator(self.model, "Copies after an erasure")
        loaded = [side.load(range(len(side))).reshape(len(side), -1).astype(np.float64) for side in self._sides]
        nearest = [np.full(len(side), np.inf) for side in loaded]
        for request in self._requests():
            for block in generated(self._auditor, generator, [request], self.split.probes, findings):
                made = block.reshape(len(block), -1).astype(np.float64) / 255.0
                for side, least in zip(loaded, nearest, strict=True):
                    np.minimum(least, _rms(side, made).min(1), out=least)
        return nearest[0], nearest[1]

    def _requests(self) -> list[Request]:
        """Without captions as many as asked for; with them as many in all, caption by caption of both sides."""
        trial, told = self._trial, list[Prompt]()
        for side in self._sides:
            told += side.prompts(range(len(side))) or []
        if not told:
            return [Request(trial.generations, trial.steps)]
        prompts = sorted(set(told), key=str)
        each = max(1, trial.generations // len(prompts))
        return [Request(each, trial.steps, prompt, label=f"prompt {n}") for n, prompt in enumerate(prompts)]


def _rms(images: Any, others: Any) -> Any:
    """(images, others)."""
    squares = (images**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2.0 * images @ others.T
    return np.sqrt(np.maximum(squares, 0.0) / images.shape[1])


def _relearned(
    relearn: Relearn, chosen: Configured, sets: tuple[ImageSet, ImageSet, ImageSet], seed: int, model: Any, batch: int
) -> Arrays:
    """Train on the first set; scores of the two others."""
    shown, *scored = sets
    images = shown.load(range(len(shown)))
    found = require_denoiser(relearn(images, shown.prompts(range(len(shown))), seed), "The relearned model")
    if found.identity.digest == model.identity.digest:
        raise UsageError("`relearn` must return a model that was trained further, got the audited one again.")
    task, made = chosen.task(seed), list[Vector]()
    for side in scored:
        told = side.prompts(range(len(side))) if task.takes_prompts else None
        given = {} if told is None else {"prompts": told}
        pixels = torch.from_numpy(side.load(range(len(side))))
        made.append(np.asarray(task.function(found, pixels, batch_size=batch, **task.parameters, **given)))
    return {"forget": made[0], "never_seen": made[1]}
