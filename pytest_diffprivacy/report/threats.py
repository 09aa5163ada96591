"""Which attackers does this audit speak of? The attacks that ran, those that did not, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.catalogue import CATALOGUE, KnownAttack
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report.text import plural

SEES: Final = {
    "black box": "images, from a seed and where the model takes one a prompt; no scores, no weights",
    "grey box": "the network's prediction at any noised image and time; no weights",
    "white box": "the weights, and with them derivatives and attention maps",
}
_ORDER: Final = tuple(SEES)
MITIGATION: Final = "mitigation"
"""Kind of the claims whose methods defend and do not attack."""


@dataclass(frozen=True, slots=True)
class Threat:
    """One attack as the threat model lists it; `why` is empty where it ran."""

    title: str
    question: str
    access: str
    source: str
    ran: str
    why: str


def threats(run: Run) -> tuple[Threat, ...]:
    """Every attack that ran or is known, those that ran first."""
    known = {attack.name: attack for attack in CATALOGUE}
    used: dict[str, list[str]] = {}
    own: dict[str, Threat] = {}
    for claim in run.claims:
        for method in claim.methods if claim.kind != MITIGATION else ():
            used.setdefault(method.name, []).append(claim.id)
            if method.name not in known:
                own[method.name] = Threat(method.title, claim.sentence, method.access, method.source, "", "")
    offered = _strongest(run)
    rows = [
        Threat(a.title, a.question, _access(a), a.source, _ran(used.get(a.name, ())), _why(a, offered, a.name in used))
        for a in CATALOGUE
    ]
    rows += [Threat(t.title, t.question, t.access, t.source, _ran(used[name]), "") for name, t in own.items()]
    return tuple(sorted(rows, key=lambda row: bool(row.why)))


def _ran(claims: Sequence[str]) -> str:
    return f"in {plural(len(set(claims)), 'claim')}" if claims else "no"


def _access(attack: KnownAttack) -> str:
    return attack.access + (f"; {attack.besides}" if attack.besides else "")


def _strongest(run: Run) -> str:
    """The strongest access that any audited model offers; empty where no model was called."""
    offered = [claim.model.access for claim in run.claims if claim.model and claim.model.access in _ORDER]
    return max(offered, key=_ORDER.index, default="")


def _why(attack: KnownAttack, offered: str, ran: bool) -> str:
    if ran:
        return ""
    if not offered:
        return "no claim of this run called a model"
    if _ORDER.index(attack.access) > _ORDER.index(offered):
        return f"it needs {attack.access} access, and the model offers {offered}"
    return "no audit test asked for it" + (f"; it needs {attack.besides}" if attack.besides else "")
