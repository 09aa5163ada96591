"""How well does each detector tell memorized prompts from others? Jeon et al. 2025, Table 1, beside models like theirs.

Method x steps x images a prompt, on held-out prompts of each model of `example_audits/build_emoji_copies.py`: 60 exact
and 20 partial memorized prompts against 300 that stand for many pictures. AUC and TPR at 1 % FPR with one-sided 95 %
bounds, the AUC of either kind alone, the network rows that an image costs, and the paper's figures for the Stable
Diffusion that predicts the same (v1.4 the noise, v2.0 v). All methods watch one sampling run at the paper's guidance
7.5. LE stands twice: at the authors' layer, and at the one whose AUC is highest on the other 60 exact, 20 partial and
100 other prompts. That layer is all that is chosen here, and no held-out prompt plays a part in it.

The models differ in seed and prediction; what `--model` does not name stays in the JSON as it is. What was observed is
kept in `--work`, so that a run that was stopped goes on.

Targets, of the models that predict the noise, at four images: BE at least 0.95, AE 0.6, tiled l2 0.9, Wen 0.97 at 1 and
50 steps, Jeon Wen's lower bound, LE 0.75 at the chosen layer. No target was set for v.

    python example_audits/build_emoji_copies.py --out FOLDER --seed 0
    python -m tests.benchmarks.detection_table --model "eps, seed 0=FOLDER" --json detection_table.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from pytest_diffprivacy import load_model
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling
from pytest_diffprivacy.memorization.detector import ConfiguredDetector
from pytest_diffprivacy.memorization.kind import Kind, prompt_kinds
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.statistics import auroc, rate, tpr_at_fpr
from pytest_diffprivacy.statistics.paired_tests import auroc_difference
from tests.benchmarks import ROOT
from tests.benchmarks.detection_paper import ENTRIES, LE, NUMBERS, PUBLISHED_LAYER, printed
from tests.benchmarks.detection_watch import Half, first_images, halves, watched
from tests.benchmarks.table import Figure, arguments, bounds, conclude

SAMPLING_STEPS, GUIDANCE, DEVELOPMENT_IMAGES = 50, 7.5, 4
COLUMNS: Final = (
    "model",
    "method",
    "steps",
    "n",
    "AUC",
    "TPR at 1 % FPR",
    "AUC exact",
    "AUC partial",
    "rows an image",
    "paper, AUC / TPR",
)
LEAST: Final = {"BE": 0.95, "AE": 0.6, "tiled l2": 0.9, "Wen, 1 step": 0.97, "Wen, 50 steps": 0.97}
LEAST_LE, TARGETS_AT = 0.75, 4


def main() -> int:
    """Measure the models that were asked for and print the table of all."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--images", type=int, choices=NUMBERS[1:], default=NUMBERS[-1], help="images a prompt, at most")
    parser.add_argument(
        "--model", action="append", required=True, metavar="NAME=FOLDER", help="a model to measure; repeatable"
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".diffprivacy" / "detection", help="what was observed")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    asked = dict(pair.partition("=")[::2] for pair in given.model)
    models, rows = {}, []
    if given.json is not None and given.json.exists():
        before = json.loads(given.json.read_text(encoding="utf-8"))
        models = {name: one for name, one in before.get("models", {}).items() if name not in asked}
        rows = [row for row in before["rows"] if row.get("model") in models]
    for name, folder in asked.items():
        models[name], own = measured(name, Path(folder), given.images, given.work)
        rows += own
    facts = {"guidance": GUIDANCE, "sampling steps": SAMPLING_STEPS, "models": models}
    figures = [
        figure
        for name, one in models.items()
        if one["prediction"] == "epsilon"
        for figure in figures_of(name, one, [row for row in rows if row["model"] == name])
    ]
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, facts=facts, figures=figures)


