"""What the most conspicuous prompts generate: exact or partial copies, as a table and as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Strip, Table
from pytest_diffprivacy.memorization.kind import Kind, PromptKind, prompt_kinds
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.probes import PromptSet
from pytest_diffprivacy.sources.source import Vector
from pytest_diffprivacy.statistics.p_values import FALSE_SHARE, benjamini_hochberg, exceedance_p_values

LOOKED_AT = 24
STRIPS_SHOWN = 12
PICTURES = 4


@dataclass(frozen=True, slots=True)
class Conspicuous:
    """Prompts by their scores.

    Attributes:
        prompts: all audited prompts.
        scores: of each.
        p_values: of each among the reference prompts.
        threshold: from which a score counts; None: none does.
        above: how many score at or above it.
        found: places of those among them that are listed, the most conspicuous first; a tenth at most is false.
        looked_at: places of those that are generated; the most conspicuous one where none was found.
    """

    prompts: PromptSet
    scores: Vector
    p_values: Vector
    threshold: float | None
    above: int
    found: list[int]
    looked_at: list[int]

    @classmethod
    def of(cls, prompts: PromptSet, scores: Vector, reference: Vector, threshold: float | None) -> Conspicuous:
        """Those to list at or above the threshold; None: there is none, and nothing is found."""
        order, p_values = np.argsort(-scores, kind="stable"), exceedance_p_values(scores, reference)
        above = np.zeros(len(scores), dtype=bool) if threshold is None else scores >= threshold
        listed = above & benjamini_hochberg(p_values)
        found = [int(i) for i in order if listed[i]]
        looked_at = (found or order[:1].tolist())[:LOOKED_AT]
        return cls(prompts, scores, p_values, threshold, int(above.sum()), found, looked_at)


def add_examples(findings: Findings, seen: Conspicuous, arrays: Mapping[str, Arrays], images: str) -> None:
    """Tell exact from partial copies, and show the prompts.

    Args:
        findings: the claim's.
        seen: the prompts.
        arrays: what tiled_l2, and bright_ending where attention can be read, keep of those that are looked at.
        images: "none", "redacted" or "full".
    """
    kinds = prompt_kinds(arrays["tiled_l2"]["images"], arrays.get("bright_ending", {}).get("mask"))
    by_prompt = dict(zip(seen.looked_at, kinds, strict=True))
    findings.arrays |= {
        "prompt_p_values": seen.p_values,
        "found_prompts": np.asarray(seen.found, dtype=np.int64),
        "looked_at_prompts": np.asarray(seen.looked_at, dtype=np.int64),
        "tile_agreement": np.asarray([kind.agreement for kind in kinds]),
    }
    if seen.found:
        names = seen.prompts.texts if images == "full" else seen.prompts.ids()
        rows = tuple(_row(seen, place, names[place], by_prompt.get(place)) for place in seen.found)
        columns = ("Prompt", "Score", "p-value", "Kind", "Picture that agrees", "Bright area")
        caption = f"Prompts found, the most conspicuous first; at most {FALSE_SHARE:.0%} are expected to be false"
        findings.tables.append(Table(caption=caption, columns=columns, rows=rows))
        shown = [by_prompt[i].kind for i in seen.found if i in by_prompt]
        shares = ", ".join(f"{shown.count(kind)} {kind.value}" for kind in Kind)
        findings.notes.append(
            f"{seen.above} of {len(seen.scores)} prompts score above the threshold {seen.threshold:.4g}; "
            f"{len(seen.found)} are listed, so that at most {FALSE_SHARE:.0%} of the list are expected to be false "
            f"(Benjamini and Hochberg). Of the {len(shown)} most conspicuous ones {shares}: exact if three quarters of "
            "the picture agree between generations, partial if an eighth does."
        )
    if images != "none":
        findings.strips_title = "What the most conspicuous prompts generate"
        findings.strips += [
            _strip(seen, place, rows, by_prompt[place], redacted=images == "redacted")
            for place, rows in zip(seen.looked_at[:STRIPS_SHOWN], arrays["tiled_l2"]["images"], strict=False)
        ]


def _row(seen: Conspicuous, place: int, name: str, kind: PromptKind | None) -> tuple[str, ...]:
    area = None if kind is None else kind.bright_area
    return (
        name,
        f"{seen.scores[place]:.4g}",
        f"{seen.p_values[place]:.2g}",
        "not looked at" if kind is None else kind.kind.value,
        "–" if kind is None else f"{kind.agreement:.0%}",
        "–" if area is None else f"{area:.0%}",
    )


def _strip(seen: Conspicuous, place: int, generations: Vector, kind: PromptKind, *, redacted: bool) -> Strip:
    """Generations of a prompt, beside its training image where the prompt set knows it."""
    training = seen.prompts.image(place)
    shown = [] if training is None else [picture(training, "training image", redacted=redacted)]
    for number, image in enumerate(generations[:PICTURES]):
        shown.append(picture(image.astype(np.float64) / 255.0, f"generation {number}", redacted=redacted))
    name = seen.prompts.ids()[place] if redacted else seen.prompts.texts[place]
    caption = (
        f"{name}: score {seen.scores[place]:.4g}, {kind.kind.value}, {kind.agreement:.0%} of the picture agrees "
        "between generations"
    )
    above = place in seen.found
    mark = "above threshold" if above else "below threshold"
    return Strip(pictures=tuple(shown), caption=caption, mark=mark, conspicuous=above)
