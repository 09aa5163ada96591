import re

import matplotlib
import pytest

from pytest_diffprivacy.evidence.records import Chart, Curve, Histogram, Series
from pytest_diffprivacy.report.figures import chart_figure, histogram_figure, roc_figure


@pytest.fixture
def curve(run) -> Curve:
    return run.claims[1].curves[0]


@pytest.fixture
def histogram(run) -> Histogram:
    return run.claims[1].histograms[0]


def test_two_figures_in_one_document_share_no_id(curve, histogram):
    drawn = [roc_figure(curve, "a"), roc_figure(curve, "b"), histogram_figure(histogram, "c")]
    ids = [found for svg in drawn for found in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    assert drawn[0].replace('"a-', '"b-').replace("#a-", "#b-") == drawn[1]


def test_a_figure_says_in_words_what_it_shows(curve, histogram):
    roc, bars = roc_figure(curve, "a"), histogram_figure(histogram, "b")
    assert '<title>ROC curve: SecMI, all thresholds</title><desc id="a-desc">' in roc
    assert "At a false positive rate of at most 0.01 the true positive rate is" in roc
    assert "members (412) and non-members (409)" in bars
    assert 'role="img" aria-label="Histogram: Scores of members and non-members"' in bars


def test_groups_differ_by_more_than_colour(histogram):
    svg = histogram_figure(histogram, "a")
    assert "<pattern" in svg
    assert "stroke-dasharray" in svg


def test_every_colour_can_be_changed_by_the_page(curve, histogram):
    for svg in (roc_figure(curve, "a"), histogram_figure(histogram, "b")):
        assert not re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", svg).count("#0072b2")
        assert set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", svg))) <= {"#000000"}


def test_text_stays_text_and_nothing_outside_is_named(curve):
    svg = roc_figure(curve, "a")
    assert "largest FPR allowed: 0.01" in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert "<metadata" not in svg


def test_the_users_own_plot_settings_are_neither_used_nor_changed(curve):
    drawn = roc_figure(curve, "a")
    with matplotlib.rc_context({"font.size": 30.0, "svg.fonttype": "path"}):
        assert roc_figure(curve, "a") == drawn
        assert matplotlib.rcParams["font.size"] == 30.0


@pytest.mark.parametrize(
    "fields",
    [
        {"fpr": (0.0, 1.0), "tpr": (0.0, 1.0), "smallest_fpr": 1.0, "confidence": 0.95},
        {
            "fpr": (0.0, 0.0, 1.0),
            "tpr": (0.0, 1.0, 1.0),
            "smallest_fpr": 0.5,
            "limit": 0.0,
            "working_fpr": 0.0,
            "confidence": 0.95,
        },
        {
            "fpr": (0.0, 0.5, 1.0),
            "tpr": (0.0, 0.0, 1.0),
            "smallest_fpr": 0.5,
            "limit": 0.9,
            "working_fpr": 0.5,
            "confidence": 0.95,
        },
        {
            "fpr": (0.0, 1.0),
            "tpr": (0.0, 1.0),
            "smallest_fpr": 1e-9,
            "limit": 1e-12,
            "working_fpr": 1e-9,
            "confidence": 0.95,
        },
    ],
)
def test_curves_at_the_edge_of_the_axes_are_drawn(fields):
    assert roc_figure(Curve(title="edge", **fields), "a").endswith("</svg>")


@pytest.mark.parametrize("counts", [(0, 0), (3, 0)])
def test_an_empty_group_is_drawn(counts):
    histogram = Histogram(title="empty", label="score", edges=(0.0, 0.5, 1.0), groups={"members": counts})
    assert histogram_figure(histogram, "a").endswith("</svg>")


def test_foreign_labels_neither_start_formulas_nor_stop_the_drawing(histogram):
    strange = histogram.model_copy(
        update={
            "label": r"price $\frac{",
            "mark_label": "$x$",
            "groups": {"_hidden": histogram.groups["members"], "漢字 😀 <b>": histogram.groups["non-members"]},
        }
    )
    svg = histogram_figure(strange, "a")
    for text in (r"price $\frac{", "$x$: ", "_hidden (412)", "漢字 😀 &lt;b&gt; (409)"):
        assert text in svg


@pytest.fixture
def chart() -> Chart:
    extracted = Series(
        name="share extracted", x=(1.0, 8.0, 64.0), y=(0.0, 0.5, 1.0), low=(0.0, 0.3, 0.86), high=(0.14, 0.7, 1.0)
    )
    return Chart(
        title="Extraction against repetitions",
        x_label="Repetitions",
        y_label="Share extracted",
        series=(extracted, Series(name="unseen images", x=(1.0,), y=(0.0,))),
        log_x=True,
        confidence=0.95,
    )


def test_a_chart_says_where_each_series_starts_and_ends(chart):
    svg = chart_figure(chart, "a")
    assert "Share extracted against Repetitions. share extracted: from 0 at 1 to 1 at 64." in svg
    assert "unseen images" in svg


def test_a_chart_has_a_bar_for_every_bounded_point_alone(chart):
    bounded = chart_figure(chart, "a")
    bare = chart.model_copy(update={"series": tuple(s.model_copy(update={"low": ()}) for s in chart.series)})
    assert bounded.count("<path") == chart_figure(bare, "a").count("<path") + len(chart.series[0].low)


def test_zeros_are_drawn_on_the_edge_of_a_logarithmic_chart(chart):
    assert "NaN" not in chart_figure(chart.model_copy(update={"log_y": True}), "a")
