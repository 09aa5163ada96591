"""Redaction: pictures, captions and paths that a record may not hold under `redacted` and `none`.

A picture enters a record re-encoded from pixels, and as one of three greys unless asked otherwise: whoever holds
candidate images finds a member again by anything finer, by 2 x 2 blocks already. Whoever writes a claim uses such
pictures, and ids. The second lock is on the finished record: texts that come from elsewhere (an exception of the user's
model, a table of prompts) may hold what nobody meant to show.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy.evidence.records import Claim, Picture, Strip, changed_texts

REDACTED_SIDE = 2
GREYS: Final = (0, 128, 255)
"""All that a redacted picture can be; tests/evidence/test_reidentification.py measures what they tell."""
BLOCKS = 16
LARGEST_SIDE = 120
MASK: Final = "***"
INI_FLAGS: Final = ("-o", "--override-ini")
SHORTEST: Final = 6
"""A caption or file name of fewer characters is left alone: it would be found inside ordinary words."""

PRIVATE_OPTIONS: Final = ("members", "nonmembers", "prompts")
_DRAWN: Final = {"curves", "histograms", "strips", "artifacts", "recipe"}


def picture(image: NDArray[np.floating], label: str, *, redacted: bool) -> Picture:
    """An image as PNG without metadata.

    Args:
        image: (channels, height, width) in [0, 1]; 1 or 3 channels.
        label: what stands below it.
        redacted: show one of three greys, the nearest to the mean, in 2 x 2 pixels, and at most half of each side.
    """
    pixels = np.clip(np.asarray(image, dtype=np.float64), 0.0, 1.0)
    levels = np.round(pixels * 255.0).astype(np.uint8)
    drawn = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return encode(_grey(drawn) if redacted else shrunk(drawn, LARGEST_SIDE), label)


def difference_map(a: NDArray[np.floating], b: NDArray[np.floating], label: str, *, redacted: bool = True) -> Picture:
    """Where two images agree: white = equal, black = RMS difference of 0.5 or more.

    In at most 16 x 16 blocks, since a full map beside a plain image would show the other one; one grey where redacted.
    """
    distance = np.sqrt(((np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) ** 2).mean(0))
    levels = np.round(255.0 * (1.0 - np.clip(distance / 0.5, 0.0, 1.0))).astype(np.uint8)
    drawn = Image.fromarray(levels)
    return encode(_grey(drawn) if redacted else shrunk(drawn, min(BLOCKS, max(1, min(drawn.size) // 2))), label)


def _grey(drawn: Image.Image) -> Image.Image:
    """One of three greys in place of an image; a picture that is one already stays."""
    grey = drawn.convert("L")
    lowest, highest = grey.getextrema()
    if max(drawn.size) <= REDACTED_SIDE and lowest == highest and lowest in GREYS:
        return grey
    mean = float(np.asarray(grey, dtype=np.float64).mean())
    side = min(REDACTED_SIDE, max(1, min(drawn.size) // 2))
    return Image.new("L", (side, side), min(GREYS, key=lambda level: abs(level - mean)))


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


def redacted_command(arguments: Sequence[str], known: Collection[str] = ()) -> str:
    """A command line without the values of options that are neither pytest's nor ours, and without absolute paths.

    Args:
        arguments: the words, the program's name first.
        known: pytest's own flags; what follows another flag may be its value, and is masked.
    """
    shown, flag, first = [], "", False
    for word in arguments:
        if word.startswith("-"):
            flag, sign, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
            shown.append(f"{flag}{sign}{_shown(value, flag, known) if sign or value else ''}")
            flag, first = "" if sign or value else flag, True
        elif not _is_foreign(flag, known) or (not first and Path(word.partition("::")[0]).exists()):
            shown.append(_shown(word, flag if first else "", known))
            flag = ""
        else:
            shown.append(MASK)
            first = False
    return " ".join(shown)


def _is_foreign(flag: str, known: Collection[str]) -> bool:
    return flag not in ("", *INI_FLAGS, *known) and not flag.startswith("--diffprivacy-")


def _shown(value: str, flag: str, known: Collection[str]) -> str:
    """The value of a flag, or a word without one: an absolute path by its last part, and a URL without its secrets."""
    if flag in INI_FLAGS:
        name, _, value = value.partition("=")
        return f"{name}={_shown(value, '--' + name.replace('_', '-'), known)}"
    if _is_foreign(flag, known):
        return MASK
    place, sign, test = value.partition("::")
    private = flag.removeprefix("--diffprivacy-") in PRIVATE_OPTIONS
    if private or place.startswith(("/", "~", "..", "\\")) or place[1:2] == ":":
        place = _last_part(place)
    return re.sub(r"(://[^?#]*)[?#].*", rf"\1?{MASK}", re.sub(r"://[^/@]*@", f"://{MASK}@", place)) + sign + test


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _redacted_strip(strip: Strip) -> Strip:
    return strip.model_copy(update={"pictures": tuple(_redacted_picture(picture) for picture in strip.pictures)})


def _redacted_picture(picture: Picture) -> Picture:
    """The picture as one of three greys; what is no image is taken out."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(picture.png_base64, validate=True)), formats=["PNG"]) as drawn:
            return encode(_grey(drawn), picture.label)
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
