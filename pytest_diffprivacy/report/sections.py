"""What does the page say about a claim, and about the run? Records arranged for reading; no number is made here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from pytest_diffprivacy.evidence.records import Chart, Claim, Images, Model, Record, Run, Table
from pytest_diffprivacy.report.bars import Bar, bounds_bar
from pytest_diffprivacy.report.figures import chart_figure, histogram_figure, roc_figure
from pytest_diffprivacy.report.images import ShownStrip, shown_strip
from pytest_diffprivacy.report.tables import chart_tables, curve_tables, histogram_table
from pytest_diffprivacy.report.text import percent, plural
from pytest_diffprivacy.statistics.verdict import Verdict

EXPECTED: Final = "FAIL (expected by its test)"
RUN_SENTENCES: Final = {
    "PASS": "Every claim held.",
    "FAIL": "At least one claim is refuted.",
    "INCONCLUSIVE": "At least one claim is neither shown nor refuted.",
    "ERROR": "At least one claim could not be judged.",
    "INCOMPLETE": "Not every audit test left a record, so nothing is concluded for the whole.",
}
AnyRecord = TypeVar("AnyRecord", bound=Record)


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
    """

    claim: Claim
    anchor: str
    label: str
    expected: bool
    bar: Bar | None
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


def sections(run: Run) -> tuple[Section, ...]:
    """Every claim, in the record's order."""
    announced = {test.node_id for test in run.tests if test.expected_failure}
    return tuple(_section(claim, index, announced, run.images) for index, claim in enumerate(run.claims, start=1))


def _section(claim: Claim, index: int, announced: set[str], policy: str) -> Section:
    anchor = f"claim-{index}"
    expected = claim.verdict is Verdict.FAIL and claim.node_id in announced
    curves = [
        Plot(
            curve.title,
            roc_figure(curve, f"{anchor}-curve-{number}"),
            "Rates of 0 are drawn on the edge. The band holds at each false positive rate on its own.",
            curve_tables(curve),
        )
        for number, curve in enumerate(claim.curves, start=1)
    ]
    histograms = [
        Plot(
            histogram.title,
            histogram_figure(histogram, f"{anchor}-histogram-{number}"),
            "Shares add up to 100% in each group; the legend gives the group's size.",
            (histogram_table(histogram),),
        )
        for number, histogram in enumerate(claim.histograms, start=1)
    ]
    charts = [
        Plot(chart.title, chart_figure(chart, f"{anchor}-chart-{number}"), _chart_note(chart), chart_tables(chart))
        for number, chart in enumerate(claim.charts, start=1)
    ]
    return Section(
        claim=claim,
        anchor=anchor,
        label=EXPECTED if expected else claim.verdict.value,
        expected=expected,
        bar=bounds_bar(claim),
        plots=(*curves, *charts, *histograms),
        strips=tuple(shown_strip(strip, policy) for strip in claim.strips),
    )


def _chart_note(chart: Chart) -> str:
    bounds = "" if chart.confidence is None else f"Bars are one-sided {percent(chart.confidence)} bounds."
    return " ".join(part for part in (chart.note, bounds) if part)


def summary(run: Run, parts: Iterable[Section]) -> Summary:
    """Overall verdict, how many claims ended how, and what was audited."""
    count = Counter((part.claim.verdict, part.label) for part in parts)
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
    )


def _distinct(records: Iterable[AnyRecord | None]) -> tuple[AnyRecord, ...]:
    found: list[AnyRecord] = []
    for record in records:
        if record is not None and record not in found:
            found.append(record)
    return tuple(found)
