"""Claims and run as the page shows them: records arranged for reading; no number is made here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Final, TypeVar

from pytest_diffprivacy.evidence.records import Claim, Images, Model, Prompts, Record, Run, Table
from pytest_diffprivacy.report.apart import beside, told_apart
from pytest_diffprivacy.report.figures import chart_figure, histogram_figure, roc_figure
from pytest_diffprivacy.report.images import PictureBudget, ShownStrip
from pytest_diffprivacy.report.selection import Selection
from pytest_diffprivacy.report.tables import chart_tables, curve_tables, histogram_table
from pytest_diffprivacy.report.text import number, percent, plural
from pytest_diffprivacy.statistics.verdict import Verdict

NOT_DRAWN: Final = "Not drawn: this run has more figures than one page can show."
EXPECTED: Final = "FAIL (a demonstration)"
MARGIN: Final = 5.0
"""Of a bar's width, in percent, left free at each end."""
AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim's bounds against its limit: positions such as "12.50%" of the bar's width; left of `limit` is allowed."""

    low: str
    value: str
    high: str
    limit: str
    width: str
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture with the numbers behind it; no `svg` where the page has too many."""

    title: str
    svg: str
    note: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A claim as the page shows it: with a section of its own where `detailed`, else in the table of verdicts only."""

    claim: Claim
    anchor: str
    label: str
    expected: bool
    bar: Bar | None
    detailed: bool
    plots: tuple[Plot, ...]
    strips: tuple[ShownStrip, ...]
    apart: str
    beside: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The run on one screen."""

    counts: tuple[tuple[str, str], ...]
    models: tuple[Model, ...]
    audited: tuple[Model, ...]
    demonstrated: tuple[Model, ...]
    probes: tuple[Images, ...]
    prompts: tuple[Prompts, ...]


def sections(run: Run, chosen: Selection) -> tuple[Section, ...]:
    """Every listed claim, those that matter most first."""
    announced, scales, apart = run.expected_failures, _scales(run.claims), told_apart(run.claims)
    budget = PictureBudget(run.images)
    found = []
    for index in chosen.listed:
        claim, anchor = run.claims[index], f"claim-{index + 1}"
        label, detailed = _label(claim, announced), index in chosen.detailed
        found.append(
            Section(
                claim=claim,
                anchor=anchor,
                label=label,
                expected=label == EXPECTED,
                bar=bounds_bar(claim, scales.get(claim.name)),
                detailed=detailed,
                plots=tuple(_plots(claim, anchor, index in chosen.pictured)) if detailed else (),
                strips=tuple(budget.shown(strip) for strip in claim.strips) if detailed else (),
                apart=apart[index],
                beside=beside(claim),
            )
        )
    return tuple(found)


def _label(claim: Claim, announced: Set[str]) -> str:
    """The verdict, and whether it belongs to a demonstration."""
    return EXPECTED if claim.verdict is Verdict.FAIL and claim.node_id in announced else claim.verdict.value


def _plots(claim: Claim, anchor: str, drawn: bool) -> Iterator[Plot]:
    for index, curve in enumerate(claim.curves, start=1):
        svg = roc_figure(curve, f"{anchor}-curve-{index}") if drawn else ""
        note = "Rates of 0 are drawn on the edge. The band holds at each false positive rate on its own."
        yield Plot(curve.title, svg, note if drawn else NOT_DRAWN, curve_tables(curve))
    for index, chart in enumerate(claim.charts, start=1):
        svg = chart_figure(chart, f"{anchor}-chart-{index}") if drawn else ""
        bounds = "" if chart.confidence is None else f"Bars are one-sided {percent(chart.confidence)} bounds."
        note = " ".join(part for part in (chart.note, bounds) if part)
        yield Plot(chart.title, svg, note if drawn else NOT_DRAWN, chart_tables(chart))
    for index, histogram in enumerate(claim.histograms, start=1):
        svg = histogram_figure(histogram, f"{anchor}-histogram-{index}") if drawn else ""
        note = "Shares add up to 100% in each group; the legend gives the group's size."
        yield Plot(histogram.title, svg, note if drawn else NOT_DRAWN, (histogram_table(histogram),))


def _scales(claims: Iterable[Claim]) -> dict[str, tuple[float, float]]:
    """For each kind of claim the ends of its bars, so that bars of one kind can be compared by eye."""
    scales: dict[str, tuple[float, float]] = {}
    for claim in claims:
        if claim.estimate is not None and claim.name:
            own = (claim.estimate.low, claim.estimate.value, claim.estimate.high, claim.limit)
            start, stop = scales.get(claim.name, (0.0, 0.0))
            scales[claim.name] = min(start, *own), max(stop, *own)
    return scales


def bounds_bar(claim: Claim, scale: tuple[float, float] | None = None) -> Bar | None:
    """The bar of a claim, on the scale of its kind; None where nothing was estimated."""
    estimate = claim.estimate
    if estimate is None:
        return None
    low, value, high, limit = estimate.low, estimate.value, estimate.high, claim.limit
    start, stop = scale or (min(0.0, low, value, high, limit), max(0.0, low, value, high, limit))

    def position(value: float) -> float:
        return MARGIN + (100.0 - 2.0 * MARGIN) * (value - start) / ((stop - start) or 1.0)

    def shown(value: float) -> str:
        return f"{position(value):.2f}%"

    bounds = f"{number(low, limit)} to {number(high, limit)}"
    label = f"Estimate {number(value)}, one-sided {percent(estimate.confidence)} bounds {bounds}, limit {number(limit)}"
    return Bar(shown(low), shown(value), shown(high), shown(limit), f"{position(high) - position(low):.2f}%", label)


def summary(run: Run) -> Summary:
    """How many claims ended how, and what was audited."""
    announced = run.expected_failures
    count = Counter((claim.verdict, _label(claim, announced)) for claim in run.claims)
    counts = [
        (verdict.value.lower(), plural(count[verdict, label], label, label))
        for verdict in Verdict
        for label in (verdict.value, EXPECTED)
        if count[verdict, label]
    ]
    if run.missing:
        counts.append(("incomplete", plural(len(run.missing), "test without a record", "tests without a record")))
    models = _distinct(claim.model for claim in run.claims)
    audited = _distinct(claim.model for claim in run.claims if claim.node_id not in announced)
    return Summary(
        counts=tuple(counts),
        models=models,
        audited=audited or models,
        demonstrated=tuple(model for model in models if audited and model not in audited),
        probes=_distinct(images for claim in run.claims for images in claim.probes),
        prompts=_distinct(prompts for claim in run.claims for prompts in claim.prompts),
    )


def _distinct(records: Iterable[AnyRecord | None]) -> tuple[AnyRecord, ...]:
    return tuple(dict.fromkeys(record for record in records if record is not None))
