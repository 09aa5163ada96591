"""The run in plain language, in at most 120 words: what was asked, what was found, what was not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.text import one_line, plural, whole
from pytest_diffprivacy.report.threats import Threat
from pytest_diffprivacy.statistics.verdict import Verdict

MOST_WORDS: Final = 120
LONGEST_NAME: Final = 40
QUESTIONS: Final = {
    "extraction": "whether training images come back",
    "membership": "whether training images can be recognised",
    "sharpness": "whether the model is sharp at training images",
    "memorization": "whether prompts bring back one image",
    "mitigation": "whether a mitigation works",
    "differential privacy": "whether more leaks than a claimed epsilon allows",
}
"""What the claims of a kind ask."""
ENDINGS: Final = {
    Verdict.FAIL: ("is refuted", "are refuted"),
    Verdict.ERROR: ("could not be judged", "could not be judged"),
    Verdict.INCONCLUSIVE: ("is undecided", "are undecided"),
    Verdict.PASS: ("holds", "hold"),
}


def plain_summary(run: Run, known: Sequence[Threat]) -> tuple[str, str, str]:
    """What was asked, what was found and what was not asked, a paragraph each."""
    shown = [claim for claim in run.claims if claim.node_id in run.expected_failures]
    judged = [claim for claim in run.claims if claim.node_id not in run.expected_failures]
    return _asked(judged or run.claims), " ".join(_found(run, judged, shown)), " ".join(_not_asked(run, known))


def _asked(claims: Sequence[Claim]) -> str:
    if not claims:
        return "Nothing was judged."
    models = list(dict.fromkeys(one_line(claim.model.name, LONGEST_NAME) for claim in claims if claim.model))
    of = models[0] if len(models) == 1 else plural(len(models), "model") if models else "scores made elsewhere"
    kinds = list(dict.fromkeys(claim.kind for claim in claims))
    questions = [QUESTIONS.get(kind, f"about {one_line(kind, LONGEST_NAME)}") for kind in kinds[: len(QUESTIONS)]]
    sides: dict[str, int] = {}
    for images in (images for claim in claims for images in claim.probes):
        sides[images.role] = max(images.count, sides.get(images.role, 0))
    on = [f"{whole(count)} {one_line(role, 20)} images" for role, count in list(sides.items())[:2]]
    return f"Asked of {of}: {_listed(questions)}{', on ' + _listed(on) if on else ''}."


def _found(run: Run, judged: Sequence[Claim], shown: Sequence[Claim]) -> Iterator[str]:
    count = Counter(claim.verdict for claim in judged)
    parts = [f"{count[v]} {ending[count[v] > 1]}" for v, ending in ENDINGS.items() if count[v]]
    if parts:
        yield f"Of {plural(len(judged), 'claim')}, {_listed(parts)}."
    if shown:
        yield f"{plural(len(shown), 'further claim')} demonstrated a model that is meant to leak."
    if run.missing:
        yield f"{plural(len(run.missing), 'audit test')} left no record."
    yield f"Taken together: {one_line(run.verdict, 20)}."


def _not_asked(run: Run, known: Sequence[Threat]) -> Iterator[str]:
    skipped = [threat for threat in known if threat.why]
    kinds = {claim.kind for claim in run.claims}
    never = list(dict.fromkeys(row.kind for row in run.catalogue if row.kind not in kinds))
    if skipped:
        about = f" (nothing about {_listed([one_line(kind, 30) for kind in never[:6]])})" if never else ""
        yield f"Not asked: {len(skipped)} of {len(known)} known attacks{about}."
    told = [(claim.asked.prompts or 0, claim.asked.classes or 0) for claim in run.claims if claim.asked]
    left = max((classes - asked for asked, classes in told if 0 < asked < classes), default=0)
    if left:
        yield f"{plural(left, 'class was', 'classes were')} never asked for."
    if not run.declared.get("purpose"):
        yield "What the model is for was not declared."
    yield "A PASS speaks of these attacks, limits and images only."


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
