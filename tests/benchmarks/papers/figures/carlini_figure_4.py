"""Carlini et al. 2023, Figure 4: precision of prompted extraction against the number of images that it finds."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import beside
from tests.benchmarks.papers.figure import UNEXPLAINED, Finding, PaperFigure, Results, Step, Table

STEP = Step("ranked_prompts", "ranked_prompts", minutes=4)
CURVES = {"precision": "extracted", "precision, planted": "planted"}
LABELS = {"precision": "within RMS 0.15 of the training image", "precision, planted": "planted as memorized"}
THEIRS = ((50, 1.0), (94, 0.5))
FREE = 50


def draw(picture: Picture, results: Results) -> None:
    """Precision as the list is walked down; the paper's printed points on the left."""
    left, right = beside(
        picture, "the paper: Stable Diffusion 1.4 (printed points)", "here: emoji, every flagged prompt"
    )
    left.plot(*zip(*THEIRS, strict=True), "o--", color="#0072b2")
    left.set(xlabel="memorized images found", ylabel="precision", ylim=(-0.03, 1.05), xlim=(0, 110))
    points = results[STEP.result]["curve"]
    for number, (key, count) in enumerate(CURVES.items()):
        right.step(
            [point[count] for point in points],
            [point[key] for point in points],
            where="post",
            color=("#0072b2", "#b34700")[number],
            linestyle=("-", "--")[number],
            label=LABELS[key],
        )
    right.set(xlabel="memorized images found", ylabel="precision", ylim=(-0.03, 1.05))
    right.legend(loc="lower left", fontsize=8)


def table(results: Results) -> Table:
    """What was flagged of each kind of prompt."""
    columns = ("prompts", "count", "flagged", "extracted")
    return Table(columns, [[str(row[column]) for column in columns] for row in results[STEP.result]["rows"]])


def findings(results: Results) -> list[Finding]:
    """Ranking puts what is memorized first; and how many are found before the first error."""
    points = results[STEP.result]["curve"]
    if not points:
        return [Finding("Most of what is flagged is memorized", "no prompt was flagged", None)]
    half, last = points[max(1, len(points) // 2) - 1], points[-1]
    clean = half["precision, planted"] == 1.0
    before = next((p["planted"] for p in points if p["planted"] < p["flagged"]), last["planted"])
    strict = half["precision"]
    return [
        Finding(
            f"Ranked by how alike a prompt's generations are, the first {FREE} are memorized without an error",
            f"of {last['flagged']} flagged prompts {last['planted']} were planted as memorized, {before} of them "
            "before the first error",
            clean,
            "" if clean else UNEXPLAINED,
        ),
        Finding(
            "By the distance alone (RMS 0.15) fewer count than by eye, and most that is flagged counts (over 50 %)",
            f"{last['extracted']} of {last['flagged']} flagged count by the distance ({last['precision']:.2f}; in the "
            f"first half {strict:.2f}), {last['planted']} by what was planted ({last['precision, planted']:.2f})",
            last["extracted"] < last["planted"] and last["precision"] > 0.5,
            _why(results),
        ),
    ]


def _why(results: Results) -> str:
    """Of the distance's count: it cannot see a part that is memorized."""
    last = results[STEP.result]["curve"][-1]
    if last["extracted"] < last["planted"] and last["precision"] > 0.5:
        return ""
    (partial,) = (row for row in results[STEP.result]["rows"] if row["prompts"] == "partial")
    return f"Measured: of the prompts of which a part is memorized, {partial['flagged']} are flagged and " + (
        f"{partial['extracted']} count by the distance"
    )


FIGURE = PaperFigure(
    paper="Carlini et al. 2023",
    place="Figure 4",
    title="precision of prompted extraction",
    shows="Precision against the number of memorized images found, as the list of flagged prompts is walked down, by "
    "two counts: an RMS distance of at most 0.15, or inspection by eye.",
    printed="secondary and unverified: 94 images by distance (109 with inspection), 50 before the first error, "
    "precision over 50 % at the end.",
    here="`emoji-v` at guidance 2: 80 prompts with one memorized picture, 40 with a memorized half, 80 others; 10 "
    "generations each, cliques of 4 within 0.15.",
    steps=(STEP,),
    methods=("extraction/extraction-prompted",),
    draw=draw,
    table=table,
    findings=findings,
)
