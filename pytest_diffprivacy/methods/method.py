"""Method: the facts of a published attack, detector or score. Configured: a method with its parameters as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.engine.code_identity import code_identity
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.evidence.records import Chart, Estimate, Strip
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import MatchedTimestep, NoiseSchedule
from pytest_diffprivacy.probes import ProbeSet

Scores: TypeAlias = Callable[..., NDArray[np.float64]]
Pair: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
BY_CALLER: Final = "chosen by the caller"


class Kind(StrEnum):
    """What a method finds out; the room of that name holds ours."""

    EXTRACTION = "extraction"
    MEMBERSHIP = "membership"
    SHARPNESS = "sharpness"
    MEMORIZATION = "memorization"
    MITIGATION = "mitigation"

    @property
    def question(self) -> str:
        """The question, as a threat model asks it."""
        return _QUESTIONS[self]

    @property
    def argument(self) -> str:
        """What the argument is called by which a claim takes methods of this kind."""
        return {"sharpness": "statistic", "memorization": "detector", "mitigation": "mitigation"}.get(self, "attack")


_QUESTIONS: Final = {
    Kind.EXTRACTION: "Can training images be drawn out again?",
    Kind.MEMBERSHIP: "Was this image in the training set?",
    Kind.SHARPNESS: "Is the density needle-sharp at training images?",
    Kind.MEMORIZATION: "Does this prompt bring back one image?",
    Kind.MITIGATION: "Does the mitigation keep memorized images from coming back?",
}


class Need(StrEnum):
    """What a method needs besides the model and the images."""

    PROMPTS = "the images' prompts"
    SHADOW_MODELS = "shadow models"
    ATTENTION = "cross-attention maps"
    NONMEMBERS = "further non-members"


@dataclass(frozen=True, slots=True)
class MethodEvidence:
    """What a method shows a reader beside its scores.

    Attributes:
        estimates: what was measured as well, such as a control's AUROC.
        notes: sentences that read them.
        strips_title: heading of the pictures.
        strips: rows of pictures.
        charts: curves.
    """

    estimates: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = ()
    strips_title: str = ""
    strips: tuple[Strip, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredProbes:
    """What a method may look at that shows something beside its scores.

    Attributes:
        model: the model under audit.
        probes: members and non-members.
        members: scores of the members, float64 (n,).
        nonmembers: scores of the non-members.
        parameters: of the method.
        seed: the run's seed.
        confidence: of each one-sided bound.
        images: "none", "redacted" or "full": how pictures may be shown.
        used: the method as it was configured.
        ask: configured methods -> by key, their scores of the members and of the non-members, computed and stored as
            the method's own; several share network evaluations.
    """

    model: Denoiser
    probes: ProbeSet
    members: NDArray[np.float64]
    nonmembers: NDArray[np.float64]
    parameters: Mapping[str, Any]
    seed: int
    confidence: float
    images: str
    used: Configured
    ask: Callable[[Sequence[Configured]], Mapping[str, Pair]]


EvidenceHook: TypeAlias = Callable[[ScoredProbes], MethodEvidence]


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """A published method as a catalogue lists it.

    Attributes:
        name: short name, as in `attack="secmi"`.
        title: what the paper calls it.
        access: the access it needs; None: the caller chose.
        source: the citation.
        kind: what it finds out.
        needs: what it needs besides the model and the images.
        built_by: the call that makes it, for a method that cannot be had by its name alone; "" where it can.
        asks: its own question about the model; "" where it is that of its kind.
        claim: name of the claim that is this method, whatever it is judged from; "" where none is.
    """

    name: str
    title: str
    access: Access | None
    source: str
    kind: Kind = Kind.MEMBERSHIP
    needs: frozenset[Need] = frozenset()
    built_by: str = ""
    asks: str = ""
    claim: str = ""

    @property
    def question(self) -> str:
        """What it asks about the model."""
        return self.asks or self.kind.question

    def built(self, **facts: Any) -> Method:
        """The method itself, of what only its call knows: its function, its parameters, a title of its own."""
        own = {fact.name: getattr(self, fact.name) for fact in fields(Published)}
        return Method(**{**own, **facts})

    @property
    def access_text(self) -> str:
        """The access as a record says it."""
        shadows = f" and {Need.SHADOW_MODELS}" if Need.SHADOW_MODELS in self.needs else ""
        return f"{self.access or BY_CALLER}{shadows}"


def named_timesteps(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """The timesteps among parameters, found by their names `timestep` and `timesteps`."""
    one = (parameters["timestep"],) if "timestep" in parameters else ()
    return one + tuple(parameters.get("timesteps", ()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Method(Published):
    """A method with its defaults. Called with parameters it becomes a value: `secmi(timestep=50)`.

    Attributes:
        scores: (model, images, *, batch_size, **parameters) -> float64 (images,), higher = more likely member, or
            sharper; takes `prompts` and `seed` as well where it can.
        defaults: its parameters with their default values.
        required: names of its parameters without a default.
        version: raised whenever the same parameters would give other scores; None: never answered from the store.
        seeded: whether `scores` draws noise from a seed.
        evaluations: all parameters -> network evaluations an image costs; None: unknown.
        timesteps: all parameters -> the timesteps to be matched to the model's schedule.
        decides_at_timestep: whether the answers at its timesteps make the score, and what it asks for below them only
            leads there; its control then has no memory below them.
        uncontrolled: why it cannot be asked about an ideal denoiser; "" where it can.
        evidence: what it shows beside its scores; None: nothing.
    """

    scores: Scores
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    version: int | None = None
    seeded: bool = False
    evaluations: Callable[[Mapping[str, Any]], int] | None = None
    timesteps: Callable[[Mapping[str, Any]], tuple[int, ...]] = named_timesteps
    decides_at_timestep: bool = False
    uncontrolled: str = ""
    evidence: EvidenceHook | None = None

    def __post_init__(self) -> None:
        code_identity(self.scores)  # what the code is now, before its file changes

    def __call__(self, **parameters: Any) -> Configured:
        """The method with these parameters, and its defaults for the others.

        Raises:
            UsageError: it has no such parameter.
        """
        known = (*self.required, *self.defaults)
        if unknown := sorted(set(parameters) - set(known)):
            raise UsageError(
                f"`parameters` must be among {', '.join(known) or 'none'} for {self.name}, got {', '.join(unknown)}."
            )
        return Configured(self, {**self.defaults, **parameters})

    def check_complete(self, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters that lack one without a default.

        Raises:
            UsageError: one is missing.
        """
        for name in self.required:
            if parameters.get(name) is None:
                where = str(self.scores.__module__).removeprefix("pytest_diffprivacy.")
                raise UsageError(f"`{name}` must be given for {self.name!r}, got None. It has no default: see {where}.")

    @property
    def needs_prompts(self) -> bool:
        """Whether it cannot run without the images' prompts."""
        return Need.PROMPTS in self.needs

    @property
    def code(self) -> dict[str, str] | None:
        """Identity of its function; None where it cannot be told from its next edition."""
        return code_identity(self.scores)

    @property
    def controlled(self) -> bool:
        """Whether a model with exact answers and no parameters can be asked by it."""
        return not self.uncontrolled and self.access is not Access.WHITE_BOX


