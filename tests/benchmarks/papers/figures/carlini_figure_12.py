"""Carlini et al. 2023, Figure 12: errors of inpainted halves of images that were and were not trained on."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("reconstruction", "reconstruction", minutes=12)
KEYS = ("members", "non-members")
ATTACK = "model's own choice"


def draw(picture: Picture, results: Results) -> None:
    """Mean errors of both sides, by model and by what chose the restoration."""
    rows = results[STEP.result]["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = picture.subplots(1, len(models), sharey=True, sharex=True)
    for axes, model in zip(panels, models, strict=True):
        own = [row for row in rows if row["model"] == model]
        for number, key in enumerate(KEYS):
            places = [i + 0.36 * (number - 0.5) for i in range(len(own))]
            axes.barh(places, [row[key] for row in own], height=0.34, label=key, color=("#0072b2", "#b34700")[number])
        axes.set_yticks(range(len(own)), [row["restoration"].split(" (")[0] for row in own])
        axes.set(title=model, xlabel="mean RMS on hidden pixels")
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    picture.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def table(results: Results) -> Table:
    """The same as numbers."""
    rows = [
        (
            row["model"],
            row["restoration"],
            f"{row['members']:.3f}",
            f"{row['non-members']:.3f}",
            row["difference"],
            row["AUROC"],
        )
        for row in results[STEP.result]["rows"]
    ]
    return Table(("model", "chosen by", "error, members", "error, others", "difference", "AUROC"), rows)


def findings(results: Results) -> list[Finding]:
    """Trained images are restored better, and only there."""
    chosen = {row["model"]: row for row in results[STEP.result]["rows"] if row["restoration"] == ATTACK}
    leaky, release = (Estimate.read(chosen[f"digits-{name}"]["difference"]) for name in ("leaky", "release"))
    free = next(
        Estimate.read(row["difference"])
        for row in results[STEP.result]["rows"]
        if row["model"] == "digits-leaky" and "without a model" in row["restoration"]
    )
    return [
        Finding(
            "Errors are smaller where the image was trained on",
            f"by {leaky.text} on `digits-leaky` (without any model by {free.text}), by {release.text} on "
            "`digits-release`, which was trained not to memorize",
            leaky.low > 0.0,
            "" if leaky.low > 0.0 else UNEXPLAINED,
        ),
        Finding(
            "With half of the image known the attack works far better than extraction from nothing",
            "extraction and inpainting were not set against each other image by image",
            None,
        ),
    ]


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Figure 12",
    title="inpainting of trained and of other images",
    shows="Distances of 100 CIFAR-10 images to their inpainted left halves, for models trained with and without them.",
    printed="its values are in no source that we could read, so that our picture stands alone.",
    here="150 members and 150 others on each of two models, 30 restorations of 20 steps; the attacker keeps the 5 of "
    "the lowest model loss (the paper: 5,000 restorations, the 10 best).",
    steps=(STEP,),
    methods=("extraction/reconstruction",),
    draw=draw,
    table=table,
    findings=findings,
)
