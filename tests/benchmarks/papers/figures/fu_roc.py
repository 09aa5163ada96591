"""Fu et al. 2024, the table of DRC against metric attacks, as curves."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import COLOURS
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("drc_table", "drc_table", minutes=4)
SECMI = "SecMI (statistic)"
PAPER = ("DRC in the paper, CIFAR-10 (secondary)", "0.931", "0.122")
LINES = ("-", "--", "-.", ":")


def draw(picture: Picture, results: Results) -> None:
    """A curve an attack on logarithmic axes."""
    axes = picture.subplots()
    for number, row in enumerate(results[STEP.result]["rows"]):
        area = Estimate.read(row["AUROC"]).value
        style = {"color": COLOURS[number % 4], "linestyle": LINES[number // 2 % 4], "drawstyle": "steps-post"}
        axes.plot(row["fpr"], row["tpr"], label=f"{row['attack']}: {area:.3f}", linewidth=1.5, **style)
    axes.plot([0.005, 1.0], [0.005, 1.0], color="#4a5361", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlim=(0.005, 1.0), ylim=(0.005, 1.05))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, title="AUROC")


def table(results: Results) -> Table:
    """The same as numbers."""
    rows = [[row["attack"], row["AUROC"], row["TPR at 1 %"]] for row in results[STEP.result]["rows"]]
    return Table(("attack", "AUROC", "TPR at 1 % FPR"), [*rows, PAPER])


def findings(results: Results) -> list[Finding]:
    """Above SecMI or not, and what no model at all achieves."""
    found = results[STEP.result]
    rows = {row["attack"]: row for row in found["rows"]}
    drc, free = found["rows"][0], found["rows"][-1]
    gap = Estimate.read(found["AUROC of DRC minus that of"][SECMI])
    ratios = [Estimate.read(row["AUROC"]) for row in found["mask ratios"]]
    best = max(ratios, key=lambda area: area.value)
    higher, lower = gap.low > 0.0, gap.high < 0.0
    tail, other = (Estimate.read(row["TPR at 1 %"]) for row in (drc, rows[SECMI]))
    alike = tail.low <= other.high and other.low <= tail.high
    return [
        Finding(
            "DRC separates better than the metric attacks (AUROC above SecMI's)",
            f"{drc['AUROC']} against {rows[SECMI]['AUROC']} on the same images, a difference of {gap.text}; without "
            f"any model {free['AUROC']}",
            True if higher else False if lower else None,
            f"{UNEXPLAINED}; the mask is not the reason: random patches reach {best.text} at their best ratio"
            if lower
            else "",
        ),
        Finding(
            "At 1 % FPR it is about as good as SecMI",
            f"{tail.text} against {other.text}: the intervals {'meet' if alike else 'do not meet'}",
            None if alike else False,
            "" if alike else UNEXPLAINED,
        ),
    ]


FIGURE = PaperFigure(
    paper="Fu et al. 2024 (DRC)",
    place="Results table",
    title="restored images against metric attacks",
    shows="AUROC and TPR at 1 % FPR of DRC beside metric attacks on four data sets.",
    printed="secondary, and not to be taken as a target: no code, split or score is public.",
    here="`digits-leaky`, 200 members and 200 others, on all of which every attack runs; DRC-style: four halves "
    "hidden, 3 restorations of 10 steps each.",
    steps=(STEP,),
    methods=("membership/drc",),
    draw=draw,
    table=table,
    findings=findings,
)
