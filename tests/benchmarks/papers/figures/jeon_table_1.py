"""Jeon et al. 2025, Table 1: how well detectors tell memorized prompts from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Picture

from tests.benchmarks.detection_paper import PAPER
from tests.benchmarks.papers.draw import whiskers
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

BUILDER, WORK = "example_audits/build_emoji_copies.py", "{models}/emoji-work"
MODELS = {"eps, seed 0": ("epsilon", "0"), "eps, seed 1": ("epsilon", "1"), "v, seed 0": ("v_prediction", "0")}
FOLDERS = {name: f"{{models}}/{name.replace(', ', '-').replace(' ', '')}" for name in MODELS}
STEP = Step(
    "detection_table",
    "detection_table",
    tuple(part for name, folder in FOLDERS.items() for part in ("--model", f"{name}={folder}")),
    tuple(
        (BUILDER, "--out", FOLDERS[name], "--prediction", prediction, "--seed", seed, "--work", WORK)
        for name, (prediction, seed) in MODELS.items()
    ),
    minutes=110,
)
SHOWN = 4
TITLES = ("tiled l2", "LE, layer 3", "LE, chosen layer", "AE", "BE", "Wen, 1 step", "Wen, 5 steps", "Wen, 50 steps")
TITLES += ("Jeon, 1 step", "anisotropy")
CROSS = {"SD v1.4": "x", "SD v2.0": "+"}


def estimates(results: Results, model: str, images: int = SHOWN) -> dict[str, Estimate]:
    """AUCs of a model at so many images, by method."""
    rows = [row for row in results[STEP.result]["rows"] if row["model"] == model and row["n"] == images]
    found = {row["title"]: Estimate.read(row["AUC"]) for row in rows}
    layer = f"LE, layer {results[STEP.result]['models'][model]['LE, chosen layer']}"
    return found | {"LE, chosen layer": found[layer]}


def draw(picture: Picture, results: Results) -> None:
    """AUC of every method with four images: ours with bounds, the paper's as crosses."""
    axes = picture.subplots()
    models = list(results[STEP.result]["models"])
    for number, name in enumerate(models):
        own = estimates(results, name)
        places = [i + 0.16 * (number - (len(models) - 1) / 2) for i in range(len(TITLES))]
        whiskers(axes, places, [own[title] for title in TITLES], number, label=name, linestyle="none")
    for name, marker in CROSS.items():
        printed = [(i, PAPER[name][t, SHOWN].auc) for i, t in enumerate(TITLES) if (t, SHOWN) in PAPER[name]]
        axes.plot(*zip(*printed, strict=True), linestyle="none", marker=marker, color="#000000", label=f"paper, {name}")
    axes.axhline(0.5, color="#4a5361", linestyle=":")
    axes.set(ylabel=f"AUC, {SHOWN} images a prompt")
    axes.set_xticks(range(len(TITLES)), TITLES, rotation=25, ha="right")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def table(results: Results) -> Table:
    """Every line, the paper's beside it."""
    columns = ("model", "method", "steps", "n", "AUC", "TPR at 1 % FPR", "AUC exact", "AUC partial", "paper, AUC / TPR")
    return Table(columns, [tuple(str(row[column]) for column in columns) for row in results[STEP.result]["rows"]])


def worst(results: Results, title: str, images: int = SHOWN) -> tuple[str, Estimate]:
    """The noise-predicting model with the lowest AUC of a method."""
    models = [name for name, one in results[STEP.result]["models"].items() if one["prediction"] == "epsilon"]
    found = {name: estimates(results, name, images)[title] for name in models}
    return min(found.items(), key=lambda item: item[1].value)


def compared(results: Results, title: str, statement: str, least: float) -> Finding:
    """A method's AUC on the models that predict the noise, against the least that agrees with the paper's."""
    name, lowest = worst(results, title)
    agrees = True if lowest.value >= least else False if lowest.high < least else None
    why = (
        ""
        if agrees
        else left_the_start(results, name)
        if title.startswith("LE")
        else held_loosely(results, name, title)
    )
    return Finding(statement, f"{lowest.text} on the worse model ({name})", agrees, why)


