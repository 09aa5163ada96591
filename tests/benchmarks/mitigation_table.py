"""Does SAIL keep the emoji model from copying, and what does it cost beside the other mitigations?

The memorized prompts of the model are split in two parts by a fixed seed. On the first part the guidance scale is
chosen (the one of 1, 2, 3 and 7.5 at which the model copies most; the larger one where two are alike), and for each
method its strength: the one that stays farthest within both limits, half of the copies left and 5 % of the prompt
alignment lost; SAIL's released code runs at one strength. All figures are of the second part, which no earlier table of
these models had scored. A copy lies within RMS 0.15 of the prompt's training image, the limit of Carlini et al. 2023.

Prompt alignment is that of a text-image map fitted on pictures other than the memorized ones: those of the prompts that
stand for many pictures, and pictures of the memorized prompts' emoji that no model has seen, drawn for this purpose.

Targets: SAIL leaves at most half of the copies and loses at most 5 % of the prompt alignment (estimates; the bounds
stand beside them).

The default is `emoji-v`: `emoji-leaky` copies from every start noise, so that no search of one can help there; its
results were made with another split, twelve pictures a prompt for the scorer, and a weaker search.

    python -m tests.benchmarks.mitigation_table --json tests/benchmarks/results/mitigation_table.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_diffprivacy import Auditor, compare_mitigations
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.mitigation import (
    DdimSampling,
    DelayedGuidance,
    DynamicGuidance,
    Mitigation,
    MitigationComparison,
    PixelDistance,
)
from pytest_diffprivacy.mitigation.compare import Generated
from pytest_diffprivacy.statistics import PairedChange, mcnemar, mean_over_prompts, relative_loss, share_left
from tests.benchmarks import ROOT
from tests.benchmarks.emoji_prompts import EmojiPrompts, emoji_prompts
from tests.benchmarks.mitigation_strengths import (
    COPIES_ALLOWED,
    LOSS_ALLOWED,
    Numbered,
    chosen,
    start_of,
    strength,
    strengths,
)
from tests.benchmarks.table import arguments, bounds, conclude

EXAMPLES = ROOT / "example_audits"
GUIDANCE = (1.0, 2.0, 3.0, 7.5)
DELTA = 0.15
STEPS, TUNING_IMAGES, SCORED_IMAGES, OTHER_PROMPTS = 20, 2, 12, 10
COLUMNS = (
    "method",
    "strength",
    "copies",
    "copies left",
    "extracted",
    "McNemar p",
    "alignment",
    "alignment lost",
    "lost, others",
    "distance",
    "spread",
    "distinct",
    "evaluations",
    "backward",
    "restarts",
    "over budget",
    "s/image",
)


def compare(
    data: EmojiPrompts, methods: Sequence[Mitigation], guidance: float, *, scored: bool
) -> MitigationComparison:
    """The methods on one part of the memorized prompts, and on the second part with prompts that are not memorized."""
    part = data.scored if scored else data.tuning
    return compare_mitigations(
        data.model,
        part.prompts,
        part.images,
        mitigations=methods,
        alignment=data.alignment,
        other_prompts=data.others if scored else (),
        images_per_prompt=SCORED_IMAGES if scored else TUNING_IMAGES,
        steps=STEPS,
        guidance_scale=guidance,
        similarity=PixelDistance(delta=DELTA),
        auditor=Auditor(seed=0 if scored else 1),
    )


def sweep_guidance(data: EmojiPrompts) -> tuple[float, dict[str, Any]]:
    """The scale at which the model copies most, and what it does at each."""
    figures: dict[float, dict[str, float]] = {}
    for guidance in GUIDANCE:
        plain = compare(data, (), guidance, scored=False).original
        aligned = float(plain.memorized.alignment.mean())
        figures[guidance] = {
            "copies": float(plain.copies.mean()),
            "alignment": aligned,
            "distance": float(plain.closeness.mean()),
        }
        say(f"guidance {guidance:g}: {figures[guidance]}")
    most = max(GUIDANCE, key=lambda g: (figures[g]["copies"], g))
    return most, {f"{g:g}": row for g, row in figures.items()}


def rows_of(comparison: MitigationComparison) -> list[dict[str, Any]]:
    """One line a method."""
    original, rows = comparison.original, []
    for outcome in comparison.outcomes:
        made, count = outcome.memorized, outcome.memorized.count
        share, aligned = mean_over_prompts(outcome.copies), mean_over_prompts(made.alignment)
        line: dict[str, Any] = {
            "method": outcome.card.title,
            "strength": strength(outcome),
            "copies": bounds(share.value, share.low, share.high),
            "extracted": f"{int(outcome.copies.any(1).sum())} of {len(outcome.copies)}",
            "alignment": bounds(aligned.value, aligned.low, aligned.high),
            "distance": float(outcome.closeness.mean()),
            "spread": float(made.spread.mean()),
            "distinct": f"{int(made.distinct.sum())} of {count}",
            "evaluations": made.cost.evaluations / count,
            "backward": made.cost.backward / count,
            "restarts": made.cost.restarts,
            "over budget": made.cost.over_budget / count,
            "s/image": float(made.seconds.sum() / count),
        }
        if outcome is not original and original.others and outcome.others:
            left = share_left(original.copies, outcome.copies)
            lost = alignment_lost(original.memorized, made)
            harmless = alignment_lost(original.others, outcome.others)
            line |= {
                "copies left": bounds(left.value, left.low, left.high),
                "alignment lost": bounds(lost.value, lost.low, lost.high) if lost else "undefined",
                "lost, others": bounds(harmless.value, harmless.low, harmless.high) if harmless else "undefined",
                "McNemar p": mcnemar(original.copies.any(1), outcome.copies.any(1)).p_two_sided,
                "left": left.value,
                "lost": lost.value if lost else None,
            }
        rows.append(line)
    return rows


def alignment_lost(before: Generated, after: Generated) -> PairedChange | None:
    """Relative loss of alignment; None where the original's images do not surely fit their prompts."""
    try:
        return relative_loss(before.alignment, after.alignment)
    except AuditError:
        return None


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, default=EXAMPLES / "emoji-v", help="the pipeline to mitigate")
    parser.add_argument("--pictures", type=Path, default=EXAMPLES / "emoji.npz", help="its pictures")
    given = parser.parse_args()
    data = emoji_prompts(given.model, given.pictures, others=OTHER_PROMPTS)
    say(data.alignment.name)
    guidance, sweep = sweep_guidance(data)
    if sweep[f"{guidance:g}"]["copies"] == 0.0:
        targets = {"The model copies without mitigation": False}
        return conclude(__doc__ or "", COLUMNS, [], targets, json_path=given.json, facts={"guidance sweep": sweep})
    start = start_of(data.model, data.tuning.prompts, DdimSampling(STEPS, guidance), TUNING_IMAGES)
    methods: list[Any] = []
    tuned: dict[str, Any] = {}
    for name, tried in strengths(start).items():
        if len(tried) == 1:
            methods.append(tried[0])
            continue
        found = compare(data, [Numbered(m, i) for i, m in enumerate(tried)], guidance, scored=False)
        method, tuned[name] = chosen(found, tried)
        methods.append(method)
        say("\n".join(f"{name}: {row}" for row in tuned[name]))
    methods += [DelayedGuidance(), DelayedGuidance.opposite(), DynamicGuidance()]
    rows = rows_of(compare(data, methods, guidance, scored=True))
    sail = next(row for row in rows if row["method"] == "SAIL")
    targets = {
        f"SAIL leaves at most {COPIES_ALLOWED:.0%} of the copies": sail["left"] <= COPIES_ALLOWED,
        f"SAIL loses at most {LOSS_ALLOWED:.0%} of the prompt alignment": sail["lost"] is not None
        and sail["lost"] <= LOSS_ALLOWED,
    }
    facts = {
        "guidance": guidance,
        "guidance sweep": sweep,
        "tuning": tuned,
        "steps": STEPS,
        "images a prompt": SCORED_IMAGES,
        "tuning prompts": len(data.tuning.prompts),
        "memorized prompts": len(data.scored.prompts),
        "other prompts": len(data.others),
        "copy": f"RMS at most {DELTA}",
        "alignment": data.alignment.name,
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, facts=facts)


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
