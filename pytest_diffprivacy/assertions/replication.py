"""The claim "generations are no closer to the training set than to unseen images", judged by the DCR share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import histogram_record, method_record
from pytest_diffprivacy.assertions.plans import Planned, evaluations_a_step, planned_rate, sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import InsufficientProbes, ModelError, UsageError
from pytest_diffprivacy.evidence.records import Claim, Method, Recipe, Table
from pytest_diffprivacy.extraction.replication import Replication, equal_sides, measure_replication
from pytest_diffprivacy.models.protocols import Generator, Prompt, require_generator
from pytest_diffprivacy.probes import ProbeSet
from pytest_diffprivacy.statistics import (
    DataCopying,
    DcrShare,
    Verdict,
    auroc,
    data_copying,
    dcr_share,
    false_match_threshold,
    rate,
    trials_needed,
)
from pytest_diffprivacy.statistics.arguments import as_number, check_count

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Generations are no closer to the training set than allowed.",
    Verdict.FAIL: "Generations are closer to the training set than to images the model never saw.",
    Verdict.INCONCLUSIVE: "These generations do not decide whether they are closer to the training set.",
    Verdict.ERROR: "Closeness to the training set could not be judged.",
}
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
CELL_SHARE = 20
MAX_FALSE_MATCH_RATE = 0.01
INDEPENDENT = (
    "each generation has a nearest image of its own; those that share one count as fewer, and how many is undefined "
    "before they are drawn"
)


def assert_not_closer_to_members(
    model: object,
    probes: ProbeSet,
    *,
    limit: float = 0.55,
    generations: int = 2048,
    steps: int = 50,
    prompts: Sequence[Prompt] | None = None,
    guidance_scale: float | None = None,
    embedding: Embedding | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that at most `limit` of the generations are nearer to the training set than to as many unseen images.

    One half is what a model without any copying gives. Judged is the DCR share with bounds that count generations of
    one nearest record as fewer; the p-value by permutation of the split stands beside it. Also measured, each once more
    with the unseen images in place of the generations: Meehan's C_T, the share of generations that are not authentic,
    the kNN ratio, and the largest similarity with the floor that real images set.

    Args:
        model: black-box access: anything that generates images by seed.
        probes: members and non-members of one kind; the larger side is thinned to the size of the smaller.
        limit: allowed share, from 0.5 to below 1.
        generations: images to generate.
        steps: sampling steps.
        prompts: shared out among the generations as evenly as they go, e.g. captions of members and non-members alike;
            None: no prompt. Captions of members alone ask for members' content.
        guidance_scale: of classifier-free guidance; None: the model's own default.
        embedding: a copy detector that decides what is near, e.g. `torchscript_embedding(...)`; None: pixels.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides.
        UsageError: a bad argument, a split with shared images, or fewer than 10 images a side.
        AuditError: the model generates NaN.

    Source: Follows METHODS 6.2 (DCR share by effective counts and permutation, not by the binomial test).
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    count, steps = check_count("generations", generations, least=1), check_count("steps", steps, least=1)
    if not 0.5 <= as_number("limit", limit) < 1.0:
        raise UsageError(f"`limit` must be at least 0.5 and below 1, got {limit!r}. 0.5 is what no copying gives.")
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    asked = _shared_out(count, prompts)
    sentence = f"Share of generations nearer to the training set than to as many unseen images is at most {limit:.4g}"
    if judge.planning:
        planned = Planned(
            judge=judge, model=model, kind="extraction", sentence=sentence, limit=float(limit), confidence=level,
            evaluations=steps * (1 if prompts is None else evaluations_a_step(guidance_scale)), unit="a generation",
        )  # fmt: skip
        return planned_rate(
            planned, count, trial="generations", clean="of which half are nearer", unleaked=0.5, note=INDEPENDENT,
            beside="{} members, {} non-members, duplicates counted".format(*sides(probes)),
        )  # fmt: skip
    generator = require_generator(model, "Closeness to the training set")
    gate = judged_split(judge, probes)
    probes = gate.probes
    training, holdout = equal_sides(probes, seed=judge.seed)
    question = Question(
        kind="extraction",
        slug="replication",
        sentence=sentence,
        limit=float(limit),
        headlines=HEADLINES,
        model=generator.identity,
        probes=probes,
        counts=f"{count} generations, {len(training)} training and {len(holdout)} unseen images",
        confidence=level,
        name="not_closer_to_members",
    )

    def measure(findings: Findings) -> DcrShare:
        findings.methods = [_method(count, steps, prompts, guidance_scale, embedding)]
        gate.note(findings)
        found = measure_replication(
            _generated(judge, generator, probes, asked, steps, guidance_scale, findings),
            training,
            holdout,
            embedding=embedding,
            seed=judge.seed,
        )
        share = _share(findings, found, level, judge.seed)
        findings.needed = lambda: _needed(share, float(limit))
        _also(findings, found, share, level)
        return share

    return judge.judge(question, measure)


def _shared_out(count: int, prompts: Sequence[Prompt] | None) -> list[tuple[Prompt | None, int]]:
    """Each prompt and how many images it is asked for; the first ones get one more where it does not divide."""
    if prompts is None:
        return [(None, count)]
    if not len(prompts) or len(set(prompts)) != len(prompts):
        raise UsageError(f"`prompts` must be at least one and distinct, got {len(prompts)}. Leave them out for none.")
    each, more = divmod(count, len(prompts))
    return [(prompt, each + (place < more)) for place, prompt in enumerate(prompts) if each + (place < more)]


def _generated(
    judge: Auditor,
    generator: Generator,
    probes: ProbeSet,
    asked: Sequence[tuple[Prompt | None, int]],
    steps: int,
    guidance_scale: float | None,
    findings: Findings,
) -> Iterator[NDArray[np.float32]]:
    for prompt, count in asked:
        blocks = judge.generations(
            generator, count, steps=steps, ledger=findings.ledger, prompt=prompt, guidance_scale=guidance_scale
        )
        for _, images in blocks:
            if images.shape[1:] != probes.image_shape:
                raise ModelError(
                    f"The model generates images of shape {images.shape[1:]}, the probes have {probes.image_shape}. "
                    "Resize the probes as the training pipeline did."
                )
            yield images


def _method(
    generations: int,
    steps: int,
    prompts: Sequence[Prompt] | None,
    guidance_scale: float | None,
    embedding: Embedding | None,
) -> Method:
    parameters: dict[str, Any] = {"generations": generations, "steps": steps}
    if prompts is not None:
        parameters["prompts"] = f"{len(prompts)} of the caller's"
    if guidance_scale is not None:
        parameters["guidance_scale"] = float(guidance_scale)
    parameters["distance"] = "pixels, RMS" if embedding is None else embedding.name
    if embedding is not None:
        parameters["embedding_digest"] = embedding.digest
    return method_record(
        name="replication",
        title="Distance to the closest record, training set against holdout",
        access="black box",
        source="METHODS 6.2 to 6.5; Meehan et al. 2020, Alaa et al. 2022, Somepalli et al. 2023",
        parameters=parameters,
        threshold="none; ties count one half",
        label_use="which records are training images decides the share; the p-value re-draws it",
    )


def _share(findings: Findings, found: Replication, confidence: float, seed: int) -> DcrShare:
    arrays = {
        "training_distances": found.generations.distances,
        "holdout_distances": found.holdout_distances,
        "nearest_training": found.generations.nearest,
        "nearest_holdout": found.nearest_holdout,
    }
    findings.arrays |= arrays | {
        "authentic": found.generations.authentic,
        "unseen_authentic": found.unseen.authentic,
        "ratios": found.generations.ratios,
        "unseen_ratios": found.unseen.ratios,
        "similarities": found.generations.similarities,
        "unseen_similarities": found.unseen.similarities,
    }
    findings.recipe = Recipe(
        statistic="dcr_share",
        arrays={name: (name,) for name in arrays},
        arguments={"records": found.records, "confidence": confidence, "seed": seed},
    )
    return dcr_share(*arrays.values(), records=found.records, confidence=confidence, seed=seed)


def _also(findings: Findings, found: Replication, share: DcrShare, confidence: float) -> None:
    """The other metrics, which are measured and not judged."""
    ours, unseen = found.generations, found.unseen
    many, few = f"{len(ours.distances)} generations", f"{len(unseen.distances)} unseen images"
    copying = _data_copying(found, confidence)
    if copying is None:
        findings.notes.append("C_T is undefined: no cell has enough generations and unseen images.")
    else:
        meehan = f"{len(copying.z)} of {found.cells} cells, {many}, {few}"
        findings.also_measured.append(
            estimate("Minus Meehan's C_T (above 3: copying; far below 0: underfitting)", copying, meehan)
        )
    authentic = rate(int((~ours.authentic).sum()), len(ours.authentic), confidence=confidence)
    control = rate(int((~unseen.authentic).sum()), len(unseen.authentic), confidence=confidence)
    ratio = auroc(-ours.ratios, -unseen.ratios, confidence=confidence)
    findings.also_measured += [
        estimate("Generations that are not authentic (1 - AuthPct)", authentic, many),
        estimate("The same of unseen images", control, few),
        estimate("AUROC of minus the kNN ratio, generations against unseen images", ratio, f"{many}, {few}"),
    ]
    _floor(findings, found, confidence, many)
    findings.tables.append(_quantiles(found))
    findings.histograms += [
        histogram_record(
            "kNN ratio to the training set",
            "adaptive distance (lower = closer)",
            ours.ratios,
            unseen.ratios,
            names=("generations", "unseen images"),
        ),
        histogram_record(
            "Largest similarity to a training image",
            f"cosine of {found.similarity} (higher = more alike)",
            ours.similarities,
            unseen.similarities,
            names=("generations", "unseen images"),
        ),
    ]
    p_copying = "" if copying is None else f" C_T = {copying.c_t:.3g}, p = {copying.p_value:.3g} by its normal law."
    findings.notes += [
        f"p = {share.p_value:.3g} that the split into training set and holdout does not matter (one-sided, by "
        f"permutation). {share.generations} generations count as {share.effective:.0f} independent ones, since they "
        f"share nearest records.{p_copying}",
        f"Metrics beside the share are measured in {found.space} and not judged: compare each with its figure for "
        "unseen images. A generator of little variety is near to training and unseen images alike, which C_T takes for "
        "copying and the share does not.",
    ]


def _data_copying(found: Replication, confidence: float) -> DataCopying | None:
    ours, unseen = found.generations, found.unseen
    try:
        return data_copying(
            ours.cell_distances,
            ours.cells,
            unseen.cell_distances,
            unseen.cells,
            cells=found.cells,
            min_share=min(0.5, CELL_SHARE / len(ours.cells)),
            confidence=confidence,
        )
    except InsufficientProbes:
        return None


def _floor(findings: Findings, found: Replication, confidence: float, many: str) -> None:
    """How similar real images are to other real images, and how many generations exceed that."""
    # A cosine of 1 is distance 0; rounding may leave it a little above 1.
    null = (1.0 - found.unseen.similarities).clip(min=0.0)
    try:
        floor = false_match_threshold(
            null, max_false_match_rate=MAX_FALSE_MATCH_RATE, confidence=confidence, ceiling=2.0
        )
    except InsufficientProbes as error:
        findings.notes.append(f"No floor of similarity between real images: {error}")
        return
    except UsageError:
        findings.notes.append("No floor of similarity: so many unseen images equal training images that none is left.")
        return
    above = rate(
        int((1.0 - found.generations.similarities <= floor.threshold).sum()),
        len(found.generations.similarities),
        confidence=confidence,
    )
    name = f"Generations more alike to a training image than {1.0 - floor.threshold:.4f}, the floor of real images"
    findings.also_measured.append(estimate(name, above, many))
    findings.notes.append(
        f"The floor is calibrated on {floor.nulls} unseen images: at most {MAX_FALSE_MATCH_RATE:.0%} of such images "
        f"are that similar to a training image, with confidence {floor.confidence:g}."
    )


def _quantiles(found: Replication) -> Table:
    rows = [
        ("generations to training images", found.generations.similarities),
        ("unseen images to training images", found.unseen.similarities),
        ("training images to other training images", found.background),
    ]
    return Table(
        caption=f"Largest similarity, cosine of {found.similarity}: quantiles",
        columns=("", *(f"{q:.0%}" for q in QUANTILES)),
        rows=tuple((name, *(f"{value:.4f}" for value in np.quantile(values, QUANTILES))) for name, values in rows),
    )


def _needed(share: DcrShare, limit: float) -> str:
    """Generations that decide, if they share nearest records as these do; the split's own luck does not shrink."""
    decided = trials_needed(share.value, limit, confidence=share.confidence)
    if decided is None:
        return "at the observed share no number of generations decides"
    factor = share.generations / share.effective
    return f"about {round(decided * factor)} generations, or more members and non-members, would decide"
