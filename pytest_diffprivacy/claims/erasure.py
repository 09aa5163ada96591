"""The claim "these images were forgotten": they are as unknown to the model as images that it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.probes import ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.sources import Pair, Wanted, scores_of
from pytest_diffprivacy.sources.controls import negative_controls
from pytest_diffprivacy.sources.erasure import ErasureScores, Relearn, Trial
from pytest_diffprivacy.sources.source import is_array
from pytest_diffprivacy.statistics import Measured, Verdict, auroc, check_coherence
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction
from pytest_diffprivacy.statistics.erasure import PAIRS, PARTS, Erasure, ErasureStatistic

HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.PASS: "The images are as unknown as images that were never seen.",
    Verdict.FAIL: "The images were not forgotten.",
    Verdict.INCONCLUSIVE: "These images do not decide whether they were forgotten.",
    Verdict.ERROR: "Whether the images were forgotten could not be judged.",
}
NAMES: Final = ("images to be forgotten", "images never seen")
ROLES: Final = {
    "forget": "forget",
    "never_seen": "never_seen",
    "forget_gain": "gain of forgotten",
    "never_seen_gain": "gain of others",
    "forget_distance": "distance of forgotten",
    "never_seen_distance": "distance of others",
}


@assertion
def assert_erased(
    model: object,
    *,
    forget: object,
    never_seen: object,
    before: object | None = None,
    margin: float = 0.1,
    attack: MethodLike = "loss",
    parameters: Mapping[str, Any] | None = None,
    relearn: Relearn | None = None,
    recipe: str = "",
    generations: int = 0,
    steps: int = 50,
    delta: float = 0.15,
    max_copies: float = 0.05,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that images which had to be forgotten are as unknown to a model as images that it never saw.

    Three parts, of which the worst decides. *Recognition*: the AUROC of an attack between both lies within `margin` of
    0.5, **shown by equivalence** and not by an absence of significance; images that are known too little betray
    themselves as well. *Copies*: of `generations` images few copy a forgotten one. *Relearning*: `relearn` trains the
    model further on one half of the forgotten images, and the other half does not come back faster than never-seen
    images do, as it would where forgetting only covered it up. PASS iff every upper bound is within what is allowed;
    FAIL iff a lower bound, corrected for the number of parts, is not.

    Args:
        model: grey-box access to the model after the erasure; a ScoreTable; or None where both others are arrays of
            scores.
        forget: the images that had to be forgotten, as members of a ProbeSet, or an ImageSet with captions.
        never_seen: images of the same kind that were in no training set.
        before: grey-box access to the model before the erasure. The attack must recognise the images on it, or its
            silence afterwards proves nothing (INCONCLUSIVE in the place of PASS).
        margin: how far an AUROC may lie from 0.5, in (0, 0.5).
        attack: one attack; of a ScoreTable the column.
        parameters: arguments of the attack that differ from its defaults.
        relearn: (images, prompts, seed) -> the audited model, trained further on these images, as briefly as an
            attacker would; None: not tried, and the record says so.
        recipe: names what `relearn` does, so that its result is stored and a run continues after it.
        generations: images that are generated, with the captions where there are some; 0: not tried.
        steps: sampling steps.
        delta: RMS distance on [0, 1] up to which a generation is a copy.
        max_copies: allowed share of forgotten images with a copy.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record; `.value` is by how much the worst part exceeds what is allowed.

    Raises:
        PrivacyViolation: the images were not forgotten.
        Inconclusive: no bound decides, or the attack does not recognise the images before the erasure either.
        UsageError: a bad argument, shared images, or a relearned model that is the audited one.
        AuditError: a model returns NaN, or a control failed.

    Source: ours (METHODS 3.20); equivalence by two one-sided tests (Schuirmann 1987).
    """
    auditor = auditor or current_auditor()
    level, allowed = auditor.confidence(confidence), check_fraction("margin", margin)
    if allowed >= 0.5:
        raise UsageError(f"`margin` must be below 0.5, got {margin!r}. No AUROC lies further from 0.5.")
    statistic = ErasureStatistic(
        margin=allowed, delta=check_fraction("delta", delta), max_copies=check_fraction("max_copies", max_copies),
        confidence=level,
    )  # fmt: skip

    def claim(title: str, slug: str) -> Claim:
        return Claim(
            kind="membership", name="erased", slug=slug, limit=0.0, headlines=HEADLINES, confidence=level,
            sentence=of(f"Forgotten images are as unknown as images never seen, within {allowed:g}", title),
            terms={"margin": allowed, "max_copies": statistic.max_copies, "delta": statistic.delta},
        )  # fmt: skip

    probes = None if is_array(forget) and model is None else _probes(forget, never_seen)
    copying = {"steps": steps, "delta": delta, "max_copies": max_copies}
    if probes is None or isinstance(model, ScoreTable):
        asked = {"parameters": parameters, "before": before, "relearn": relearn, "recipe": recipe}
        named = {"attack": attack} if probes is None else {}
        refuse_idle(assert_erased, asked | {"generations": generations} | copying | named)
        wanted = Wanted(
            kind="membership", attack=attack, default="loss", parameters=None, purpose="Erasure", confidence=level,
            single=True,
        )  # fmt: skip
        made = scores_of(auditor, *((forget, never_seen) if probes is None else (model, probes)), wanted)

        def given(findings: Findings) -> Measured:
            made.describe(findings)
            ((_, pair),) = made.scores(findings).items()
            return _measured(findings, {"recognised": pair}, statistic, auditor.seed)

        return conclude(auditor, claim(made.title, f"erased-{made.slug}"), made, statistic, given)
    if relearn is not None and not recipe:
        raise UsageError("`recipe` must name what `relearn` does, e.g. 'lora r4, 50 steps, lr 1e-4', got nothing.")
    if generations == 0:
        refuse_idle(assert_erased, copying, "without `generations`", "Set `generations` to have copies looked for.")
    trial = Trial(
        attack=attack, parameters=dict(parameters or {}), before=before, relearn=relearn, recipe=recipe,
        generations=check_count("generations", generations, least=0), steps=check_count("steps", steps, least=1),
    )  # fmt: skip
    source = ErasureScores(auditor, model, probes, trial)

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        now = source.now(findings)
        _check_before(findings, source.before(findings), level)
        tried = {"recognised": now, "relearned": source.gains(now, findings), "copies": source.distances(findings)}
        return _measured(findings, {n: pair for n, pair in tried.items() if pair is not None}, statistic, auditor.seed)

    return conclude(auditor, claim(source.title, source.slug), source, statistic, measure)