def left_the_start(results: Results, model: str) -> str:
    """Why LE differs: whose attention has left the start token in which layer."""
    one = results[STEP.result]["models"][model]
    layers: Mapping[str, Any] = one["layers, on the development prompts"]
    shares = [
        f"{layers[key]['start token, memorized']:.1%} of layer {key}'s attention for memorized and "
        f"{layers[key]['start token, others']:.1%} for other prompts"
        for key in ("3", str(one["LE, chosen layer"]))
    ]
    return f"Measured: at the first step the start token holds {', and '.join(shares)}"


def held_loosely(results: Results, model: str, title: str) -> str:
    """Why the others differ: which kind is missed, and how well the model holds its pictures at all."""
    one = results[STEP.result]["models"][model]
    (row,) = (
        row for row in results[STEP.result]["rows"] if (row["model"], row["title"], row["n"]) == (model, title, SHOWN)
    )
    called, exact = one["kinds"]["called"].get("exact as exact", 0), one["prompts"]["exact"]
    return (
        f"Measured: exact prompts alone {row['AUC exact']}, partial ones {row['AUC partial']}; the generations of "
        f"{called} of {exact} exact prompts agree in three quarters of their tiles, so the model gives few of its "
        "pictures back whole, while the paper's prompts are known for giving theirs back"
    )


def findings(results: Results) -> Sequence[Finding]:
    """Level and order of the methods, and Jeon's score against Wen's."""
    models = results[STEP.result]["models"]
    change = {name: one["Jeon minus Wen, 1 step"][str(SHOWN)] for name, one in models.items()}
    better = {name: told["says"] for name, told in change.items()}
    return [
        compared(results, "Wen, 1 step", "Wen's score at one step and four images: AUC 0.992 (v1.4)", 0.97),
        compared(results, "Wen, 50 steps", "Wen's score at 50 steps: 0.996", 0.97),
        compared(results, "BE", "BE: 0.997", 0.95),
        compared(results, "tiled l2", "tiled l2: 0.908", 0.9),
        compared(results, "AE", "AE: 0.628", 0.6),
        compared(results, "LE, layer 3", "LE at the authors' layer: 0.839", 0.75),
        compared(results, "LE, chosen layer", "LE at a layer chosen on other prompts (the paper chooses none)", 0.75),
        Finding(
            "Jeon's score at one step is above Wen's at one step (0.998 against 0.992; 0.991 against 0.980)",
            "; ".join(f"{name}: difference {told['AUC']}, {told['says']}" for name, told in change.items()),
            False
            if "Wen's is higher" in better.values()
            else True
            if set(better.values()) == {"Jeon's is higher"}
            else None,
            UNEXPLAINED if "Wen's is higher" in better.values() else "",
        ),
    ]


FIGURE = PaperFigure(
    paper="Jeon et al. 2025",
    place="Table 1",
    title="detectors of memorized prompts",
    shows="AUC and TPR at 1 % FPR of each detector on Stable Diffusion v1.4 (500 memorized prompts) and v2.0 (219) "
    "against 500 others, by steps and images a prompt, without intervals.",
    printed="its Table 1, as docs/methods.md 4.9 has it.",
    here="models of `example_audits/build_emoji_copies.py`, which are not in the repository: two seeds that predict "
    "the noise, one that predicts v; 1 and 4 images a prompt; 60 exact and 20 partial memorized prompts against 300 "
    "others, guidance 7.5, 50 DDIM steps, all held out: the layer of LE is chosen on other prompts, and nothing else "
    "is chosen.",
    steps=(STEP,),
    methods=(
        "memorization/tiled_l2",
        "memorization/layerwise_entropy",
        "memorization/attention_entropy",
        "memorization/bright_ending",
        "memorization/score_difference",
        "memorization/hessian_score",
        "memorization/anisotropy",
    ),
    draw=draw,
    table=table,
    findings=findings,
)