@dataclass(frozen=True, eq=False)
class Configured:
    """A method with all its parameters.

    Attributes:
        method: the method.
        parameters: all of them.
        label: what tells it from other members of its family, e.g. "timestep 50"; "" for a method alone.
    """

    method: Method
    parameters: Mapping[str, Any]
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    @property
    def key(self) -> str:
        """Name and label: unique within a claim."""
        return f"{self.name} {self.label}" if self.label else self.name

    @property
    def title(self) -> str:
        """Title of the method and label."""
        return f"{self.method.title}, {self.label}" if self.label else self.method.title

    @property
    def evaluations(self) -> int | None:
        """Network evaluations that an image costs; None: unknown."""
        return None if self.method.evaluations is None else self.method.evaluations(self.parameters)

    @property
    def function(self) -> str:
        """Qualified name of the function; "" where it has none."""
        return (self.method.code or {}).get("function", "")

    def timesteps(self, schedule: NoiseSchedule) -> list[MatchedTimestep]:
        """Its timesteps on a model's schedule."""
        return [schedule.match(t) for t in self.method.timesteps(self.parameters)]

    def least_timestep(self, schedule: NoiseSchedule) -> int | None:
        """The model's own timestep below which the planted model has no memory; None: it has everywhere."""
        if not self.method.decides_at_timestep:
            return None
        # At the first timestep there is next to no noise: only a model with infinite precision could remember there.
        return max(1, min(t.index for t in self.timesteps(schedule)))

    @property
    def identity(self) -> dict[str, Any] | None:
        """What its scores depend on besides model, images and seed; None: never answered from the store."""
        code = None if self.method.version is None else self.method.code
        if code is None:
            return None
        own = {"name": self.name, "label": self.label, "version": self.method.version}
        return {**own, **code, "parameters": dict(self.parameters)}

    def task(self, seed: int) -> ScoreTask:
        """What to compute for every image."""
        given = {**self.parameters, "seed": seed} if self.method.seeded else self.parameters
        return ScoreTask(self.key, self.method.version, self.method.scores, given)

    def labelled(self, label: str) -> Configured:
        """The same as a member of a family."""
        return replace(self, label=label)
