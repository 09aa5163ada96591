"""What may a record not hold? Under `redacted` and `none`: pictures that show a training image, its caption, its path.

Whoever writes a claim uses ids and pixelated pictures already. This is the second lock, on the finished record: texts
that come from elsewhere (an exception of the user's model, a table of prompts) may hold what nobody meant to show.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from PIL import Image

from pytest_diffprivacy.evidence.pictures import REDACTED_SIDE, encode, shrunk
from pytest_diffprivacy.evidence.records import Claim, Picture, Strip

SHORTEST: Final = 6
"""A caption or file name of fewer characters is left alone: it would be found inside ordinary words."""

PRIVATE_OPTIONS: Final = ("members", "nonmembers", "prompts")
_DRAWN: Final = {"curves", "histograms", "strips", "artifacts", "recipe"}


def redacted_claim(claim: Claim, secrets: Iterable[tuple[str, str]], images: str) -> Claim:
    """The claim under an images policy.

    Args:
        claim: the finished record.
        secrets: (text, what stands in its place), e.g. a caption and the id of its image.
        images: "none", "redacted" or "full"; "full" changes nothing.
    """
    if images == "full":
        return claim
    strips = () if images == "none" else tuple(_redacted_strip(strip) for strip in claim.strips)
    shown = [claim.model_dump(exclude=_DRAWN), *(strip.model_dump() for strip in strips)]
    text = "\n".join(_texts(shown))
    found = [(secret, name) for secret, name in dict(secrets).items() if len(secret) >= SHORTEST and secret in text]
    found.sort(key=lambda pair: -len(pair[0]))
    claim = claim.model_copy(update={"strips": strips})
    return Claim.model_validate(_replaced(claim.model_dump(), found)) if found else claim


def redacted_command(arguments: Sequence[str]) -> str:
    """A command line in which the places of training data are their last parts."""
    shown, private = [], False
    for argument in arguments:
        name, sign, value = argument.partition("=")
        option = name.removeprefix("--diffprivacy-").removeprefix("diffprivacy_")
        if private:
            shown.append(_last_part(argument))
        elif sign and option != name and option in PRIVATE_OPTIONS:
            shown.append(f"{name}={_last_part(value)}")
        else:
            shown.append(argument)
        private = not sign and option != name and option in PRIVATE_OPTIONS
    return " ".join(shown)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _redacted_strip(strip: Strip) -> Strip:
    return strip.model_copy(update={"pictures": tuple(_redacted_picture(picture) for picture in strip.pictures)})


def _redacted_picture(picture: Picture) -> Picture:
    """The picture if it is small enough, else averaged to blocks; what is no image is taken out."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(picture.png_base64, validate=True)), formats=["PNG"]) as drawn:
            if max(drawn.size) <= REDACTED_SIDE:
                return picture
            return encode(shrunk(drawn.convert("RGB"), REDACTED_SIDE), picture.label)
    except (OSError, ValueError, binascii.Error):
        return picture.model_copy(update={"png_base64": "", "width": 0, "height": 0})


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from () if key == "png_base64" else _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _replaced(value: Any, found: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {
            _replaced(key, found): item if key == "png_base64" else _replaced(item, found)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_replaced(item, found) for item in value]
    if type(value) is str:
        for secret, shown in found:
            value = value.replace(secret, shown)
    return value
