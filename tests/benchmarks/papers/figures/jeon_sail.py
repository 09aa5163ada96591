"""Jeon et al. 2025, the comparison of SAIL with other mitigations: copies left against alignment lost."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure as Picture

from tests.benchmarks.papers.draw import COLOURS, MARKERS
from tests.benchmarks.papers.figure import UNEXPLAINED, Estimate, Finding, PaperFigure, Results, Step, Table

STEP = Step("mitigation_table", "mitigation_table", minutes=45)
COPIES_ALLOWED, LOSS_ALLOWED = 0.5, 0.05
COLUMNS = ("method", "strength", "copies", "copies left", "alignment", "alignment lost")
CHANGES_THE_PROMPT = ("Embedding optimization (Wen)", "Random tokens (RTA)", "Random numbers (RNA)")


def before_and_after(results: Results) -> dict[str, tuple[Estimate, Estimate]]:
    """Copies left and alignment lost of every method but the original."""
    return {
        row["method"]: (Estimate.read(row["copies left"]), Estimate.read(row["alignment lost"]))
        for row in results[STEP.result]["rows"]
        if row.get("copies left") and row["alignment lost"] != "undefined"
    }


def draw(picture: Picture, results: Results) -> None:
    """A point a method with both intervals, and the two limits."""
    axes = picture.subplots()
    for number, (name, (left, lost)) in enumerate(before_and_after(results).items()):
        axes.errorbar(
            left.value,
            lost.value,
            xerr=[[left.value - left.low], [left.high - left.value]],
            yerr=[[lost.value - lost.low], [lost.high - lost.value]],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number],
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
            label=name,
        )
    axes.axvline(COPIES_ALLOWED, color="#4a5361", linestyle=":")
    axes.axhline(LOSS_ALLOWED, color="#4a5361", linestyle=":")
    axes.set(xlabel="share of the copies left", ylabel="share of the prompt alignment lost")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def table(results: Results) -> Table:
    """Before and after as numbers."""
    return Table(
        COLUMNS,
        [tuple(str(row.get(column, "")) for column in COLUMNS) for row in results[STEP.result]["rows"]],
    )


def findings(results: Results) -> list[Finding]:
    """Whether SAIL is within both limits, and what the others lose."""
    found = before_and_after(results)
    left, lost = found["SAIL"]
    changed = {name: found[name][1] for name in CHANGES_THE_PROMPT if name in found}
    costlier = all(other.value > lost.value for other in changed.values())
    reference = found["SAIL (released code)"]
    return [
        _within("SAIL makes far fewer copies", f"{left.text} are left", left, COPIES_ALLOWED),
        _within("It leaves the prompt's alignment nearly as it was", f"{lost.text} is lost", lost, LOSS_ALLOWED),
        Finding(
            "Mitigations that change the prompt or its embedding lose more alignment",
            ", ".join(f"{name}: {other.text}" for name, other in changed.items()),
            costlier,
            "" if costlier else UNEXPLAINED,
        ),
        Finding(
            "The released code does what the paper reports",
            f"{reference[0].text} of the copies are left, {reference[1].text} of the alignment is lost",
            reference[0].value <= COPIES_ALLOWED,
            ""
            if reference[0].value <= COPIES_ALLOWED
            else f"Measured: {_over(results)} of its images end over budget; its objective is another than the paper's "
            "(no difference is taken: see the methods)",
        ),
    ]


def _within(paper: str, here: str, found: Estimate, limit: float) -> Finding:
    """Decided by the bounds where they lie on one side of the limit."""
    agrees = True if found.high <= limit else False if found.low > limit else None
    said = f"{here}; the limit is {limit:g}, and the bounds {'do not decide' if agrees is None else 'decide'}"
    return Finding(paper, said, agrees, UNEXPLAINED if agrees is False else "")


def _over(results: Results) -> str:
    row: dict[str, Any] = next(r for r in results[STEP.result]["rows"] if r["method"] == "SAIL (released code)")
    return f"{row['over budget']:.0%}"


FIGURE = PaperFigure(
    paper="Jeon et al. 2025",
    place="Figure of SAIL",
    title="copies left against alignment lost",
    shows="Similarity to the training image against the CLIP score for memorized prompts of Stable Diffusion, by SAIL "
    "and four other mitigations at several strengths.",
    printed="a curve without numbers, so that our picture stands alone.",
    here="`emoji-v`, which does not copy from every start noise; 28 memorized prompts that no choice was made on, 12 "
    "images each; the strength of each method chosen on 92 others.",
    steps=(STEP,),
    methods=tuple(f"mitigation/{name}" for name in ("sail", "sail-reference", "wen", "ren", "rta", "rna", "delayed")),
    draw=draw,
    table=table,
    findings=findings,
)
