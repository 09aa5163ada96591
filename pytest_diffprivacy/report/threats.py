"""The threat model: which of the known methods ran, which did not, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.evidence.records import Claim, KnownMethod, Method, Run
from pytest_diffprivacy.report.text import duration, plural, whole

MITIGATION: Final = "mitigation"
"""Kind of the claims whose methods defend and do not attack."""


@dataclass(frozen=True, slots=True)
class Threat:
    """One method as the threat model lists it; `why` is empty where it ran, `cost` where it did not."""

    title: str
    question: str
    access: str
    source: str
    ran: str
    why: str
    cost: str = ""


def threats(run: Run) -> tuple[Threat, ...]:
    """Every method that ran or is known, those that ran first.

    A row of the catalogue ran in a claim if a method of its kind and name did, or if the claim is that method.
    """
    used: dict[tuple[str, str], set[str]] = {}
    cost = _costs(run)
    own: dict[tuple[str, str], Threat] = {}
    known = {(row.kind, row.name) for row in run.catalogue}
    for claim, method in _methods(run):
        key = method.kind or claim.kind, method.family
        used.setdefault(key, set()).add(claim.id)
        if key not in known:
            own[key] = Threat(method.title, claim.sentence, method.access, method.source, "", "")
    offered = _strongest(run)
    rows = []
    for row in run.catalogue:
        claims = used.get((row.kind, row.name), set()) | {c.id for c in run.claims if row.claim and c.name == row.claim}
        why = "" if claims else _why(row, offered)
        access = "; ".join((row.access or "chosen by the caller", *row.needs))
        paid = cost.get((row.kind, row.name)) or _seconds([c for c in run.claims if c.id in claims])
        rows.append(Threat(row.title, row.question, access, row.source, _ran(claims), why, "" if why else paid))
    rows += [
        Threat(t.title, t.question, t.access, t.source, _ran(used[key]), "", cost.get(key, ""))
        for key, t in own.items()
    ]
    return tuple(sorted(rows, key=lambda row: bool(row.why)))


def _methods(run: Run) -> Iterator[tuple[Claim, Method]]:
    return ((claim, method) for claim in run.claims if claim.kind != MITIGATION for method in claim.methods)


def _costs(run: Run) -> dict[tuple[str, str], str]:
    """What each method cost its attacker here: evaluations an image, images asked about, and time of its claims."""
    found: dict[tuple[str, str], list[tuple[Claim, Method]]] = {}
    for claim, method in _methods(run):
        found.setdefault((method.kind or claim.kind, method.family), []).append((claim, method))
    costs = {}
    for key, pairs in found.items():
        each = sorted({m.evaluations_per_image for _, m in pairs if m.evaluations_per_image is not None})
        asked = max((sum(images.count for images in claim.probes) for claim, _ in pairs), default=0)
        parts = [f"{' or '.join(map(whole, each))} evaluations an image"] if each else []
        parts += [f"{whole(asked)} images"] if asked else []
        costs[key] = ", ".join([*parts, _seconds([claim for claim, _ in pairs])])
    return costs


def _seconds(claims: Sequence[Claim]) -> str:
    """How long these claims took on the machine that ran them; stored results took no time."""
    ids = {claim.id: claim.work for claim in claims}
    return duration(sum(work.seconds for work in ids.values())) if ids else ""


def _ran(claims: set[str]) -> str:
    return f"in {plural(len(claims), 'claim')}" if claims else "no"


def _strongest(run: Run) -> Access | None:
    """The strongest access that any audited model offers; None where no model was called."""
    offered = [claim.model.access for claim in run.claims if claim.model]
    return max((Access(access) for access in offered if access in list(Access)), default=None)


def _why(row: KnownMethod, offered: Access | None) -> str:
    if row.missing:
        return row.missing
    if offered is None:
        return "no claim of this run called a model"
    if row.access is not None and row.access > offered:
        return f"it needs {row.access} access, and the model offers {offered}"
    return "no audit test asked for it" + (f"; it needs {', '.join(row.needs)}" if row.needs else "")
