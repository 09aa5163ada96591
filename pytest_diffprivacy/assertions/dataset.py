"""The claim "the training set cannot be inferred": together, its images stand out no more than allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import ELSEWHERE, no_positive_control, no_split_control
from pytest_diffprivacy.assertions.dataset_controls import (
    TITLE,
    dataset_negative_control,
    dataset_positive_control,
    keep,
)
from pytest_diffprivacy.assertions.evidence import histogram_record, method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_effect, sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim, Method, Recipe
from pytest_diffprivacy.membership.cdi import (
    FAMILIES,
    WHITE_BOX,
    CdiSettings,
    affordable_features,
    as_features,
    cdi_logits,
)
from pytest_diffprivacy.membership.cdi_features import VERSION, cdi_features
from pytest_diffprivacy.models.planned import PlannedModel
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser, require_white_box
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import Verdict, auroc
from pytest_diffprivacy.statistics.arguments import as_number, check_fraction
from pytest_diffprivacy.statistics.control_splits import control_splits
from pytest_diffprivacy.statistics.controls import SIGNIFICANCE as CONTROL_SIGNIFICANCE
from pytest_diffprivacy.statistics.dataset_inference import (
    DatasetInference,
    ShiftTest,
    dataset_inference,
    images_needed,
)
from pytest_diffprivacy.statistics.p_values import Combine

NAME = "dataset_not_inferable"
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "As a set, the training images stand out no more than allowed.",
    Verdict.FAIL: "It can be inferred that these images, as a set, were trained on.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether the training set can be inferred.",
    Verdict.ERROR: "Dataset inference could not be judged.",
}

SPLITS = 5
SOURCE = "Dubinski et al. 2025 (CDI), with disjoint control and test images"

Matrix: TypeAlias = NDArray[np.float64]


def assert_dataset_not_inferable(
    model: object,
    probes: object,
    *,
    significance: float = 0.01,
    max_effect: float = 0.0,
    features: Sequence[str] | None = None,
    splits: int = SPLITS,
    test: ShiftTest = "welch",
    combine: Combine = "mean",
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that members, taken together, stand out from non-members by at most `max_effect`.

    CDI's scorer is fitted on control halves and judged on test halves, several times at random. The effect is the
    difference of the mean logits of test members and test non-members in units of their standard deviation.

    FAIL iff its lower bound is above `max_effect`. That bound inverts the combined p-value over all splits, so with
    the default 0 it is FAIL iff p < significance: the set can be inferred. PASS iff the upper bound of its size, the
    worst of the splits', is at most `max_effect`: that needs a margin, because no sample shows that an effect is 0. A
    large p-value alone is INCONCLUSIVE. A margin means: a set of `images_needed(max_effect, significance=
    ...)` test images, beside as many non-members, would be inferred with probability 0.8 if the effect were that large.

    Args:
        model: a model with grey-box access (white-box: more features); a ScoreTable, whose columns are the features; or
            the members' features, an array (members, features).
        probes: the ProbeSet; or the non-members' features, an array (non-members, features).
        significance: of the test, and 1 - confidence of each bound; a confidence on the command line overrides it.
        max_effect: allowed effect in standard deviations, >= 0.
        features: families out of membership.cdi.FAMILIES; None: all that the model's access allows. Of a
            ScoreTable its columns; None: all.
        splits: random control/test splits; the record holds each one's p-value.
        test: "welch", or "permutation" of the mean difference.
        combine: "mean": twice the mean of the p-values decides; "median": twice their median. One split is itself.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record; `.value`, `.low` and `.high` are the effect and its bounds.

    Raises:
        PrivacyViolation: the claim is refuted: the set can be inferred.
        Inconclusive: neither bound decides, there are fewer than 20 members or non-members, or members and non-members
            differ without the model (the split is confounded).
        UsageError: a bad argument, a split with shared images, or a model without the access needed.
        AuditError: the model returns NaN, the features say nothing, or a control failed.

    Source: Follows Dubinski et al. 2025 (CDI) as METHODS 3.13 and 7.6 correct it; the bounds are ours.
    """
    judge = auditor or current_auditor()
    level = _confidence(judge, significance)
    limit = as_number("max_effect", max_effect)
    if not 0.0 <= limit < float("inf"):
        raise UsageError(f"`max_effect` must be finite and >= 0, got {max_effect!r}. 0.2 is a small effect.")
    sentence = f"As a set, members stand out from non-members by at most {limit:.4g} standard deviations"
    planned = Planned(
        judge=judge, model=model, kind="membership", sentence=sentence, limit=limit, confidence=level, evaluations=None
    )
    design = _Design(limit, level, splits, test, combine, judge.seed)
    if _is_array(model) and _is_array(probes):
        if features is not None:
            raise UsageError("`features` must be left out where feature matrices are given.")
        members, nonmembers = _matrix("member", model), _matrix("non-member", probes)
        counts = _counts(len(members), len(nonmembers))
        if judge.planning:
            return planned_effect(replace(planned, evaluations=0), (len(members), len(nonmembers)), splits=splits)
        question = Question(
            "membership",
            "dataset-features",
            sentence,
            limit,
            HEADLINES,
            None,
            None,
            counts,
            level,
            name=NAME,
        )
        method = _method("features", "Features made elsewhere", "chosen by the caller", design.shown)

        def given(findings: Findings) -> tuple[Matrix, Matrix]:
            no_split_control(findings)
            no_positive_control(TITLE, ELSEWHERE, findings)
            keep(findings, dataset_negative_control(nonmembers, design.seed, design.control))
            return members, nonmembers

        return judge.judge(question, lambda f: _measure(f, method, partial(given, f), design))
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet (or both arguments feature matrices), got {type(probes).__name__}."
        )
    if isinstance(model, ScoreTable):
        columns = model.choose("all" if features is None else tuple(features), "all")
        if judge.planning:
            case = replace(planned, sentence=f"{sentence} ({', '.join(columns)})", evaluations=0)
            return planned_effect(case, sides(probes), splits=splits)
        return _judge_table(judge, model, probes, columns, sentence, limit, level, design)
    if judge.planning:
        whole = FAMILIES if isinstance(model, PlannedModel) else affordable_features(model)  # pipelines are white boxes
        cost = CdiSettings(whole if features is None else tuple(features))
        backward = f"and {cost.backward_passes} backward passes " if cost.backward_passes else ""
        case = replace(
            planned, sentence=f"{sentence} (CDI)", evaluations=cost.forward_passes, unit=f"{backward}an image"
        )
        return planned_effect(case, sides(probes), splits=splits)
    denoiser = require_denoiser(model, "Dataset inference")
    chosen = CdiSettings(affordable_features(denoiser) if features is None else tuple(features))
    if set(chosen.features) & set(WHITE_BOX):
        require_white_box(model, "CDI's gradient masking and noise optimization")
    gate = judged_split(judge, probes)
    split = gate.probes
    parameters: dict[str, Any] = {
        "features": chosen.features,
        "timestep": chosen.timestep,
        "pia_timestep": chosen.pia_timestep,
        "timesteps": chosen.timesteps,
        "draws": chosen.draws,
    }
    task = ScoreTask("cdi", VERSION, cdi_features, {**parameters, "seed": judge.seed}, shape=(len(chosen.names),))
    access = "white box" if set(chosen.features) & set(WHITE_BOX) else "grey box"
    method = _method("cdi", "CDI dataset inference", access, {**parameters, **design.shown}, denoiser, chosen)
    question = Question(
        "membership", "dataset-cdi", f"{sentence} (CDI)", limit, HEADLINES, denoiser.identity, split,
        _counts(len(split.members), len(split.nonmembers)), level, name=NAME,
    )  # fmt: skip

    def collect(findings: Findings) -> tuple[Matrix, Matrix]:
        findings.notes += _left_out(denoiser, chosen)
        gate.note(findings)
        keep(findings, dataset_positive_control(judge, denoiser, split, task, chosen, design.control))
        both = split.members, split.nonmembers
        found = [judge.scores(denoiser, side, task, findings.work) for side in both]
        # By digest, so that the splits do not depend on the order of the files.
        members, nonmembers = (rows[side.digest_order] for rows, side in zip(found, both, strict=True))
        keep(findings, dataset_negative_control(nonmembers, design.seed, design.control))
        return members, nonmembers

    return judge.judge(question, lambda f: _measure(f, method, partial(collect, f), design))


