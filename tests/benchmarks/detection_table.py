"""How well does each detector tell memorized prompts from others on the emoji model? The paper's table, with intervals.

Method x steps x images a prompt on `example_audits/emoji-leaky`: 160 memorized prompts (120 exact, 40 partial) against
400 that stand for many pictures; AUC and TPR at 1 % FPR with one-sided 95 % bounds, the AUC of either kind alone,
seconds a prompt, and the columns for Stable Diffusion v1.4 and v2.0 of Jeon et al. 2025, Table 1, which have no
intervals. All methods watch one sampling run.

Expected: Wen and Jeon at one step and four images reach an AUC above 0.95; Jeon at one step and one image is at least
as good as Wen there; partial memorization is told from exact more often than chance.

    python -m tests.benchmarks.detection_table --json tests/benchmarks/results/detection_table.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_diffprivacy import load_model
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.detector import ConfiguredDetector
from pytest_diffprivacy.memorization.kind import Kind, prompt_kinds
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.statistics import auroc, rate, tpr_at_fpr
from tests.benchmarks.table import arguments, bounds, conclude

EXAMPLES = Path(__file__).parents[2] / "example_audits"
IMAGES, SAMPLING_STEPS, CHUNK = 16, 50, 40
COLUMNS = (
    "method",
    "steps",
    "n",
    "AUC",
    "TPR at 1 % FPR",
    "AUC exact",
    "AUC partial",
    "seconds a prompt",
    "v1.4",
    "v2.0",
)

# Title: (detector, scored steps, parameters).
ENTRIES: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    "tiled l2": ("tiled_l2", 50, {}),
    "LE": ("layerwise_entropy", 1, {}),
    "AE": ("attention_entropy", 50, {}),
    "BE": ("bright_ending", 50, {}),
    "Wen, 1 step": ("score_difference", 1, {"steps": 1}),
    "Wen, 5 steps": ("score_difference", 5, {"steps": 5}),
    "Wen, 50 steps": ("score_difference", 50, {"steps": 50}),
    "Jeon, 1 step": ("hessian_score", 1, {"steps": 1}),
    "anisotropy": ("anisotropy", 1, {}),
}
# What Jeon et al. 2025, Table 1, print by title and n: AUC / TPR at 1 % FPR.
PAPER: Mapping[tuple[str, int], tuple[str, str]] = {
    ("tiled l2", 4): ("0.908 / 0.088", "0.792 / 0.114"),
    ("tiled l2", 16): ("0.940 / 0.232", "0.907 / 0.114"),
    ("LE", 1): ("0.846 / 0.116", "0.848 / 0"),
    ("LE", 4): ("0.839 / 0.130", "0.853 / 0"),
    ("LE", 16): ("0.832 / 0.124", "0.851 / 0"),
    ("AE", 1): ("0.606 / 0", "0.809 / 0"),
    ("AE", 4): ("0.628 / 0", "0.820 / 0"),
    ("AE", 16): ("0.598 / 0", "0.817 / 0"),
    ("BE", 1): ("0.986 / 0.950", "0.983 / 0.908"),
    ("BE", 4): ("0.997 / 0.980", "0.990 / 0.945"),
    ("BE", 16): ("0.997 / 0.982", "0.990 / 0.949"),
    ("Wen, 1 step", 1): ("0.976 / 0.896", "0.948 / 0.739"),
    ("Wen, 1 step", 4): ("0.992 / 0.944", "0.980 / 0.876"),
    ("Wen, 1 step", 16): ("0.990 / 0.928", "0.983 / 0.881"),
    ("Wen, 5 steps", 1): ("0.991 / 0.932", "0.969 / 0.885"),
    ("Wen, 5 steps", 4): ("0.997 / 0.978", "0.984 / 0.917"),
    ("Wen, 5 steps", 16): ("0.998 / 0.982", "0.987 / 0.931"),
    ("Wen, 50 steps", 1): ("0.983 / 0.948", "0.982 / 0.904"),
    ("Wen, 50 steps", 4): ("0.996 / 0.982", "0.990 / 0.949"),
    ("Wen, 50 steps", 16): ("0.998 / 0.980", "0.991 / 0.945"),
    ("Jeon, 1 step", 1): ("0.987 / 0.908", "0.959 / 0.740"),
    ("Jeon, 1 step", 4): ("0.998 / 0.982", "0.991 / 0.895"),
}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--guidance", type=float, default=7.5, help="guidance scale of the sampling run")
    parser.add_argument("--images", type=int, default=IMAGES, help="images a prompt, at most")
    chosen = parser.parse_args()
    sys.path.insert(0, str(EXAMPLES))
    from emoji_probes import LEAKY, emoji_prompts

    model = load_model(LEAKY, dtype="float32")
    exact, partial, many = (emoji_prompts(name).texts for name in ("exact", "partial", "many"))
    asked = {title: DETECTORS[name](**parameters) for title, (name, _, parameters) in ENTRIES.items()}
    sampling = PromptSampling(chosen.images, SAMPLING_STEPS, chosen.guidance)
    watched = watch_in_chunks(model, exact + partial + many, asked, sampling)

    memorized, rows, found = len(exact) + len(partial), [], {}
    for title, (name, steps, parameters) in ENTRIES.items():
        for images in (1, 4, 16):
            if images < DETECTORS[name].least_images or images > chosen.images:
                continue
            scores = asked[title].scores({key: array[:, :images] for key, array in watched[title].items()})
            area = auroc(scores[:memorized], scores[memorized:], confidence=0.95)
            alone = [
                auroc(scores[kind], scores[memorized:]).value
                for kind in (slice(len(exact)), slice(len(exact), memorized))
            ]
            tail = tpr_at_fpr(scores[:memorized], scores[memorized:], max_fpr=0.01, confidence=0.95)
            found[title, images] = area.value
            rows.append(
                {
                    "method": title.partition(",")[0],
                    "steps": steps,
                    "n": images,
                    "AUC": bounds(area.value, area.low, area.high),
                    "TPR at 1 % FPR": bounds(tail.value, tail.low, tail.high),
                    "AUC exact": alone[0],
                    "AUC partial": alone[1],
                    "seconds a prompt": seconds_a_prompt(model, exact[:4], name, parameters, images, chosen.guidance),
                    **dict(zip(("v1.4", "v2.0"), PAPER.get((title, images), ("", "")), strict=True)),
                }
            )
    kinds = told_apart(watched, len(exact), memorized)
    rows.append({"method": "exact or partial", "steps": 50, "n": chosen.images, "AUC": f"accuracy {kinds['accuracy']}"})
    targets = {
        "Wen at one step and four images: AUC above 0.95": found["Wen, 1 step", 4] > 0.95,
        "Jeon at one step and four images: AUC above 0.95": found["Jeon, 1 step", 4] > 0.95,
        "Jeon at one step and one image: AUC at least Wen's": found["Jeon, 1 step", 1] >= found["Wen, 1 step", 1],
        "exact told from partial: lower bound of the accuracy above 0.5": kinds["low"] > 0.5,
    }
    facts = {
        "model": model.identity.digest,
        "guidance": chosen.guidance,
        "prompts": [memorized, len(many)],
        "kinds": kinds,
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=chosen.json, facts=facts)


def watch_in_chunks(
    model: Any, prompts: Sequence[str], asked: Mapping[str, ConfiguredDetector], sampling: PromptSampling
) -> dict[str, Arrays]:
    """One sampling run over all prompts, `CHUNK` prompts at a time."""
    parts = []
    for start in range(0, len(prompts), CHUNK):
        parts.append(watch_prompts(model, prompts[start : start + CHUNK], asked, sampling, batch_size=64))
        print(f"{min(start + CHUNK, len(prompts))} of {len(prompts)} prompts sampled", file=sys.stderr, flush=True)
    return {
        title: {key: np.concatenate([part[title][key] for part in parts]) for key in parts[0][title]} for title in asked
    }


def seconds_a_prompt(
    model: Any, prompts: Sequence[str], name: str, parameters: Mapping[str, Any], images: int, guidance: float
) -> float:
    """Of a detector that runs alone, on a few prompts."""
    sampling = PromptSampling(images, SAMPLING_STEPS, guidance)
    started = time.perf_counter()
    watch_prompts(model, prompts, {name: DETECTORS[name](**parameters)}, sampling)
    return (time.perf_counter() - started) / len(prompts)


def told_apart(watched: Mapping[str, Arrays], exact: int, memorized: int) -> dict[str, Any]:
    """How often the rule of memorization.kind names the planted kind, over prompts that it calls memorized at all."""
    masks = watched["BE"].get("mask")
    kinds = [
        kind.kind
        for kind in prompt_kinds(
            watched["tiled l2"]["images"][:memorized], None if masks is None else masks[:memorized]
        )
    ]
    truth = [Kind.EXACT] * exact + [Kind.PARTIAL] * (memorized - exact)
    right = sum(kind is true for kind, true in zip(kinds, truth, strict=True))
    share = rate(right, memorized, confidence=0.95)
    per_kind = {
        true.value: {
            kind.value: sum(k is kind and t is true for k, t in zip(kinds, truth, strict=True)) for kind in Kind
        }
        for true in (Kind.EXACT, Kind.PARTIAL)
    }
    return {
        "accuracy": bounds(share.value, share.low, share.high),
        "low": share.low,
        "right": right,
        "of": memorized,
        "called": per_kind,
    }


if __name__ == "__main__":
    sys.exit(main())
