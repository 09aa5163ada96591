"""Small parts: how numbers, times, bars, tables and pictures are written."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Curve, Histogram, Strip
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.report.images import PictureBudget
from pytest_diffprivacy.report.sections import bounds_bar
from pytest_diffprivacy.report.tables import curve_tables, histogram_table
from pytest_diffprivacy.report.text import duration, number, one_line, percent, utc
from pytest_diffprivacy.visible import visible


def test_a_number_is_never_rounded_onto_the_limit():
    assert number(0.05) == "0.05"
    assert number(0.0500001, 0.05) == "0.0500001"
    assert number(0.05, 0.0500001) == "0.05"
    assert number(0.05, 0.05) == "0.05"
    assert number(-2.5) == "−2.5"
    assert number(None) == "–"
    assert (percent(0.95), percent(0.999)) == ("95%", "99.9%")


def test_times_are_utc_whatever_they_came_as():
    noon = datetime(2025, 7, 1, 12, tzinfo=UTC)
    for time in (noon, noon.replace(tzinfo=None), noon.astimezone(timezone(timedelta(hours=5, minutes=30)))):
        assert utc(time) == "2025-07-01 12:00:00 UTC"
    assert [duration(s) for s in (0.04, 59.6, 200, 7500)] == ["0.0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]


def test_hidden_characters_are_spelled_out_and_others_kept():
    assert visible("a\x00b\x1b[0m\u202e\ud800") == "a⟨NUL⟩b⟨ESC⟩[0m⟨U+202E⟩⟨U+D800⟩"
    assert visible("ε ≤ 0.1 漢字\n") == "ε ≤ 0.1 漢字\n"
    assert one_line("a\n b" + "c" * 50, 10) == "a bcccccc…"


def test_the_bar_puts_bounds_and_limit_in_their_order(run):
    passed, failed, undecided, broken = (bounds_bar(claim) for claim in run.claims)

    def at(text):
        return float(text.rstrip("%"))

    assert at(passed.high) < at(passed.limit)
    assert at(failed.low) > at(failed.limit)
    assert at(undecided.low) < at(undecided.limit) < at(undecided.high)
    assert broken is None
    assert at(failed.low) + at(failed.width) == pytest.approx(at(failed.high), abs=0.02)
    assert "limit 0.02" in failed.label


def test_tables_stay_short_and_keep_ends_and_working_point():
    fpr = tuple(np.linspace(0, 1, 400).tolist())
    curve = Curve(title="c", fpr=fpr, tpr=fpr, working_fpr=0.0151, smallest_fpr=0.01, confidence=0.95)
    rows = curve_tables(curve)[0].rows
    assert len(rows) <= 25
    assert rows[0] == ("0", "0")
    assert rows[-1] == ("1", "1")
    assert ("0.015", "0.015") in rows


@pytest.mark.parametrize("bins", [1, 25, 26, 40, 101])
def test_a_merged_histogram_loses_no_count(bins):
    counts = tuple(range(1, bins + 1))
    edges = tuple(float(i) for i in range(bins + 1))
    table = histogram_table(Histogram(title="h", label="score", edges=edges, groups={"members": counts}))
    assert len(table.rows) <= 25
    assert sum(int(row[1].replace(",", "")) for row in table.rows) == sum(counts)
    assert table.rows[-1][0].endswith(f"to {bins}")


def test_a_redacted_report_withholds_a_picture_that_is_too_large(run):
    image = np.random.default_rng(0).uniform(size=(3, 64, 64))
    large = picture(image, "member 1", redacted=False)
    pair = Strip(
        pictures=(large.model_copy(update={"width": 4, "height": 4}),), caption="", mark="match", conspicuous=True
    )
    assert PictureBudget("redacted").shown(pair).pictures[0].source == ""
    assert PictureBudget("none").shown(pair).pictures[0].source == ""
    shown = PictureBudget("full").shown(pair).pictures[0]
    assert shown.source == f"data:image/png;base64,{large.png_base64}"
    assert (shown.width, shown.height) == (64, 64)


def test_full_images_are_announced_and_none_means_none(run):
    assert "This report shows training images in full" not in render_html(run)
    assert "This report shows training images in full" in render_html(run.model_copy(update={"images": "full"}))
    assert "data:image/png" not in render_html(run.model_copy(update={"images": "none"}))
