"""Carlini et al. 2023, Figure 11: membership inference against the quality of the samples while a model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import beside, whiskers
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table
from tests.benchmarks.papers.figures import carlini_figure_5

BUILT = ("example_audits/build_digits.py", "--out", "{models}", "--only", "digits-leaky")
KEPT = ("--keep", "250", "500", "1000", "2000", "4000", "6000")
STEPS = (
    Step(
        "leak_digits",
        "leak_over_training",
        ("digits-leaky", "{models}"),
        ((*BUILT, *KEPT),),
        minutes=12,
    ),
    Step(
        "leak_mnist",
        "leak_over_training",
        ("mnist", "{models}"),
        (("example_audits/build_mnist.py", "--out", "{models}"),),
        minutes=35,
    ),
)
DISTANCE = "Fréchet distance"
THEIRS = ((8.0, 0.07), (3.5, 1.0))
MODELS = {"leak_digits": "digits-leaky", "leak_mnist": "mnist"}


def loss(rows: Sequence[dict[str, Any]]) -> list[Estimate]:
    """TPR at 1 % FPR of the loss at each checkpoint."""
    return [Estimate.read(row["loss"]) for row in rows]


def draw(picture: Picture, results: Results) -> None:
    """The two printed ends of the paper's curve; our checkpoints, joined in the order of training."""
    left, right = beside(picture, "the paper: CIFAR-10 (ends of its curve)", "here, 1 point a checkpoint")
    left.plot(*zip(*THEIRS, strict=True), "o--", color="#0072b2")
    left.set(xlabel="FID (better to the right)", ylabel="TPR at 1 % FPR")
    left.invert_xaxis()
    for number, (result, model) in enumerate(MODELS.items()):
        rows = results[result]["rows"]
        whiskers(right, [row[DISTANCE] for row in rows], loss(rows), number, label=model)
    right.set(xlabel="Fréchet distance (better to the right)", ylabel="TPR at 1 % FPR", xscale="log")
    right.set_xticks(ticks := [0.3, 0.5, 1.0, 2.0], [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    right.invert_xaxis()
    right.legend()


def table(results: Results) -> Table:
    """The same as numbers."""
    rows = [
        (model, str(row["steps"]), f"{row[DISTANCE]:.3f}", row["loss"], row["secmi"], row["sima"])
        for result, model in MODELS.items()
        for row in results[result]["rows"]
    ]
    return Table(("model", "steps", DISTANCE, "loss: TPR at 1 % FPR", "SecMI", "SimA"), rows)


def findings(results: Results) -> list[Finding]:
    """What grows with training, and what it has to do with quality."""
    digits, mnist = (results[step.result]["rows"] for step in STEPS)
    own, other = loss(digits), loss(mnist)
    copies = carlini_figure_5.shares(results)
    copied = next(row["value"] for row in results[carlini_figure_5.STEP.result]["rows"] if "copy rate" in row["what"])
    grows, grows_mnist = own[-1].low > own[0].high, other[-1].low > other[0].high
    better = digits[-1][DISTANCE] < digits[0][DISTANCE]
    return [
        Finding(
            "The attack gets stronger while the model is trained (7 % to nearly 100 %)",
            f"on `digits-leaky` from {own[0].text} after {digits[0]['steps']} steps to {own[-1].text} after "
            f"{digits[-1]['steps']}",
            grows,
            "" if grows else UNEXPLAINED,
        ),
        Finding(
            "So it does on a model of better images",
            f"on `mnist`, whose samples get better all the time, {other[0].text} becomes {other[-1].text}",
            grows_mnist,
            ""
            if grows_mnist
            else f"{UNEXPLAINED}: the model visits each of 2,500 images 102 times, and no attack here finds much in it",
        ),
        Finding(
            "The attack gets stronger as the samples get better (FID 8 to 3.5)",
            f"on `digits-leaky` the distance to unseen digits goes from {digits[0][DISTANCE]:.2f} to "
            f"{digits[-1][DISTANCE]:.2f}",
            better,
            ""
            if better
            else f"Measured: at the end {copied} of its generations are copies, of the few images that it holds "
            f"{carlini_figure_5.mostly_extracted(copies)} times or more; so many copies of so few images are "
            "far from unseen digits as a whole",
        ),
    ]


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Figure 11",
    title="membership inference against sample quality",
    shows="TPR at 1 % FPR of the attack on checkpoints of CIFAR-10 models, against their FID: the better the samples, "
    "the stronger the attack.",
    printed="7 % and nearly 100 % stand in its caption; the range of the FID is secondary.",
    here="checkpoints of `digits-leaky` (360 distinct images) and `mnist` (2,500); loss of 20 draws; Fréchet distance "
    "of 500 samples to unseen digits in 32 principal components, as there is no Inception network here.",
    steps=(*STEPS, carlini_figure_5.STEP),
    methods=("membership/loss",),
    draw=draw,
    table=table,
    findings=findings,
)
