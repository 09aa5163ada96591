"""Which pictures may a report show? Only PNGs that are what they say, and none larger than the images policy allows."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

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


def shown_strip(strip: Strip, policy: str) -> ShownStrip:
    """A strip under the images policy none, redacted or full."""
    pictures = tuple(_shown(picture, policy) for picture in strip.pictures)
    return ShownStrip(pictures, strip.caption, strip.mark, strip.conspicuous)


def _shown(picture: Picture, policy: str) -> ShownPicture:
    size = _png_size(picture.png_base64)
    if policy not in ("redacted", "full"):
        return ShownPicture(picture.label, "", 0, 0, "not shown: images are switched off")
    if size is None:
        return ShownPicture(picture.label, "", 0, 0, "not shown: not a PNG image")
    if policy == "redacted" and max(size) > REDACTED_SIDE:
        return ShownPicture(picture.label, "", 0, 0, "withheld: it has more pixels than a redacted report may show")
    return ShownPicture(picture.label, f"data:image/png;base64,{picture.png_base64}", *size, withheld="")


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
