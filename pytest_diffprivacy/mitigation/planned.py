"""What stands for a comparison of mitigations while an audit is planned? Its sizes; nothing was sampled."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation.compare import MitigationComparison
from pytest_diffprivacy.mitigation.method import DdimSampling, MitigationCard


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
