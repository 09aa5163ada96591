"""The claim "generations are no closer to the training set than to unseen images", judged by the DCR share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_diffprivacy.audit import Auditor, Claim, Findings, current_auditor
from pytest_diffprivacy.claims.claim import assertion, conclude, of, refuse_idle
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.sources import require_probes
from pytest_diffprivacy.sources.closeness import ArrayCounts, ClosenessSource, ModelCloseness, TableCounts
from pytest_diffprivacy.sources.generations import Request
from pytest_diffprivacy.sources.source import is_array, made_elsewhere
from pytest_diffprivacy.statistics import Measured, Verdict
from pytest_diffprivacy.statistics.arguments import as_number, check_count

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Generations are no closer to the training set than allowed.",
    Verdict.FAIL: "Generations are closer to the training set than to images the model never saw.",
    Verdict.INCONCLUSIVE: "These generations do not decide whether they are closer to the training set.",
    Verdict.ERROR: "Closeness to the training set could not be judged.",
}
AVOIDED = 0.001
"""One-sided significance at which generations lie nearer to the unseen images, as in statistics.check_coherence."""


@assertion
def assert_not_closer_to_members(
    model: object,
    probes: object,
    *,
    limit: float = 0.55,
    generations: int = 2048,
    steps: int = 50,
    prompts: Sequence[Prompt] | None = None,
    guidance_scale: float | None = None,
    embedding: Embedding | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> records.Claim:
    """Assert that at most `limit` of the generations are nearer to the training set than to as many unseen images.

    One half is what a model without any copying gives. Judged is the DCR share with bounds that count generations of
    one nearest record as fewer; the p-value by permutation of the split stands beside it. Also measured, each once more
    with the unseen images in place of the generations: Meehan's C_T, the share of generations that are not authentic,
    the kNN ratio, and the largest similarity with the floor that real images set.

    Args:
        model: black-box access: anything that generates images by seed; or a ScoreTable with one column, for each
            member and non-member the number of generations to which it is the nearest of all (0 where to none, one half
            each at a tie). Which side is nearest is not enough: the bounds rest on how many generations share a record.
            Or the members' counts, an array (members,). Then what says how to generate has no part in it.
        probes: members and non-members of one kind; the larger side is thinned to the size of the smaller; for a
            ScoreTable they must be of one size. Or the non-members' counts, an array as long.
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
    auditor = auditor or current_auditor()
    level = auditor.confidence(confidence)
    count, steps = check_count("generations", generations, least=1), check_count("steps", steps, least=1)
    if not 0.5 <= as_number("limit", limit) < 1.0:
        raise UsageError(f"`limit` must be at least 0.5 and below 1, got {limit!r}. 0.5 is what no copying gives.")
    if embedding is not None and not isinstance(embedding, Embedding):
        raise UsageError(
            f"`embedding` must be an Embedding, got {type(embedding).__name__}. Make one by Embedding.of(...)."
        )
    if made_elsewhere(model):
        refuse_idle(
            assert_not_closer_to_members,
            {
                "generations": generations, "steps": steps, "prompts": prompts, "guidance_scale": guidance_scale,
                "embedding": embedding,
            },
        )  # fmt: skip
    elif prompts is None:
        without = "Give `prompts`, or leave it out."
        refuse_idle(assert_not_closer_to_members, {"guidance_scale": guidance_scale}, "without `prompts`", without)
    source: ClosenessSource
    if is_array(model) and is_array(probes):
        source = ArrayCounts(model, probes, confidence=level, seed=auditor.seed)
    elif isinstance(model, ScoreTable):
        source = TableCounts(auditor, model, require_probes(probes), level)
    else:
        requests = _shared_out(count, prompts, steps, guidance_scale)
        source = ModelCloseness(auditor, model, require_probes(probes), requests, embedding, level)
    sentence = f"Share of generations nearer to the training set than to as many unseen images is at most {limit:.4g}"
    claim = Claim(
        kind="extraction",
        name="not_closer_to_members",
        slug=source.slug,
        sentence=of(sentence, source.title),
        limit=float(limit),
        headlines=HEADLINES,
        confidence=level,
    )

    def measure(findings: Findings) -> Measured:
        share = source.measure(findings, claim.limit)
        if share.p_value >= 1.0 - AVOIDED:
            text = "Generations are nearer to the unseen images than to the training set beyond chance"
            findings.notes.append(f"{text}: a low share shows nothing here.")
            findings.cannot_pass = f"{text}, so a low share proves nothing. Are members and non-members swapped?"
        return share

    return conclude(auditor, claim, source, source.statistic, measure, units=source.counts[0])


def _shared_out(
    count: int, prompts: Sequence[Prompt] | None, steps: int, guidance_scale: float | None
) -> list[Request]:
    """What is asked for with each prompt; the first ones get one image more where it does not divide."""
    if prompts is None:
        return [Request(count, steps, None, guidance_scale)]
    if isinstance(prompts, str):
        raise UsageError(f"`prompts` must be a list of prompts, got the text {prompts!r}. Put it into a list.")
    if not len(prompts) or len(set(prompts)) != len(prompts):
        raise UsageError(f"`prompts` must be at least one and distinct, got {len(prompts)}. Leave them out for none.")
    each, more = divmod(count, len(prompts))
    shares = [(prompt, each + (place < more)) for place, prompt in enumerate(prompts)]
    return [Request(share, steps, prompt, guidance_scale) for prompt, share in shares if share]