def _judge_table(
    judge: Auditor,
    table: ScoreTable,
    probes: ProbeSet,
    columns: Sequence[str],
    sentence: str,
    limit: float,
    level: float,
    design: _Design,
) -> Claim:
    """The claim from features that were measured elsewhere, a column each."""
    gate = judged_split(judge, probes)
    joined = [table.join(probes, column, kept=gate.probes) for column in columns]
    both = gate.probes.members, gate.probes.nonmembers
    # By digest, so that the splits do not depend on the order of the files.
    members, nonmembers = (
        np.stack([pair[place] for pair in joined], axis=1)[side.digest_order] for place, side in enumerate(both)
    )
    question = Question(
        "membership", "dataset-table", f"{sentence} ({', '.join(columns)})", limit, HEADLINES, None, gate.probes,
        _counts(len(members), len(nonmembers)), level, name=NAME,
    )  # fmt: skip
    source = {"table": table.origin, "sha256": table.sha256 or "made in memory", "columns": tuple(columns)}
    method = _method("features", "Features made elsewhere", "chosen by the caller", {**source, **design.shown})

    def collect(findings: Findings) -> tuple[Matrix, Matrix]:
        gate.note(findings)
        no_positive_control(TITLE, ELSEWHERE, findings)
        keep(findings, dataset_negative_control(nonmembers, design.seed, design.control))
        return members, nonmembers

    return judge.judge(question, lambda f: _measure(f, method, partial(collect, f), design))


