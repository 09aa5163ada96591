"""The claim "this training is differentially private", as far as an audit can refute it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.attacks import AttackLike, plan_attacks, planned_evaluations
from pytest_diffprivacy.assertions.coherence import check_order
from pytest_diffprivacy.assertions.controls import (
    ELSEWHERE,
    negative_controls,
    no_positive_control,
    positive_controls,
)
from pytest_diffprivacy.assertions.evidence import histogram_record, method_record, table_method
from pytest_diffprivacy.assertions.plans import Planned, planned_epsilon
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Method, Recipe
from pytest_diffprivacy.models.protocols import require_denoiser
from pytest_diffprivacy.probes import CanarySet, ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import (
    GaussianOneRun,
    OneRunEpsilon,
    Verdict,
    auroc,
    correct_guesses,
)
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction
from pytest_diffprivacy.statistics.one_run import OneRunStatistic
from pytest_diffprivacy.statistics.one_run_gaussian import GaussianOneRunStatistic
from pytest_diffprivacy.statistics.statistic import recorded_arguments

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
    "Assumed, because mechanism='gaussian' was declared, and not tested: what the training reveals of a canary is at "
    "most what a Gaussian mechanism reveals, and no canary changes another's score. The bound holds under both alone."
)

Mechanism: TypeAlias = Literal["any", "gaussian"]


def assert_epsilon_lower_bound_below(
    model: object,
    canaries: CanarySet,
    *,
    claimed_epsilon: float,
    delta: float,
    attack: AttackLike = "loss",
    mechanism: Mechanism = "any",
    guesses: int | None = None,
    confidence: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    auditor: Auditor | None = None,
) -> Claim:
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
        mechanism: "any": nothing is assumed of the training. "gaussian": declares that it reveals of a canary at most
            what a Gaussian mechanism does, and that canaries do not change each other's scores, as of DP-SGD's Gaussian
            noise and canaries that are far apart; the bound is then about twice as high. The record says that this was
            declared, and shows the bound that assumes nothing beside it.
        guesses: how many canaries are guessed, half of them "in" (the highest scores) and half "out" (the lowest); it
            must be fixed before the coins are seen. None: a fifth of the canaries, with
            "gaussian" two thirds.
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

    Source: Implements Steinke, Nasr and Jagielski (2023), Algorithm 1 and Theorem 5.2; METHODS 7.5; with "gaussian" the
    GDP route of METHODS 7.4 (Dong, Roth and Su 2022).
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    claimed, small = as_number("claimed_epsilon", claimed_epsilon), check_fraction("delta", delta, zero=True)
    if not 0.0 <= claimed < 700.0:
        raise UsageError(f"`claimed_epsilon` must be at least 0 and finite, got {claimed_epsilon!r}.")
    if not isinstance(canaries, CanarySet):
        raise UsageError(f"`canaries` must be a CanarySet, got {type(canaries).__name__}. Use plant_canaries.")
    rule = _rule(mechanism, guesses, len(canaries), small, level)
    sides = [canaries.images[canaries.included], canaries.images[~canaries.included]]
    if min(map(len, sides)) < 2:
        raise UsageError(f"`canaries` must be at least 2 on each side of their coins, got {[len(s) for s in sides]}.")
    counts = f"{len(canaries)} canaries, {len(sides[0])} included; {rule.top} guessed in, {rule.bottom} guessed out"
    sentence = f"The lower bound of epsilon at delta {small:g} is at most the claimed {claimed:.4g}"
    given, elsewhere = _given(model, canaries, attack)
    if judge.planning:
        evaluations, title = (
            (0, "scores made elsewhere") if given is not None else planned_evaluations(attack, dict(parameters or {}))
        )
        case = Planned(
            judge=judge, model=model, kind="differential privacy", limit=claimed, confidence=level,
            sentence=f"{sentence} ({title}{', Gaussian mechanism declared' if rule.gaussian else ''})",
            evaluations=evaluations,
        )  # fmt: skip
        return planned_epsilon(case, len(canaries), rule.statistic)
    denoiser = None if given is not None else require_denoiser(model, "A one-run audit")
    probes = ProbeSet(sides[0], sides[1])
    planned = [] if denoiser is None else plan_attacks(denoiser, probes, attack, dict(parameters or {}), judge.seed)[0]
    if denoiser is not None and len(planned) != 1:
        raise UsageError("`attack` must name one attack: guesses of several are another family. Choose the strongest.")
    method = planned[0].method if planned else elsewhere
    question = Question(
        kind="differential privacy",
        slug="epsilon",
        sentence=f"{sentence} ({method.title}{', Gaussian mechanism declared' if rule.gaussian else ''})",
        limit=claimed,
        headlines=HEADLINES_GAUSSIAN if rule.gaussian else HEADLINES,
        model=None if denoiser is None else denoiser.identity,
        probes=probes,
        counts=counts,
        confidence=level,
        name="epsilon_lower_bound_below",
    )

    def measure(findings: Findings) -> OneRunEpsilon | GaussianOneRun:
        findings.methods, findings.notes = [method], [EVIDENCE, *([ASSUMED] if rule.gaussian else [])]
        if denoiser is None:
            no_positive_control(method.title, ELSEWHERE, findings)
            scores = given
        else:
            positive_controls(judge, denoiser, probes, planned, findings)
            scores = judge.scores(denoiser, ImageSet.of(canaries.images, "canary"), planned[0].task, findings.work)
        assert scores is not None
        _describe(findings, scores, canaries.included, method.title, level, judge.seed)
        findings.recipe = Recipe(
            statistic=rule.statistic.name,
            arrays={"scores": ("canary_scores",), "included": ("canary_included",)},
            arguments=recorded_arguments(rule.statistic),
        )
        rule.statistic.check_refutable(len(canaries), claimed)
        right = correct_guesses(scores, canaries.included, guess_in=rule.top, guess_out=rule.bottom)
        findings.notes.append(f"{right} of {rule.guesses} guesses are right.")
        if rule.gaussian:
            free = _rule("any", None, len(canaries), small, level)
            right_free = correct_guesses(scores, canaries.included, guess_in=free.top, guess_out=free.bottom)
            counts_free = f"{right_free} of {free.guesses} guesses right"
            findings.also_measured.append(
                estimate("Epsilon of any mechanism, lower bound", free.bound(right_free), counts_free)
            )
        return rule.bound(right)

    return judge.judge(question, measure)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How canaries are guessed and the guesses judged; fixed before a coin is seen."""

    gaussian: bool
    canaries: int
    guesses: int
    delta: float
    confidence: float

    @property
    def top(self) -> int:
        return self.guesses - self.guesses // 2

    @property
    def bottom(self) -> int:
        return self.guesses // 2

    @property
    def statistic(self) -> OneRunStatistic | GaussianOneRunStatistic:
        kind = GaussianOneRunStatistic if self.gaussian else OneRunStatistic
        return kind(guess_in=self.top, guess_out=self.bottom, delta=self.delta, confidence=self.confidence)

    def bound(self, right: int) -> OneRunEpsilon | GaussianOneRun:
        return self.statistic.bound(self.canaries, right)


