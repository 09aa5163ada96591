"""Limitations of a run: sentences made from what really ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.evidence.records import Claim, ComparisonOutcome, ControlOutcome, Run
from pytest_diffprivacy.report.text import percent, plural
from pytest_diffprivacy.report.threats import Threat
from pytest_diffprivacy.statistics.verdict import Verdict

DISTILLED: Final = ("consistency", "lcm", "turbo", "lightning", "distill")
"""In the name or family of a model, or of its adapter, that samples in one or a few steps."""


def limitations(run: Run, known: Sequence[Threat]) -> Iterator[str]:
    """What a reader must keep in mind of this run; what holds for every audit is in the page's template."""
    claims = run.claims
    if run.missing:
        yield f"{plural(len(run.missing), 'audit test')} left no record: what they ask is not answered here."
    skipped = [threat for threat in known if threat.why]
    if skipped:
        yield (
            f"{len(skipped)} of {len(known)} known attacks did not run; the threat model above says which and why. "
            "Nothing follows about them."
        )
    undecided = [c for c in claims if c.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)]
    if undecided:
        yield (
            f"{plural(len(undecided), 'claim is', 'claims are')} INCONCLUSIVE or ERROR, so neither shown nor refuted. "
            "That is not a weak PASS."
        )
    yield from _controls(claims)
    judged = [claim for claim in claims if claim.estimate is not None]
    if judged:
        levels = sorted({claim.confidence for claim in judged})
        miss = " or ".join(percent(round(1.0 - level, 12)) for level in levels)
        yield (
            f"Each one-sided bound may miss the true value with a probability of up to {miss}, on its own: this report "
            f"holds {plural(len(judged), 'claim')} with bounds, and among many some will miss."
        )
    elsewhere = [claim for claim in claims if claim.model is None]
    if elsewhere:
        yield (
            f"The scores of {plural(len(elsewhere), 'claim')} were made elsewhere: how, and on which model and images, "
            "this audit does not know."
        )
    halves = sorted({c.model.dtype for c in claims if c.model and c.model.dtype in ("float16", "bfloat16")})
    if halves:
        yield f"The model ran in {' and '.join(halves)}: half precision changes scores."
    if any(claim.kind == "extraction" for claim in claims):
        yield (
            "Extraction counts copies among the images that were generated, against the probe images only. More "
            "generations, another sampler or other prompts may bring back more."
        )
    yield from _distilled(claims)
    yield from _unwired(claims)
    yield from _never_asked(claims)
    if any(c.comparison and c.comparison.outcome is ComparisonOutcome.UNDECIDED for c in claims):
        yield "Where the comparison with the last release is undecided, it says neither better nor worse."
    if run.images != "full":
        yield f"Images in this report are {run.images}: a reader cannot judge likeness by eye from it."


def _distilled(claims: Sequence[Claim]) -> Iterator[str]:
    """Membership claims on models of one or a few steps, on which attacks on single images are weak."""
    models = [c.model for c in claims if c.model is not None and c.kind == "membership"]
    told = [(m.name, m.family, *(a.name for a in m.adapters)) for m in models]
    known = {words[0] for words in told if any(sign in " ".join(words).lower() for sign in DISTILLED)}
    if known:
        yield (
            f"{', '.join(sorted(known))} makes an image in one or a few steps, as distilled and consistency models do: "
            "membership attacks on single images are weak there, so that a PASS means little. Audit the teacher too."
        )


def _unwired(claims: Sequence[Claim]) -> Iterator[str]:
    """Claims on a network of which nobody knows that it was asked as it was trained."""
    asked = [c for c in claims if c.asked and any(m.access != Access.BLACK_BOX.value for m in c.methods)]
    without = [c for c in asked if not any(k.kind == "wiring" and k.outcome is ControlOutcome.HELD for k in c.controls)]
    if without:
        yield (
            f"For {len(without)} of {plural(len(asked), 'claim')} on a network no wiring control held or applied: that "
            "it was asked as it was trained is not shown."
        )


def _never_asked(claims: Sequence[Claim]) -> Iterator[str]:
    """Classes and prompts about which nothing follows."""
    told = [claim.asked for claim in claims if claim.asked is not None]
    for count, classes in sorted({(one.prompts or 0, one.classes or 0) for one in told}):
        if 0 < count < classes:
            yield f"{count} of {classes} classes were asked for: about the other {classes - count} nothing follows."
    blank = sorted({one.conditioning for one in told if one.prompts is None} - {"none"})
    if blank:
        yield (
            f"Claims that asked a conditional model with the {' or the '.join(blank)} alone do not show what it gives "
            "back when it is asked for a class or by a prompt."
        )
    if any(one.conditioning == "prompt" for one in told):
        yield "A text-to-image model was asked by the prompts that were given: about others nothing follows."


def _controls(claims: Sequence[Claim]) -> Iterator[str]:
    judged = [claim for claim in claims if claim.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)]
    for kind, meaning in (
        ("positive", "this run does not show that a leak planted for the audit would have been found"),
        ("negative", "this run does not show that the attack stays silent where there is no leak"),
        ("split", "whether members and non-members differ without the model is not shown"),
    ):
        without = [
            c for c in judged if not any(k.kind == kind and k.outcome is ControlOutcome.HELD for k in c.controls)
        ]
        if without:
            yield f"For {len(without)} of {plural(len(judged), 'claim')} no {kind} control held or applied: {meaning}."
