"""The claim "generations are no closer to the training set than to unseen images", judged by the DCR share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.assertions.plans import Planned, evaluations_a_step, planned_rate, sides
from pytest_diffprivacy.assertions.replication_evidence import judged_share, measure_also
from pytest_diffprivacy.assertions.replication_tables import judge_count_table
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.evidence.records import Claim, Method
from pytest_diffprivacy.extraction.replication import equal_sides, measure_replication
from pytest_diffprivacy.models.protocols import Generator, Prompt, require_generator
from pytest_diffprivacy.probes import ProbeSet, ScoreTable
from pytest_diffprivacy.statistics import (
    DcrShare,
    Verdict,
)
from pytest_diffprivacy.statistics.arguments import as_number, check_count
from pytest_diffprivacy.statistics.dcr import generations_needed

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Generations are no closer to the training set than allowed.",
    Verdict.FAIL: "Generations are closer to the training set than to images the model never saw.",
    Verdict.INCONCLUSIVE: "These generations do not decide whether they are closer to the training set.",
    Verdict.ERROR: "Closeness to the training set could not be judged.",
}
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
        model: black-box access: anything that generates images by seed; or a ScoreTable with one column, for each
            member and non-member the number of generations to which it is the nearest of all (0 where to none, one half
            each at a tie). Which side is nearest is not enough: the bounds rest on how many generations share a record.
            Then what says how to generate has no part in it.
        probes: members and non-members of one kind; the larger side is thinned to the size of the smaller; for a
            ScoreTable they must be of one size.
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
        UsageError: a bad argument, a split with shared images, fewer than 10 images a side, or a table of other images
            or of no counts.
        AuditError: the model generates NaN, or the counts of a table would pass and are higher for non-members beyond
            chance.

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
    if embedding is not None and not isinstance(embedding, Embedding):
        raise UsageError(
            f"`embedding` must be an Embedding, got {type(embedding).__name__}. Make one by Embedding.of(...)."
        )
    asked = _shared_out(count, prompts)
    sentence = f"Share of generations nearer to the training set than to as many unseen images is at most {limit:.4g}"
    if isinstance(model, ScoreTable):
        return judge_count_table(
            judge, model, probes, sentence=sentence, limit=float(limit), headlines=HEADLINES, note=INDEPENDENT,
            confidence=level,
        )  # fmt: skip
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
        share = judged_share(findings, found, level, judge.seed)
        findings.needed = lambda: generations_needed(share, float(limit))
        measure_also(findings, found, share, level)
        return share

    return judge.judge(question, measure)


def _shared_out(count: int, prompts: Sequence[Prompt] | None) -> list[tuple[Prompt | None, int]]:
    """Each prompt and how many images it is asked for; the first ones get one more where it does not divide."""
    if prompts is None:
        return [(None, count)]
    if isinstance(prompts, str):
        raise UsageError(f"`prompts` must be a list of prompts, got the text {prompts!r}. Put it into a list.")
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
            generator, count, steps=steps, work=findings.work, prompt=prompt, guidance_scale=guidance_scale
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