def _rule(mechanism: str, guesses: int | None, canaries: int, delta: float, confidence: float) -> _Rule:
    if mechanism not in get_args(Mechanism):
        raise UsageError(f"`mechanism` must be 'any' or 'gaussian', got {mechanism!r}.")
    gaussian = mechanism == "gaussian"
    if gaussian and delta == 0.0:
        raise UsageError("`delta` must be above 0 with mechanism='gaussian', got 0: no Gaussian mechanism has delta 0.")
    usual = max(2, 2 * canaries // 3 if gaussian else canaries // 5)
    total = check_count("guesses", usual if guesses is None else guesses, least=1)
    if total > canaries:
        raise UsageError(f"`guesses` must be at most the {canaries} canaries, got {guesses!r}.")
    return _Rule(gaussian, canaries, total, delta, confidence)


def _describe(
    findings: Findings,
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    title: str,
    confidence: float,
    seed: int,
) -> None:
    """Everything that a reader wants besides the bound."""
    inside, outside = scores[included], scores[~included]
    findings.arrays |= {"canary_scores": scores, "canary_included": included}
    check_order(findings, inside, outside, title=title, whom="included canaries")
    negative_controls({"canaries": (inside, outside)}, {"canaries": title}, seed, findings)
    counts = f"{len(inside)} canaries included, {len(outside)} not"
    findings.also_measured.append(estimate("AUROC", auroc(inside, outside, confidence=confidence), counts))
    names = ("included", "not included")
    label = "score (higher = more likely included)"
    findings.histograms.append(histogram_record("Scores of the canaries", label, inside, outside, names=names))


def _given(model: object, canaries: CanarySet, attack: AttackLike) -> tuple[NDArray[np.float64] | None, Method]:
    """Scores that were made elsewhere, in the order of the canaries, and their method; None: a model is to be asked."""
    if isinstance(model, ScoreTable):
        column = model.choose_one(attack, "loss", "attack")
        return model.of_images(ImageSet.of(canaries.images, "canary"), column), table_method(model, column)
    if isinstance(model, (np.ndarray, torch.Tensor, list, tuple)):
        return _scores(model, len(canaries)), _elsewhere()
    return None, _elsewhere()


def _elsewhere() -> Method:
    return method_record(
        name="scores",
        title="Scores made elsewhere",
        access="chosen by the caller",
        source="the caller's own scores",
        parameters={},
        threshold="none; a fixed number of the highest and lowest scores is guessed",
    )


def _scores(values: Sequence[float] | NDArray[Any] | torch.Tensor, count: int) -> NDArray[np.float64]:
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "fiu" or array.shape != (count,):
        raise UsageError(f"Canary scores must be {count} numbers, got dtype {array.dtype} and shape {array.shape}.")
    return array.astype(np.float64)
