"""The claim "this training is differentially private", as far as an audit can refute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from pytest_diffprivacy.audit import Auditor, Claim, Findings, Named, current_auditor, estimate
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.methods import MethodLike
from pytest_diffprivacy.probes import CanarySet
from pytest_diffprivacy.sources import Vector
from pytest_diffprivacy.sources.canaries import canary_scores
from pytest_diffprivacy.sources.controls import negative_controls
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.statistics import Measured, Verdict, correct_guesses
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction
from pytest_diffprivacy.statistics.one_run import GuessStatistic, OneRunStatistic
from pytest_diffprivacy.statistics.one_run_gaussian import GaussianOneRunStatistic

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "The audit does not refute the differential privacy claim; it cannot prove it.",
    Verdict.FAIL: "The differential privacy claim is refuted.",
    Verdict.INCONCLUSIVE: "These canaries do not decide about such a claim.",
    Verdict.ERROR: "The differential privacy claim could not be audited.",
}
HEADLINES_GAUSSIAN: Mapping[Verdict, str] = {
    **HEADLINES,
    Verdict.PASS: "The audit does not refute the claim of a Gaussian mechanism's privacy; it cannot prove it.",
    Verdict.FAIL: "The differential privacy claim is refuted, if the mechanism is Gaussian as declared.",
}
EVIDENCE = (
    "Evidence of: this training run, with every canary included by its own fair coin before training. A refutation "
    "holds whatever the attack is. Not evidence of: an epsilon. No audit bounds it from above, and a stronger attack "
    "or more canaries may refute what this one does not."
)
ASSUMED = (
    "Assumed, because mechanism='gaussian' was declared, and not tested: what the training reveals of a canary, "
    "given all others, is at most what a Gaussian mechanism reveals. Canaries may share what they reveal."
)

Mechanism: TypeAlias = Literal["any", "gaussian"]


GROUPS = Groups(
    whom="included canaries",
    names=("included", "not included"),
    scores="Scores of the canaries",
    axis="score (higher = more likely included)",
)


@assertion
def assert_epsilon_lower_bound_below(
    model: object,
    canaries: CanarySet,
    *,
    claimed_epsilon: float,
    delta: float,
    attack: MethodLike = "loss",
    mechanism: Mechanism = "any",
    guesses: int | None = None,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that the lower bound of epsilon that one training run proves is at most the claimed epsilon.

    FAIL: the bound is above it, so the claim of (claimed_epsilon, delta)-differential privacy is refuted. PASS: it is
    not refuted, and no more than that. INCONCLUSIVE: even if all guesses were right they would not refute it.

    Args:
        model: a model with grey-box access whose training set had the canaries; a ScoreTable with one of its columns as
            `attack`, whose ids are "canary 0", "canary 1", ... or the sha256 of their pixels; or the canaries' scores,
            (canaries,), higher = more likely included, in the order of the canaries.
        canaries: as `plant_canaries` made and stored them; its coins are tossed again and compared.
        claimed_epsilon: what the training is said to guarantee, in nats.
        delta: its delta, in [0, 1).
        attack: one attack, as for `assert_mia_tpr_below`; left alone where scores are given.
        mechanism: "any": nothing is assumed of the training. "gaussian": declares the trade-off curve: that it reveals
            of a canary, given all others, at most what a Gaussian mechanism does, as DP-SGD's noise; the bound is then
            about 1.5 times as high. The record says that this was declared, and shows the bound that assumes nothing
            beside it.
        guesses: how many canaries are guessed, half of them "in" (the highest scores) and half "out" (the lowest); it
            must be fixed before the coins are seen. None: a fifth of the canaries.
        confidence: of the bound; the session's by default.
        parameters: arguments of the attack that differ from its defaults.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record; `.value`, `.low` and `.high` are the lower bound itself.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: too few guesses to refute such a claim.
        UsageError: a bad argument, or a model without the access needed.
        AuditError: the model returns NaN, all scores are equal, a control failed, or an attack that ranks included
            canaries last would pass.

    Source: Implements Steinke, Nasr and Jagielski (2023), Algorithm 1 and Theorem 5.2; METHODS 7.5; with "gaussian"
    Mahloujifar, Melis and Chaudhuri (2024).
    """
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    claimed, small = as_number("claimed_epsilon", claimed_epsilon), check_fraction("delta", delta, zero=True)
    if not 0.0 <= claimed < 700.0:
        raise UsageError(f"`claimed_epsilon` must be at least 0 and finite, got {claimed_epsilon!r}.")
    if not isinstance(canaries, CanarySet):
        raise UsageError(f"`canaries` must be a CanarySet, got {type(canaries).__name__}. Use plant_canaries.")
    if mechanism not in get_args(Mechanism):
        raise UsageError(f"`mechanism` must be 'any' or 'gaussian', got {mechanism!r}.")
    if made_elsewhere(model):
        asked: Mapping[str, object] = {"parameters": parameters} | ({"attack": attack} if is_array(model) else {})
        refuse_idle(assert_epsilon_lower_bound_below, asked)
    gaussian = mechanism == "gaussian"
    statistic = _statistic(gaussian, guesses, len(canaries), small, level)
    sizes = [int(canaries.included.sum()), int((~canaries.included).sum())]
    if min(sizes) < 2:
        raise UsageError(f"`canaries` must be at least 2 on each side of their coins, got {sizes}.")
    guessed = f"{statistic.guess_in} guessed in, {statistic.guess_out} guessed out"
    counts = f"{len(canaries)} canaries, {sizes[0]} included; {guessed}"
    source = canary_scores(auditor, model, canaries, attack, dict(parameters or {}), counts)
    claim = Claim(
        kind="differential privacy",
        name="epsilon_lower_bound_below",
        slug="epsilon",
        sentence=of(
            f"The lower bound of epsilon at delta {small:g} is at most the claimed {claimed:.4g}",
            source.title + (", Gaussian mechanism declared" if gaussian else ""),
        ),
        limit=claimed,
        headlines=HEADLINES_GAUSSIAN if gaussian else HEADLINES,
        confidence=level,
        terms={"delta": small},
    )

    def measure(findings: Findings) -> Measured:
        source.describe(findings)
        findings.notes = [EVIDENCE, *([ASSUMED] if gaussian else []), *findings.notes]
        scores, included = source.scores(findings), canaries.included
        pair = scores[included], scores[~included]
        findings.arrays |= {"canary_scores": scores, "canary_included": included}
        GROUPS.check_order(findings, pair, source.title, "Judge by another attack")
        negative_controls({"canaries": pair}, {"canaries": source.title}, auditor.seed, findings)
        GROUPS.add_auroc(findings, pair, level)
        GROUPS.add_histogram(findings, pair)
        statistic.check_refutable(len(canaries), claimed)
        right = correct_guesses(scores, included, guess_in=statistic.guess_in, guess_out=statistic.guess_out)
        findings.notes.append(f"{right} of {statistic.guesses} guesses are right.")
        if gaussian:
            _add_free_bound(findings, scores, canaries, small, level)
        arrays: Named = {"scores": {"canary_scores": scores}, "included": {"canary_included": included}}
        return findings.measure(statistic, arrays, claimed)

    return conclude(auditor, claim, source, statistic, measure)