def _probes(forget: object, never_seen: object) -> ProbeSet:
    sides = (forget, "member"), (never_seen, "non-member")
    found = [
        one.members if isinstance(one, ProbeSet) else one if isinstance(one, ImageSet) else ImageSet.of(one, role)
        for one, role in sides
    ]
    return ProbeSet(*found)


def _check_before(findings: Findings, before: Pair | None, confidence: float) -> None:
    """Whether the attack recognises the images on the model that still knew them."""
    if before is None:
        findings.notes.append(
            "No model from before the erasure was given: that the attack recognised these images is not shown."
        )
        return
    area = auroc(*before, confidence=confidence)
    counts = f"{len(before[0])} {NAMES[0]}, {len(before[1])} {NAMES[1]}"
    findings.also_measured.append(estimate("AUROC before the erasure", area, counts))
    findings.arrays |= {"forget_before": before[0], "never_seen_before": before[1]}
    if area.low <= 0.5:
        findings.unproven = (
            f"The attack does not recognise the images before the erasure either (AUROC {area.value:.3f}): its silence "
            "afterwards proves nothing. Take another attack"
        )


def _measured(findings: Findings, tried: Mapping[str, Pair], statistic: ErasureStatistic, seed: int) -> Measured:
    """The worst part; each of them stands beside it."""
    groups = Groups(whom="forgotten images", names=NAMES)
    check_coherence(*tried["recognised"], title="Erasure")  # lower scores of forgotten images are what it looks for
    negative_controls({"recognised": tried["recognised"]}, {"recognised": "Erasure"}, seed, findings)
    groups.add_histogram(findings, tried["recognised"])
    groups.add_auroc(findings, tried["recognised"], statistic.confidence)
    arrays = {
        role: {ROLES[role]: values}
        for name, pair in tried.items()
        for role, values in zip(PAIRS[name], pair, strict=True)
    }
    found = findings.measure(statistic, arrays, 0.0)
    assert isinstance(found, Erasure)
    for name, part in found.parts.items():
        sizes = " and ".join(str(len(side)) for side in tried[name])
        findings.also_measured.append(estimate(f"{PARTS[name]} (allowed {part.allowed:g})", part, f"{sizes} images"))
    left = [PARTS[name] for name in PARTS if name not in tried]
    if left:
        findings.notes.append(f"Not tried: {'; '.join(left)}. Nothing follows about them.")
    findings.notes.append(f"The worst part decides: {PARTS[found.worst]}.")
    return found
