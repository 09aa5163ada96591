"""Pictures that a page may show: PNGs that are what they say, and none larger than the images policy allows."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, final

from pytest_diffprivacy.evidence.pictures import REDACTED_SIDE
from pytest_diffprivacy.evidence.records import Picture, Strip

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture as the page shows it; where `withheld` says why not, there is no `source`."""

    label: str
    source: str
    width: int
    height: int
    withheld: str


@dataclass(frozen=True, slots=True)
class ShownStrip:
    """Pictures that belong together, as the page shows them."""

    pictures: tuple[ShownPicture, ...]
    caption: str
    mark: str
    conspicuous: bool


MOST_BYTES: Final = 5_000_000
"""Of pictures in one page, as base64; the rest is in the JSON report."""


@final
class PictureBudget:
    """The pictures of one page, under its images policy none, redacted or full.

    Args:
        policy: what may be shown.
        left: bytes of base64 that the page still takes.
    """

    def __init__(self, policy: str, left: int = MOST_BYTES) -> None:
        self._policy, self._left = policy, left

    def shown(self, strip: Strip) -> ShownStrip:
        """A strip; where the page has no room left, its pictures are withheld and say so."""
        pictures = tuple(self._shown(picture) for picture in strip.pictures)
        return ShownStrip(pictures, strip.caption, strip.mark, strip.conspicuous)

    def _shown(self, picture: Picture) -> ShownPicture:
        content = picture.png_base64
        size, why = _png_size(content), ""
        if self._policy not in ("redacted", "full"):
            why = "not shown: images are switched off"
        elif size is None:
            why = "not shown: not a PNG image"
        elif self._policy == "redacted" and max(size) > REDACTED_SIDE:
            why = "withheld: it has more pixels than a redacted report may show"
        elif len(content) > self._left:
            why = "not shown: the page is full; the picture is in the JSON report"
        if why or size is None:
            return ShownPicture(picture.label, "", 0, 0, why)
        self._left -= len(content)
        return ShownPicture(picture.label, f"data:image/png;base64,{content}", *size, withheld="")


def _png_size(text: str) -> tuple[int, int] | None:
    """Width and height as the PNG itself says; None for anything that is not a PNG in strict base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(_SIGNATURE) or content[12:16] != b"IHDR" or len(content) < 33:
        return None
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return (width, height) if width and height else None
