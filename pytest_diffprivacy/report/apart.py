"""What tells a claim from the others of its kind: its attack, and the parameters in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.report.text import number, one_line
from pytest_diffprivacy.statistics.verdict import Verdict

MOST: Final = 4
LONGEST: Final = 40
CLEARLY: Final = 0.1
"""How far a bound of the AUROC must be from 0.5 to stand against what a claim at a small FPR looks like."""


def told_apart(claims: Sequence[Claim]) -> tuple[str, ...]:
    """For each claim its attack, and what differs from other claims of its name about the same model."""
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    facts = [_facts(claim) for claim in claims]
    for claim, own in zip(claims, facts, strict=True):
        groups.setdefault(_group(claim), []).append(own)
    return tuple(
        "; ".join(part for part in (_attack(claim), _differing(own, groups[_group(claim)])) if part)
        for claim, own in zip(claims, facts, strict=True)
    )


def _group(claim: Claim) -> tuple[str, str]:
    return claim.name or claim.kind, claim.model.digest if claim.model else ""


def _attack(claim: Claim) -> str:
    titles = list(dict.fromkeys(one_line(method.title, 2 * LONGEST) for method in claim.methods))
    return ", ".join(titles[:MOST]) + (f" and {len(titles) - MOST} more" if len(titles) > MOST else "")


def _facts(claim: Claim) -> dict[str, str]:
    terms = {name: number(value) for name, value in claim.terms.items() if name != "limit"}
    parameters = {name: value for method in claim.methods for name, value in method.parameters.items()}
    return {**parameters, **terms, "seed": str(claim.seed)}


def _differing(own: Mapping[str, str], group: Sequence[Mapping[str, str]]) -> str:
    names = [name for name in own if any(other.get(name) != own[name] for other in group)]
    shown = [f"{one_line(name, LONGEST)} {one_line(own[name], LONGEST)}" for name in names[:MOST]]
    return ", ".join(shown) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def beside(claim: Claim) -> str:
    """The AUROC where it contradicts what a claim at a small FPR looks like; "" where it does not."""
    if claim.name != "mia_tpr_below":
        return ""
    for area in (e for e in claim.also_measured if e.name.startswith("AUROC") and "minus" not in e.name):
        seen = f"AUROC {number(area.value)}, bounds {number(area.low)} to {number(area.high)}"
        if claim.verdict is Verdict.PASS and area.low > 0.5 + CLEARLY:
            return f"Yet members rank clearly above others on the whole: {seen}."
        if claim.verdict is Verdict.FAIL and area.high < 0.5 + CLEARLY:
            return f"A few members stand out; on the whole they hardly rank above others: {seen}."
    return ""
