"""Fu et al. 2024, Figure 4: precision and recall by how many restoration tasks agree."""

from __future__ import annotations

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import whiskers
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Table
from tests.benchmarks.papers.figures.fu_roc import STEP


def draw(picture: Picture, results: Results) -> None:
    """Both against the number of tasks, and the number that the calibration takes."""
    axes, found = picture.subplots(), results[STEP.result]
    for number, key in enumerate(("precision", "recall")):
        rows = [row for row in found["agreement"] if key in row]
        whiskers(axes, [row["agree"] for row in rows], [Estimate.read(row[key]) for row in rows], number, label=key)
    axes.axvline(found["vote"]["needed"], color="#4a5361", linestyle=":", label="what the calibration takes")
    axes.set(xlabel="tasks that must agree", ylabel="share", ylim=(-0.03, 1.05))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def table(results: Results) -> Table:
    """The same as numbers."""
    columns = ("agree", "precision", "recall", "members called", "others called")
    rows = [[str(row.get(column, "none called")) for column in columns] for row in results[STEP.result]["agreement"]]
    return Table(columns, rows)


def findings(results: Results) -> list[Finding]:
    """More agreement, more precision and less recall."""
    found = results[STEP.result]
    rows = [row for row in found["agreement"] if "precision" in row]
    recalls = [Estimate.read(row["recall"]) for row in rows]
    needed = found["vote"]["needed"]
    taken = next((row for row in rows if row["agree"] == needed), rows[-1])
    first, last = Estimate.read(rows[0]["precision"]), Estimate.read(taken["precision"])
    grows, falls = last.low > first.high, last.high < first.low
    return [
        Finding(
            "The more tasks agree, the higher the precision",
            f"{first.text} with one task, {last.text} with the {taken['agree']} that the calibration for an FPR of at "
            f"most {found['vote']['largest FPR']:g} takes",
            True if grows else False if falls else None,
            UNEXPLAINED if falls else "",
        ),
        Finding(
            "And the lower the recall",
            f"{recalls[0].text} with one task, {recalls[-1].text} with {rows[-1]['agree']}",
            recalls[-1].high < recalls[0].low,
            "" if recalls[-1].high < recalls[0].low else UNEXPLAINED,
        ),
    ]


FIGURE = PaperFigure(
    paper="Fu et al. 2024 (DRC)",
    place="Figure 4",
    title="precision and recall by the number of tasks that agree",
    shows="Precision and recall on FFHQ against the number of restoration tasks that call an image a member.",
    printed="its values are in no source that we could read, and its rule is not stated.",
    here="the nine tasks of the table on as many members as others; a task votes above a threshold that 20 % of 200 "
    "other non-members exceed, and 200 more choose how many must agree.",
    steps=(STEP,),
    methods=("membership/drc",),
    draw=draw,
    table=table,
    findings=findings,
)
