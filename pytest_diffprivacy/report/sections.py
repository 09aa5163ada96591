"""Claims and run as the page shows them: records arranged for reading; no number is made here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from pytest_diffprivacy.evidence.records import Chart, Claim, Images, Model, Prompts, Record, Run, Table
from pytest_diffprivacy.report.figures import chart_figure, histogram_figure, roc_figure
from pytest_diffprivacy.report.images import PictureBudget, ShownStrip
from pytest_diffprivacy.report.selection import Selection
from pytest_diffprivacy.report.tables import chart_tables, curve_tables, histogram_table
from pytest_diffprivacy.report.text import number, percent, plural
from pytest_diffprivacy.statistics.verdict import Verdict

NOT_DRAWN: Final = "Not drawn: this run has more figures than one page can show."
EXPECTED: Final = "FAIL (expected by its test)"
RUN_SENTENCES: Final = {
    "PASS": "Every claim held.",
    "FAIL": "What this audit demands is not met.",
    "INCONCLUSIVE": "At least one claim is neither shown nor refuted.",
    "ERROR": "At least one claim could not be judged.",
    "INCOMPLETE": "Not every audit test left a record, so nothing is concluded for the whole.",
}
MARGIN: Final = 5.0
AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, slots=True)
class Bar:
    """A drawn interval; every position is a text such as "12.50%" of the bar's width.

    Attributes:
        zero: where 0 is.
        low: where the lower bound is.
        value: where the estimate is.
        high: where the upper bound is.
        limit: where the limit is; what lies left of it is allowed.
        width: length of the interval.
        label: the same in words, for those who do not see it.
    """

    zero: str
    low: str
    value: str
    high: str
    limit: str
    width: str
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture with the numbers behind it."""

    title: str
    svg: str
    note: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A claim as the page shows it.

    Attributes:
        claim: the record.
        anchor: id of its section.
        label: the verdict in words.
        expected: the claim failed and its test had announced that.
        bar: bounds against limit; None where nothing was estimated.
        detailed: whether it has a section, or a row in the table of verdicts only.
        plots: figures with their numbers; without a drawing where the page has too many.
    """

    claim: Claim
    anchor: str
    label: str
    expected: bool
    bar: Bar | None
    detailed: bool
    plots: tuple[Plot, ...]
    strips: tuple[ShownStrip, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The run on one screen."""

    verdict: str
    style: str
    sentence: str
    counts: tuple[tuple[str, str], ...]
    models: tuple[Model, ...]
    probes: tuple[Images, ...]
    prompts: tuple[Prompts, ...]


def sections(run: Run, chosen: Selection) -> tuple[Section, ...]:
    """Every listed claim, in the record's order."""
    announced = run.expected_failures
    budget = PictureBudget(run.images)
    return tuple(_section(run.claims[index], index, announced, chosen, budget) for index in chosen.listed)


def _section(claim: Claim, index: int, announced: frozenset[str], chosen: Selection, budget: PictureBudget) -> Section:
    anchor = f"claim-{index + 1}"
    expected = claim.verdict is Verdict.FAIL and claim.node_id in announced
    detailed = index in chosen.detailed
    return Section(
        claim=claim,
        anchor=anchor,
        label=EXPECTED if expected else claim.verdict.value,
        expected=expected,
        bar=bounds_bar(claim),
        detailed=detailed,
        plots=tuple(_plots(claim, anchor, index in chosen.pictured)) if detailed else (),
        strips=tuple(budget.shown(strip) for strip in claim.strips) if detailed else (),
    )


def _plots(claim: Claim, anchor: str, drawn: bool) -> Iterator[Plot]:
    for index, curve in enumerate(claim.curves, start=1):
        svg = roc_figure(curve, f"{anchor}-curve-{index}") if drawn else ""
        note = "Rates of 0 are drawn on the edge. The band holds at each false positive rate on its own."
        yield Plot(curve.title, svg, note if drawn else NOT_DRAWN, curve_tables(curve))
    for index, chart in enumerate(claim.charts, start=1):
        svg = chart_figure(chart, f"{anchor}-chart-{index}") if drawn else ""
        yield Plot(chart.title, svg, _chart_note(chart) if drawn else NOT_DRAWN, chart_tables(chart))
    for index, histogram in enumerate(claim.histograms, start=1):
        svg = histogram_figure(histogram, f"{anchor}-histogram-{index}") if drawn else ""
        note = "Shares add up to 100% in each group; the legend gives the group's size."
        yield Plot(histogram.title, svg, note if drawn else NOT_DRAWN, (histogram_table(histogram),))


def _chart_note(chart: Chart) -> str:
    bounds = "" if chart.confidence is None else f"Bars are one-sided {percent(chart.confidence)} bounds."
    return " ".join(part for part in (chart.note, bounds) if part)


def summary(run: Run) -> Summary:
    """Overall verdict, how many claims ended how, and what was audited."""
    announced = run.expected_failures
    labels = (
        EXPECTED if claim.verdict is Verdict.FAIL and claim.node_id in announced else claim.verdict.value
        for claim in run.claims
    )
    count = Counter((claim.verdict, label) for claim, label in zip(run.claims, labels, strict=True))
    counts = [
        (verdict.value.lower(), plural(count[verdict, label], label, label))
        for verdict in Verdict
        for label in (verdict.value, EXPECTED)
        if count[verdict, label]
    ]
    if run.missing:
        counts.append(("incomplete", plural(len(run.missing), "test without a record", "tests without a record")))
    known = run.verdict in RUN_SENTENCES
    return Summary(
        verdict=run.verdict,
        style=run.verdict.lower() if known else "error",
        sentence=RUN_SENTENCES.get(run.verdict, ""),
        counts=tuple(counts),
        models=_distinct(claim.model for claim in run.claims),
        probes=_distinct(images for claim in run.claims for images in claim.probes),
        prompts=_distinct(prompts for claim in run.claims for prompts in claim.prompts),
    )


def _distinct(records: Iterable[AnyRecord | None]) -> tuple[AnyRecord, ...]:
    found: list[AnyRecord] = []
    for record in records:
        if record is not None and record not in found:
            found.append(record)
    return tuple(found)


def bounds_bar(claim: Claim) -> Bar | None:
    """The bar of a claim; None where nothing was estimated."""
    estimate = claim.estimate
    if estimate is None:
        return None
    ends = (0.0, estimate.low, estimate.value, estimate.high, claim.limit)
    start, stop = min(ends), max(ends)
    span = (stop - start) or 1.0

    def position(value: float) -> float:
        return MARGIN + (100.0 - 2.0 * MARGIN) * (value - start) / span

    def shown(value: float) -> str:
        return f"{position(value):.2f}%"

    label = (
        f"Estimate {number(estimate.value)}, one-sided {percent(estimate.confidence)} bounds "
        f"{number(estimate.low, claim.limit)} to {number(estimate.high, claim.limit)}, limit {number(claim.limit)}"
    )
    return Bar(
        zero=shown(0.0),
        low=shown(estimate.low),
        value=shown(estimate.value),
        high=shown(estimate.high),
        limit=shown(claim.limit),
        width=f"{position(estimate.high) - position(estimate.low):.2f}%",
        label=label,
    )
