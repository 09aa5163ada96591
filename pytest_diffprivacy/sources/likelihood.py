"""Control against likelihood: the model's own generations, scored as if they were members.

They were not trained on. An attack that takes them for members measures how likely the model finds an image, and what
it says of members may be no more than that they look like what the model makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.methods import Configured
from pytest_diffprivacy.models.protocols import Denoiser, Generator, require_generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.generations import Request, generated, unprompted
from pytest_diffprivacy.sources.source import Pair, Vector
from pytest_diffprivacy.statistics import auroc

STEPS: Final = 50
LEAST: Final = 10


def likelihood_control(
    auditor: Auditor,
    model: Denoiser | Generator,
    probes: ProbeSet,
    chosen: Configured,
    pair: Pair,
    count: int,
    findings: Findings,
    *,
    score: Callable[[ImageSet], Vector] | None = None,
) -> None:
    """Score own generations, and record whether the attack takes them for members.

    Args:
        auditor: generates and scores.
        model: under audit; it must generate as well.
        probes: whose members' prompts it is asked with, in turn.
        chosen: the attack.
        pair: scores of members and non-members; **higher = more likely a member**.
        count: generations.
        findings: the claim's.
        score: what scores images, where the attack asks more than this model; None: the attack asks it.

    Raises:
        ModelError: the model does not generate.

    Source: Implements METHODS 7.11, control against likelihood; ours.
    """
    generator = require_generator(model, "The control against likelihood")
    given = probes.members.prompts(range(len(probes.members)))
    asked = None if given is None else tuple(given[i % len(given)] for i in range(count))
    request = unprompted(generator, probes.members, Request(count, STEPS, asked, 1.0), auditor.seed)
    blocks = list(generated(auditor, generator, [request], probes, findings))
    made = np.concatenate(blocks)
    new = _no_copies(made, probes)
    if not new.any():
        findings.notes.append("Control against likelihood: every generation copies a member, so none was made anew.")
        return
    told = None if asked is None else [one for one, kept in zip(asked, new.tolist(), strict=True) if kept]
    images = ImageSet.of(made[new], "generation", told)
    if len(images) < LEAST:
        findings.notes.append(
            f"Control against likelihood: {len(images)} different generations are too few to compare."
        )
        return
    own_task = chosen.task(auditor.seed)
    scores = auditor.scores(model, images, own_task, findings.work) if score is None else score(images)
    members, nonmembers = pair
    confidence = 0.95
    own, known = (auroc(side, nonmembers, confidence=confidence) for side in (scores, members))
    counts = f"{len(images)} generations, {len(nonmembers)} non-members"
    findings.also_measured.append(estimate(f"AUROC of own generations ({chosen.title})", own, counts))
    findings.arrays[f"generation_scores {chosen.key}"] = scores
    if own.low > 0.5:
        share = min(1.0, (own.value - 0.5) / (known.value - 0.5)) if known.value > 0.5 else 1.0
        findings.notes.append(
            f"{chosen.title} takes the model's own generations, which were not trained on, for members (AUROC "
            f"{own.value:.3f} against {known.value:.3f} of the members): it measures likelihood. {share:.0%} of what "
            "it finds beyond chance may be likelihood and no memory of single images."
        )
    else:
        findings.notes.append(
            f"{chosen.title} does not take the model's own generations for members (AUROC {own.value:.3f}, lower bound "
            f"{own.low:.3f}): what it finds is not likelihood alone."
        )


def _no_copies(made: NDArray[np.uint8], probes: ProbeSet) -> NDArray[np.bool_]:
    """Which generations are near no member: a copy of one was trained on."""
    rows = made.reshape(len(made), -1).astype(np.float64) / 255.0
    least = np.full(len(made), np.inf)
    for _, batch in probes.members.batches(256):
        others = batch.reshape(len(batch), -1).astype(np.float64)
        squares = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2.0 * rows @ others.T
        least = np.minimum(least, squares.min(1))
    return np.asarray(np.sqrt(np.maximum(least, 0.0) / rows.shape[1]) > max(probes.near, 1.0 / 255.0))
