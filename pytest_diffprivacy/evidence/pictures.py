"""Redaction: pictures, captions and paths that a record may not hold under `redacted` and `none`.

A picture enters a record re-encoded from pixels, and pixelated unless asked otherwise. Whoever writes a claim uses such
pictures, and ids. The second lock is on the finished record: texts that come from elsewhere (an exception of the user's
model, a table of prompts) may hold what nobody meant to show.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy.evidence.records import Claim, Picture, Strip, changed_texts

REDACTED_SIDE = 16
LARGEST_SIDE = 120
SHORTEST: Final = 6
"""A caption or file name of fewer characters is left alone: it would be found inside ordinary words."""

PRIVATE_OPTIONS: Final = ("members", "nonmembers", "prompts")
_DRAWN: Final = {"curves", "histograms", "strips", "artifacts", "recipe"}


def picture(image: NDArray[np.floating], label: str, *, redacted: bool) -> Picture:
    """An image as PNG without metadata.

    Args:
        image: (channels, height, width) in [0, 1]; 1 or 3 channels.
        label: what stands below it.
        redacted: average blocks so that at most 16 x 16, and at most half of each side, remain.
    """
    pixels = np.clip(np.asarray(image, dtype=np.float64), 0.0, 1.0)
    _, height, width = pixels.shape
    levels = np.round(pixels * 255.0).astype(np.uint8)
    drawn = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return encode(shrunk(drawn, _redacted_side(height, width) if redacted else LARGEST_SIDE), label)


def difference_map(a: NDArray[np.floating], b: NDArray[np.floating], label: str) -> Picture:
    """Where two images agree: white = equal, black = RMS difference of 0.5 or more.

    Always in the blocks of a redacted picture: beside a plain image, a full map would show the other one.
    """
    distance = np.sqrt(((np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) ** 2).mean(0))
    levels = np.round(255.0 * (1.0 - np.clip(distance / 0.5, 0.0, 1.0))).astype(np.uint8)
    return encode(shrunk(Image.fromarray(levels), _redacted_side(*distance.shape)), label)


def _redacted_side(height: int, width: int) -> int:
    return min(REDACTED_SIDE, max(1, min(height, width) // 2))


def shrunk(drawn: Image.Image, side: int) -> Image.Image:
    """Averaged to blocks, so that the longer side is at most `side`."""
    scale = min(1.0, side / max(drawn.size))
    size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    return drawn if size == drawn.size else drawn.resize(size, Image.Resampling.BOX)


def encode(drawn: Image.Image, label: str) -> Picture:
    """A drawn image as PNG, with nothing in it but pixels."""
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", optimize=False, compress_level=9)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(label=label, png_base64=text, width=drawn.width, height=drawn.height)


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
    text = _joined_texts(shown)
    found = [(secret, name) for secret, name in dict(secrets).items() if len(secret) >= SHORTEST and secret in text]
    found.sort(key=lambda pair: -len(pair[0]))
    claim = claim.model_copy(update={"strips": strips})
    return Claim.model_validate(changed_texts(claim.model_dump(), partial(_without, found))) if found else claim


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


def _joined_texts(value: Any) -> str:
    texts: list[str] = []

    def collect(text: str) -> str:
        texts.append(text)
        return text

    changed_texts(value, collect)
    return "\n".join(texts)


def _without(secrets: Sequence[tuple[str, str]], text: str) -> str:
    for secret, shown in secrets:
        text = text.replace(secret, shown)
    return text
