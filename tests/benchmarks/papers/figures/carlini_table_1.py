"""Carlini et al. 2023, the comparison of diffusion models with GANs: distinct training images given back."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import bars, beside
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("diffusion_vs_gan", "diffusion_vs_gan", minutes=5)
THEIRS = {
    "OpenAI-DDPM": 301,
    "DDPM": 232,
    "StyleGAN-ADA": 150,
    "E2GAN": 95,
    "NDA": 70,
    "DiffBigGAN": 57,
    "WGAN-ALP": 49,
}
DIFFUSION = ("OpenAI-DDPM", "DDPM")


def counts(results: Results) -> dict[str, tuple[int, str]]:
    """Distinct images given back by each model here, as a number and as the script says it."""
    return {row["model"]: (int(row["extracted"].split()[0]), row["extracted"]) for row in results[STEP.result]["rows"]}


def draw(picture: Picture, results: Results) -> None:
    """Theirs on the left, ours on the right."""
    found = counts(results)
    left, right = beside(picture, "the paper: CIFAR-10, 1 M generations each", "here: digits, 4,096 generations each")
    colours = ["#0072b2" if name in DIFFUSION else "#b34700" for name in THEIRS]
    bars(left, list(THEIRS), list(THEIRS.values()), [str(n) for n in THEIRS.values()], color=colours)
    names, ours = list(found), [number for number, _ in found.values()]
    bars(
        right, names, ours, [str(n) for n in ours], color=["#0072b2" if n == "diffusion" else "#b34700" for n in names]
    )
    for axes in (left, right):
        axes.set_xlabel("distinct training images extracted")


def table(results: Results) -> Table:
    """The same as numbers, ours with the copy rate's bounds."""
    rows = [("the paper", name, str(number), "") for name, number in THEIRS.items()]
    rows += [("here", row["model"], row["extracted"], row["copy rate"]) for row in results[STEP.result]["rows"]]
    return Table(("where", "model", "distinct images extracted", "copy rate"), rows)


def findings(results: Results) -> list[Finding]:
    """Diffusion models give back more; how many times as many."""
    found = counts(results)
    rates = {row["model"]: Estimate.read(row["copy rate"]) for row in results[STEP.result]["rows"]}
    more = found["diffusion"][0] > found["GAN"][0] and rates["diffusion"].low > rates["GAN"].high
    times, theirs = found["diffusion"][0] / found["GAN"][0], THEIRS["OpenAI-DDPM"] / THEIRS["StyleGAN-ADA"]
    return [
        Finding(
            "A diffusion model gives back more training images than a GAN that was trained on the same ones",
            f"{found['diffusion'][1]} against {found['GAN'][1]}; copy rate {rates['diffusion'].text} against "
            f"{rates['GAN'].text}",
            more,
            "" if more else UNEXPLAINED,
        ),
        Finding(
            f"At equal quality (FID 2.9) {theirs:.1f} times as many",
            f"{times:.1f} times as many; the quality of the two was not matched",
            None,
        ),
    ]


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Table 1",
    title="diffusion models against GANs",
    shows="Distinct CIFAR-10 training images that 1 M generations of each of seven published models give back.",
    printed="secondary (both diffusion models, StyleGAN-ADA) and unverified (the number of generations, the others).",
    here="`digits-leaky` and `digits-gan`, which saw the same 1,560 rows; `assert_no_extraction` with 4,096 "
    "generations each.",
    steps=(STEP,),
    methods=("extraction/extraction",),
    draw=draw,
    table=table,
    findings=findings,
)
