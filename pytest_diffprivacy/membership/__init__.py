"""Was this image in the training set? One published attack a file; higher score = more likely member."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.membership.loss import LOSS, loss_scores
from pytest_diffprivacy.membership.pia import PIA, pia_scores
from pytest_diffprivacy.membership.secmi import SECMI, secmi_scores

ATTACKS: Final[Mapping[str, Attack]] = {attack.name: attack for attack in (LOSS, SECMI, PIA)}


def find_attack(name: str) -> Attack:
    """The attack of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    try:
        return ATTACKS[name]
    except KeyError:
        raise UsageError(f"`attack` must be one of {', '.join(ATTACKS)}, got {name!r}.") from None


__all__ = ["ATTACKS", "Attack", "find_attack", "loss_scores", "pia_scores", "secmi_scores"]
