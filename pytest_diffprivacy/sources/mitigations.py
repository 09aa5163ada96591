"""A mitigation of a comparison as the source of a claim, and what stands for a comparison while an audit is planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pytest_diffprivacy.audit import Subject
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation import DdimSampling, MitigationCard, MitigationComparison
from pytest_diffprivacy.probes import PromptSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.generations import evaluations_a_step


@dataclass(frozen=True, slots=True)
class PlannedComparison:
    """A comparison that is not made; it holds no images.

    Attributes:
        model: the model it would ask.
        prompts: memorized prompts with a training image.
        others: prompts that are not memorized.
        excluded: prompts left out because their training image is gone.
        images: of each prompt and method.
        sampling: steps and guidance.
        cards: the mitigations.
    """

    model: object
    prompts: int
    others: int
    excluded: int
    images: int
    sampling: DdimSampling
    cards: tuple[MitigationCard, ...]

    @classmethod
    def of(cls, made: MitigationComparison) -> PlannedComparison:
        """The sizes of one that was made already."""
        prompts, cards = made.prompts, tuple(outcome.card for outcome in made.outcomes[1:])
        images = made.original.copies.shape[1]
        return cls(
            made.model, len(prompts.memorized), len(prompts.others), prompts.excluded, images, made.sampling, cards
        )

    @property
    def samples(self) -> int:
        """Images that are sampled, with and without mitigations."""
        return (self.prompts + self.others) * self.images * (1 + len(self.cards))

    def title(self, name: str) -> str:
        """The title of the mitigation of that name.

        Raises:
            UsageError: there is none.
        """
        titles = {card.name: card.title for card in self.cards}
        if name not in titles:
            raise UsageError(f"`mitigation` must be one of {', '.join(titles)}, got {name!r}.")
        return titles[name]


@final
@dataclass(frozen=True, slots=True)
class ComparedMitigation:
    """A mitigation of a comparison as the source of a claim; while an audit is planned of the stand-in for one."""

    sizes: PlannedComparison
    made: MitigationComparison | None
    title: str
    unit: str = "an image"
    slug: str = "mitigation"

    @classmethod
    def of(cls, comparison: object, mitigation: str) -> ComparedMitigation:
        """The mitigation of that name.

        Raises:
            UsageError: what is no comparison, or has no such mitigation.
        """
        if not isinstance(comparison, (MitigationComparison, PlannedComparison)):
            raise UsageError(
                f"`comparison` must be what compare_mitigations returned, got {type(comparison).__name__}."
            )
        made = comparison if isinstance(comparison, MitigationComparison) else None
        sizes = comparison if isinstance(comparison, PlannedComparison) else PlannedComparison.of(comparison)
        return cls(sizes, made, sizes.title(mitigation))

    @property
    def model(self) -> object:
        """Who is sampled."""
        return self.sizes.model

    @property
    def counts(self) -> tuple[int, int, int]:
        """Prompts, images of each, and prompts left out."""
        return self.sizes.prompts, self.sizes.images, self.sizes.excluded

    @property
    def samples(self) -> int:
        """Images that are sampled in all."""
        return self.sizes.samples

    @property
    def evaluations(self) -> int:
        """Of the network, an image."""
        return self.sizes.sampling.steps * evaluations_a_step(self.sizes.sampling.guidance_scale)

    @property
    def subject(self) -> Subject:
        """The model and the prompts."""
        assert self.made is not None, "a plan is not judged"
        prompts, (count, images, excluded) = self.made.prompts, self.counts
        gone = f", {excluded} left out without training image" if excluded else ""
        others = [PromptSet(prompts.others, "reference prompt")] if prompts.others else []
        given = [*prompts.memorized, *prompts.others]
        return Subject(
            model=self.made.model,
            prompts=(PromptSet(prompts.memorized), *others),
            counts=f"{count} prompts with {images} images each{gone}",
            asked=asked(self.made.model, given, guidance=(self.sizes.sampling.guidance_scale,)),
        )
