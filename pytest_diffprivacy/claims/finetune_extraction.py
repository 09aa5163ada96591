"""The claim "a fine-tune does not give its images back": contrasted guidance draws few of them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.distances.embeddings import pixel_embedding
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.sources import Pair, Vector, Wanted, require_probes, scores_of
from pytest_diffprivacy.sources.controls import check_sign
from pytest_diffprivacy.sources.finetune_extraction import Contrast, FinetuneExtraction
from pytest_diffprivacy.sources.source import made_elsewhere
from pytest_diffprivacy.statistics import Measured, Verdict, rate
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction
from pytest_diffprivacy.statistics.recovered_share import RecoveredShareStatistic

HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.PASS: "No more fine-tuning images can be drawn out than allowed.",
    Verdict.FAIL: "More fine-tuning images can be drawn out than allowed.",
    Verdict.INCONCLUSIVE: "These generations do not decide how many fine-tuning images can be drawn out.",
    Verdict.ERROR: "Extraction from the fine-tune could not be judged.",
}
GROUPS: Final = Groups(scores="Similarity to what was drawn out", axis="cosine (higher = more alike)")
LISTED: Final = 20
BEYOND: Final = 1.001
"""A cosine up to rounding."""
SIGN: Final = "Check the sign: more alike must be higher, or give the models themselves"


@assertion
def assert_finetune_not_extractable(
    base: object,
    finetuned: object,
    probes: object,
    *,
    prompt: Prompt | None = None,
    limit: float,
    copy_from: float = 0.7,
    embedding: Embedding | None = None,
    control: object | None = None,
    images: int | None = None,
    generations: int | None = None,
    w: float = 3.0,
    k: float = -0.02,
    steps: int = 50,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `limit` of the fine-tuning images can be drawn out of a fine-tune and its base.

    The attacker holds both models, as everyone does who downloads an adapter. Images are generated with guidance from
    the base towards the fine-tune and past it, those that are alike are put into cliques, and of each clique one image
    is an extraction. An image comes back iff its cosine to an extraction is at least `copy_from`. PASS iff the upper
    bound of the share is at most the limit; FAIL iff its lower bound, after taking off the upper bound of what comes
    "back" without having been trained on, is above it.

    Args:
        base: grey-box access to the model that was fine-tuned; None with scores made elsewhere.
        finetuned: grey-box access to the result; or a ScoreTable with one column, or the members' similarities, an
            array (members,): the largest to any extraction, higher = more alike.
        probes: members are the fine-tuning images, non-members others **of the same style or subject**, which style
            alone makes alike; or the non-members' similarities, an array.
        prompt: of the fine-tune, e.g. "art style of <name>"; None: the model takes none.
        limit: allowed share of fine-tuning images.
        copy_from: cosine from which on an image came back. 0.7 is for copy-detection features such as SSCD's.
        embedding: features of images; None: pixels, which only tell images of one layout apart.
        control: grey-box access to a fine-tune of the same base on other images of the same style: the share of members
            that *its* extractions resemble is a second control, and the larger one counts.
        images: cliques that are looked for; None: as many as there are fine-tuning images.
        generations: images that are generated; None: 50 for each clique.
        w: strength of the guidance; 0: the base alone.
        k: correction of the base's part.
        steps: sampling steps, of two network evaluations each.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or the search for cliques was given up.
        UsageError: a bad argument, a split with shared images, or models of different shapes or the same weights.
        AuditError: a model returns NaN, or a control failed.

    Source: Follows Wu, Zhang and Wu 2025 (FineXtract), except for the order of the cliques, the end of the walk, bounds
    and controls (METHODS 1.6).
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    allowed = check_fraction("limit", limit, zero=True)
    if not -1.0 < as_number("copy_from", copy_from) <= 1.0:
        raise UsageError(f"`copy_from` must be a cosine in (-1, 1], got {copy_from!r}.")
    statistic = RecoveredShareStatistic(copy_from=float(copy_from), confidence=level, what="fine-tuning images")
    sentence = f"Share of fine-tuning images that can be drawn out is at most {allowed:.4g}"

    def claim(title: str, slug: str) -> Claim:
        return Claim(
            kind="extraction", name="finetune_not_extractable", slug=slug, sentence=of(sentence, title), limit=allowed,
            headlines=HEADLINES, confidence=level, terms={"copy_from": float(copy_from)},
        )  # fmt: skip

    if made_elsewhere(finetuned):
        refuse_idle(
            assert_finetune_not_extractable,
            {
                "base": base, "prompt": prompt, "embedding": embedding, "control": control, "images": images,
                "generations": generations, "w": w, "k": k, "steps": steps,
            },
        )  # fmt: skip
        wanted = Wanted(
            kind="extraction", attack="similarity", default="similarity", parameters=None, purpose="Extraction",
            confidence=level, single=True,
        )  # fmt: skip
        made = scores_of(auditor, finetuned, probes, wanted)

        def given(findings: Findings) -> Measured:
            made.describe(findings)
            ((_, pair),) = made.scores(findings).items()
            _check_given(findings, pair, made.label)
            return _measured(findings, pair, None, statistic, allowed)

        return conclude(auditor, claim(made.title, f"finextract-{made.slug}"), made, statistic, given)
    if as_number("w", w) == 0.0:
        raise UsageError("`w` must not be 0, got 0: the fine-tuned model would not be asked. The paper takes 3.")
    contrast = Contrast(
        prompt=prompt, embedding=embedding or pixel_embedding(), copy_from=float(copy_from),
        images=None if images is None else check_count("images", images, least=1),
        generations=None if generations is None else check_count("generations", generations, least=2),
        w=as_number("w", w), k=as_number("k", k), steps=check_count("steps", steps, least=1),
    )  # fmt: skip
    models = {"base": base, "fine-tuned": finetuned} | ({} if control is None else {"control": control})
    source = FinetuneExtraction(auditor, models, require_probes(probes), contrast)

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        pair = source.similarities(findings)
        found = _measured(findings, pair, source.of_control(findings), statistic, allowed)
        findings.tables.append(_listed(source.split.probes.members.ids(), pair[0], statistic.copy_from))
        return found

    return conclude(auditor, claim(source.title, source.slug), source, statistic, measure, units=source.generations)


def _check_given(findings: Findings, pair: Pair, label: str) -> None:
    """Similarities of the caller's: cosines, not the wrong way round, not all the same."""
    check_sign(findings, pair, label, "fine-tuning images", SIGN)
    outside = [value for side in pair for value in side.tolist() if not -BEYOND <= value <= BEYOND]
    if outside:
        raise AuditError(
            f"{label}: similarities must be cosines in [-1, 1], got {len(outside)} of {sum(map(len, pair))} outside, "
            f"e.g. {outside[0]:g}. Higher = more alike; distances are none."
        )


