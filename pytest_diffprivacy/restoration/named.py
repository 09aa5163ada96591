"""Which degradation does a text name? "left", "random:0.3", "region:0,0,4,4", "saliency", "blur:1.5", ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.restoration.degrade import Degradation
from pytest_diffprivacy.restoration.masks import SIDES, Half, RandomPatches, Region
from pytest_diffprivacy.restoration.operators import Blur, Downsample
from pytest_diffprivacy.restoration.saliency import SALIENT_SHARE, Saliency

Masks: TypeAlias = str | Degradation | Sequence[str | Degradation]

_WITH_NUMBER: Final[Mapping[str, Callable[[str], Degradation]]] = {
    "random": lambda text: RandomPatches(float(text)),
    "region": lambda text: _region(text),
    "saliency": lambda text: Saliency(share=float(text or SALIENT_SHARE)),
    "blur": lambda text: Blur(float(text)),
    "downsample": lambda text: Downsample(int(text)),
}


def find_degradations(masks: Masks) -> tuple[Degradation, ...]:
    """The degradations that `masks=` asks for.

    Args:
        masks: one or several names or degradations.

    Raises:
        UsageError: an unknown name, none at all, or two of one name.

    Source: ours.
    """
    listed = [masks] if isinstance(masks, (str, Degradation)) else list(masks)
    found = tuple(_named(m) if isinstance(m, str) else m for m in listed)
    for degradation in found:
        if not isinstance(degradation, Degradation):
            raise UsageError(
                f"`masks` must be names or degradations, got {type(degradation).__name__}. Wrap arrays: "
                "GivenMasks(array), Boxes(array) or Saliency(maps=array)."
            )
    names = [degradation.name for degradation in found]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"`masks` must be at least one and of different names, got {names}. Set their labels.")
    return found


def _named(text: str) -> Degradation:
    if text in SIDES:
        return Half(text)
    kind, _, number = text.partition(":")
    try:
        return _WITH_NUMBER[kind](number)
    except UsageError:
        raise
    except (KeyError, ValueError):
        forms = "random:RATIO, region:LEFT,TOP,RIGHT,BOTTOM, saliency, blur:SIGMA, downsample:FACTOR"
        raise UsageError(f"`masks` must be among {', '.join(SIDES)}, {forms}, got {text!r}.") from None


def _region(text: str) -> Region:
    left, top, right, bottom = (int(edge) for edge in text.split(","))
    return Region(left, top, right, bottom)