@dataclass(frozen=True, slots=True)
class _Design:
    """Everything about the test that is fixed before a label is used."""

    limit: float
    confidence: float
    splits: int
    test: ShiftTest
    combine: Combine
    seed: int

    @property
    def significance(self) -> float:
        return round(1.0 - self.confidence, 12)

    def control(self, members: Matrix, nonmembers: Matrix) -> DatasetInference:
        """The same test on other features, at the controls' significance and on one split."""
        drawn = control_splits(len(members), len(nonmembers), splits=1, seed=self.seed)
        logits = cdi_logits(members, nonmembers, drawn)
        level = 1.0 - CONTROL_SIGNIFICANCE
        return dataset_inference(logits, confidence=level, test=self.test, combine=self.combine, seed=self.seed)

    @property
    def shown(self) -> dict[str, Any]:
        return {"splits": self.splits, "test": self.test, "combine": self.combine}


def _measure(
    findings: Findings, method: Method, collect: Callable[[], tuple[Matrix, Matrix]], design: _Design
) -> DatasetInference:
    """Features to the effect with its bounds; everything else that a reader wants goes into the findings."""
    findings.methods = [method]
    members, nonmembers = collect()
    drawn = control_splits(len(members), len(nonmembers), splits=design.splits, seed=design.seed)
    logits = cdi_logits(members, nonmembers, drawn)
    findings.recipe = Recipe(
        statistic="dataset_inference",
        arrays={"members": ("member_logits",), "nonmembers": ("nonmember_logits",)},
        arguments={
            "confidence": design.confidence,
            "test": design.test,
            "combine": design.combine,
            "seed": design.seed,
        },
    )
    measured = dataset_inference(
        logits, confidence=design.confidence, test=design.test, combine=design.combine, seed=design.seed
    )
    findings.arrays |= {
        "member_features": members,
        "nonmember_features": nonmembers,
        "member_logits": np.stack([np.asarray(pair.members) for pair in logits]),
        "nonmember_logits": np.stack([np.asarray(pair.nonmembers) for pair in logits]),
        "split_p_values": np.array(measured.split_p_values),
    }
    counts = f"{measured.members} test members, {measured.nonmembers} test non-members a split"
    first, second = np.asarray(logits[0].members), np.asarray(logits[0].nonmembers)
    findings.also_measured += [
        estimate("Mean logit difference", measured.difference, counts),
        estimate("AUROC of one image, first split", auroc(first, second, confidence=design.confidence), counts),
    ]
    findings.histograms.append(
        histogram_record("Test images of the first split", "logit (higher = more likely member)", first, second)
    )
    findings.notes += _notes(measured, design)
    findings.needed = lambda: _needed(measured, design)
    return measured