def _measured(
    findings: Findings, pair: Pair, elsewhere: Vector | None, statistic: RecoveredShareStatistic, limit: float
) -> Measured:
    """The share; the control is the non-members, or the second fine-tune where more comes back from that."""
    members, nonmembers = pair
    controls = {"non-members, by the fine-tune": nonmembers}
    if elsewhere is not None:
        controls["members, by the second fine-tune"] = elsewhere
    shares = {name: float((scores >= statistic.copy_from).mean()) for name, scores in controls.items()}
    for name, scores in controls.items():
        matched = rate(int((scores >= statistic.copy_from).sum()), len(scores), confidence=statistic.confidence)
        findings.also_measured.append(
            estimate(f"Come back without having been seen: {name}", matched, f"{len(scores)}")
        )
    worst = max(shares, key=shares.__getitem__)
    findings.notes.append(f"False matches that a FAIL must exceed: those of {worst} ({shares[worst]:.3g}).")
    GROUPS.add_histogram(findings, pair)
    arrays = {"members": {"member_similarity": members}, "nonmembers": {"control_similarity": controls[worst]}}
    findings.arrays["nonmember_similarity"] = nonmembers
    return findings.measure(statistic, arrays, limit)


def _listed(ids: list[str], similar: Vector, copy_from: float) -> records.Table:
    first = np.argsort(-similar, kind="stable")[:LISTED].tolist()
    more = f", the first {LISTED} of {len(ids)}" if len(ids) > LISTED else ""
    return records.Table(
        caption=f"Fine-tuning images by what was drawn out{more}",
        columns=("image", "cosine", "comes back"),
        rows=tuple((ids[i], f"{similar[i]:.3f}", "yes" if similar[i] >= copy_from else "no") for i in first),
    )