def measured(name: str, folder: Path, images: int, work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is said about one model, and its lines of the table."""
    model = load_model(folder, dtype="float32")
    prediction = "v_prediction" if "v_prediction" in model.identity.family else "epsilon"
    development, held = halves()
    layers = layer_table(model, development, work, name)
    chosen = max(layers, key=lambda layer: layers[layer]["AUC"])
    asked = {title: DETECTORS[e.detector](**e.parameters) for title, e in ENTRIES.items()}
    if chosen != PUBLISHED_LAYER:
        asked[LE.format(chosen)] = DETECTORS["layerwise_entropy"](layer=chosen)
    sampling = PromptSampling(images, SAMPLING_STEPS, GUIDANCE)
    seen = watched(model, held.prompts, asked, sampling, work, what=f"{name}: held out")
    rows = [
        {"model": name} | row(title, one, first_images(seen[title], n), n, held, prediction, chosen)
        for title, one in asked.items()
        for n in NUMBERS
        if one.method.least_images <= n <= images
    ]
    facts = {
        "digest": model.identity.digest,
        "prediction": prediction,
        "prompts": {"exact": len(held.exact), "partial": len(held.partial), "others": len(held.others)},
        "layers, on the development prompts": layers,
        "LE, chosen layer": chosen,
        "kinds": told_apart(seen, held),
        "Jeon minus Wen, 1 step": {n: jeon_minus_wen(seen, asked, n, held) for n in NUMBERS if n <= images},
    }
    return facts, rows


def layer_table(model: Any, half: Half, work: Path, name: str) -> dict[int, dict[str, float]]:
    """Of each cross-attention layer at the first step, on the prompts that choices may rest on.

    LE's AUC, and the share of the attention that the start token holds, of memorized prompts and of others.
    """
    count = attention_layers(model, half.prompts[0])
    asked = {str(layer): DETECTORS["layerwise_entropy"](layer=layer) for layer in range(count)}
    sampling = PromptSampling(DEVELOPMENT_IMAGES, SAMPLING_STEPS, GUIDANCE)
    seen = watched(model, half.prompts, asked, sampling, work, what=f"{name}: layers")
    found = {}
    for layer in range(count):
        arrays = seen[str(layer)]
        scores, start = asked[str(layer)].scores(arrays), arrays["attention"][..., 0].mean(1)
        memorized, others = slice(half.memorized), slice(half.memorized, None)
        found[layer] = {
            "AUC": auroc(scores[memorized], scores[others]).value,
            "start token, memorized": float(start[memorized].mean()),
            "start token, others": float(start[others].mean()),
        }
    return found


def attention_layers(model: Any, prompt: str) -> int:
    """How many cross-attention layers the network has."""
    with model.cross_attention() as record:
        model.predict_eps(torch.zeros((1, *model.sample_shape)), 1, model.condition([prompt], 1))
    return len(record.tokens)


def row(
    title: str, one: ConfiguredDetector, arrays: Arrays, images: int, held: Half, prediction: str, chosen: int
) -> dict[str, Any]:
    """A line of the table."""
    scores = one.scores(arrays)
    exact, partial, others = (
        scores[: len(held.exact)],
        scores[len(held.exact) : held.memorized],
        scores[held.memorized :],
    )
    area = auroc(scores[: held.memorized], others, confidence=0.95)
    tail = tpr_at_fpr(scores[: held.memorized], others, max_fpr=0.01, confidence=0.95)
    alone = [auroc(part, others, confidence=0.95) for part in (exact, partial)]
    beside = printed(prediction, title, images)
    is_chosen = title == LE.format(chosen)
    return {
        "method": title.partition(", ")[0] if not title.startswith("LE") else title + " (chosen)" * is_chosen,
        "title": title,
        "steps": ENTRIES[title].steps if title in ENTRIES else 1,
        "n": images,
        "AUC": bounds(area.value, area.low, area.high),
        "TPR at 1 % FPR": bounds(tail.value, tail.low, tail.high),
        "AUC exact": bounds(alone[0].value, alone[0].low, alone[0].high),
        "AUC partial": bounds(alone[1].value, alone[1].low, alone[1].high),
        "rows an image": one.cost(SAMPLING_STEPS),
        "paper, AUC / TPR": "" if beside is None else str(beside),
        "auc": [area.value, area.low, area.high],
        "tpr": [tail.value, tail.low, tail.high],
        "paper": None if beside is None else list(beside),
    }


def jeon_minus_wen(
    seen: Mapping[str, Arrays], asked: Mapping[str, ConfiguredDetector], images: int, held: Half
) -> dict[str, Any]:
    """The paired difference of the two AUCs over the same prompts and start noises."""
    sides = []
    for title in ("Jeon, 1 step", "Wen, 1 step"):
        scores = asked[title].scores(first_images(seen[title], images))
        sides.append((scores[: held.memorized], scores[held.memorized :]))
    change = auroc_difference(*sides, confidence=0.95)
    alike = change.low <= 0.0 <= change.high
    return {
        "AUC": bounds(change.value, change.low, change.high),
        "says": "cannot be told apart" if alike else "Jeon's is higher" if change.value > 0 else "Wen's is higher",
    }


def told_apart(seen: Mapping[str, Arrays], held: Half) -> dict[str, Any]:
    """How often the rule of memorization.kind names the planted kind of the memorized prompts."""
    memorized = held.memorized
    kinds = [one.kind for one in prompt_kinds(seen["tiled l2"]["images"][:memorized], seen["BE"]["mask"][:memorized])]
    truth = [Kind.EXACT] * len(held.exact) + [Kind.PARTIAL] * len(held.partial)
    right = sum(kind is true for kind, true in zip(kinds, truth, strict=True))
    share = rate(right, memorized, confidence=0.95)
    calls = Counter((true.value, kind.value) for true, kind in zip(truth, kinds, strict=True))
    return {
        "accuracy": bounds(share.value, share.low, share.high),
        "called": {" as ".join(pair): count for pair, count in calls.items()},
    }


def figures_of(name: str, one: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A model's figures with their targets, at `TARGETS_AT` images."""
    rows = {row["title"]: row for row in own if row["n"] == TARGETS_AT}

    def figure(title: str, least: float, what: str = "") -> Figure:
        return Figure(f"{name}: AUC of {what or title}, {TARGETS_AT} images", rows[title]["auc"][0], least, "at least")

    made = [figure(title, least) for title, least in LEAST.items()]
    made.append(figure(LE.format(one["LE, chosen layer"]), LEAST_LE, "LE at the chosen layer"))
    wen = rows["Wen, 1 step"]["auc"][1]
    made.append(figure("Jeon, 1 step", wen, "Jeon, 1 step, against Wen's lower bound"))
    return made


if __name__ == "__main__":
    sys.exit(main())
