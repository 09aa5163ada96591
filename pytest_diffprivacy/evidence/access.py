"""Access to a model, from least to most: what a method needs and what a model offers."""

from __future__ import annotations

from enum import StrEnum


class Access(StrEnum):
    """How much of a model somebody sees; less access is smaller: compared as text, which is that order."""

    BLACK_BOX = "black box"
    GREY_BOX = "grey box"
    WHITE_BOX = "white box"

    @property
    def sees(self) -> str:
        """What is seen, in words."""
        return _SEES[self]


_SEES = {
    Access.BLACK_BOX: "images only, from a seed and where the model takes one a prompt; no scores, no weights",
    Access.GREY_BOX: "the network's prediction at any noised image and time; no weights",
    Access.WHITE_BOX: "the weights, and with them derivatives and attention maps",
}