def _confidence(judge: Auditor, significance: float) -> float:
    alpha = check_fraction("significance", significance)
    if alpha >= 0.5:
        raise UsageError(f"`significance` must be below 0.5, got {significance!r}. Give the chance of error (0.01).")
    return judge.confidence(round(1.0 - alpha, 12))


def _counts(members: int, nonmembers: int) -> str:
    return f"{members} members, {nonmembers} non-members, half of each as controls"


def _notes(measured: DatasetInference, design: _Design) -> list[str]:
    each = measured.split_p_values
    splits = f"twice the {design.combine} of {len(each)} splits' ({min(each):.3g} to {max(each):.3g})"
    notes = [
        f"p = {measured.p_value:.3g}, {splits if len(each) > 1 else 'from one split'}, one-sided {design.test} test, "
        f"significance {design.significance:g}. Mean logits: members {measured.member_mean:.4g}, non-members "
        f"{measured.nonmember_mean:.4g}; {measured.members} test members and {measured.nonmembers} test non-members a "
        "split. A p-value above the significance never shows that a set was not used."
    ]
    inferable = images_needed(measured.high, significance=design.significance)
    if inferable is not None:
        notes.append(f"At the upper bound of the effect, about {inferable} test images a side make a set inferable.")
    if design.limit == 0.0:
        notes.append("With max_effect = 0 the claim can FAIL but never PASS: declare how large an effect may remain.")
    return notes


def _left_out(model: Denoiser, chosen: CdiSettings) -> list[str]:
    """What a reader must know about the features that were not computed."""
    beyond = [family for family in WHITE_BOX if family not in affordable_features(model)]
    skipped = [family for family in affordable_features(model) if family not in chosen.features]
    notes = []
    if beyond:
        notes.append(
            f"Left out: {', '.join(beyond)}, which need gradients, and the model is a grey box. Without them about a "
            "third more images are needed."
        )
    if skipped:
        notes.append(f"Left out by the caller: {', '.join(skipped)}.")
    if chosen.backward_passes:
        notes.append(f"Besides its network evaluations, an image costs {chosen.backward_passes} backward passes.")
    return notes


def _needed(measured: DatasetInference, design: _Design) -> str:
    images = images_needed(measured.value, limit=design.limit, significance=design.significance)
    if design.limit == 0.0:
        never = "no number of images lets it PASS: declare a max_effect above 0"
        if images is None or measured.value <= 0.0:
            return never
        return f"about {2 * images} members and as many non-members would make it FAIL at the observed effect; {never}"
    if images is None:
        return "at the observed effect no number of images decides"
    return f"about {2 * images} members and as many non-members would decide at the observed effect"


def _method(
    name: str,
    title: str,
    access: str,
    parameters: Mapping[str, Any],
    model: Denoiser | None = None,
    chosen: CdiSettings | None = None,
) -> Method:
    times = (chosen.timestep, chosen.pia_timestep, *chosen.timesteps) if chosen else ()
    distinct = list(dict.fromkeys(model.schedule.match(t) for t in times)) if model else []
    return method_record(
        name=name,
        title=title,
        access=access,
        source=SOURCE,
        parameters=parameters,
        timesteps=distinct,
        evaluations=chosen.forward_passes if chosen else None,
        threshold="none; the mean logits of the two test halves are compared",
        label_use="control halves fit a logistic regression, test halves are judged; timesteps and parameters were "
        "fixed before labels were seen",
    )


def _is_array(value: object) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor, list, tuple))


def _matrix(role: str, values: Any) -> Matrix:
    return as_features(
        f"{role} features", values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    )