def _statistic(gaussian: bool, guesses: int | None, canaries: int, delta: float, confidence: float) -> GuessStatistic:
    """How canaries are guessed and the guesses judged; fixed before a coin is seen."""
    if gaussian and delta == 0.0:
        raise UsageError("`delta` must be above 0 with mechanism='gaussian', got 0: no Gaussian mechanism has delta 0.")
    usual = max(2, canaries // 5)
    total = check_count("guesses", usual if guesses is None else guesses, least=1)
    if total > canaries:
        raise UsageError(f"`guesses` must be at most the {canaries} canaries, got {guesses!r}.")
    kind = GaussianOneRunStatistic if gaussian else OneRunStatistic
    return kind(guess_in=total - total // 2, guess_out=total // 2, delta=delta, confidence=confidence)


def _add_free_bound(findings: Findings, scores: Vector, canaries: CanarySet, delta: float, confidence: float) -> None:
    """The bound that assumes nothing of the mechanism, beside the one that does."""
    free = _statistic(False, None, len(canaries), delta, confidence)
    right = correct_guesses(scores, canaries.included, guess_in=free.guess_in, guess_out=free.guess_out)
    counts = f"{right} of {free.guesses} guesses right"
    bound = free.bound(len(canaries), right)
    findings.also_measured.append(estimate("Epsilon of any mechanism, lower bound", bound, counts))
