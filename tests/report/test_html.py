"""The report page: well-formed, self-contained, escaped, the same every time; charts with true axes."""

import base64
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from hoi_jax.report.charts import Chart, Series, line_chart, series_from_rows, thinned, ticks
from hoi_jax.report.elements import Column, cell_text
from hoi_jax.report.html import (
    ReportInput,
    render_report,
    standard_charts,
    write_report,
)
from tests.helpers.report_pages import METRICS, Page, full_report

EVIL = "<script>alert(\"x\")</script> & 'co'"


def test_page_is_well_formed_and_has_every_part():
    page = Page(render_report(full_report()))
    text = page.text()
    for wanted in (
        "Report hold cup",
        "41.3 %",
        "n/a",
        "baseline",
        "Classes hold cup",
        "Ground truth",
        '"system": "tin"',
    ):
        assert wanted in text
    assert len(page.all("svg")) == 2 and len(page.all("img")) == 4


def test_page_asks_for_nothing_outside_itself():
    text = render_report(full_report())
    assert not re.search(r"https?://|url\(|@import", text)
    page = Page(text)
    for _, attrs in page.elements:
        assert attrs.get("href", "#").startswith("#")
        assert attrs.get("src", "data:image/").startswith("data:image/")
    assert not page.all("link") and not page.all("iframe")
    policy = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0].startswith("default-src 'none'")


def test_names_from_outside_are_text_never_markup():
    page = Page(render_report(full_report(EVIL)))
    assert len(page.all("script")) == 1
    assert page.text().count(EVIL) >= 7
    assert any(EVIL in attrs["alt"] for attrs in page.all("img"))


def test_every_image_says_what_it_is_and_can_be_read_back():
    images = Page(render_report(full_report())).all("img")
    assert all(attrs["alt"] for attrs in images)
    for attrs, kind in zip(images, ("png", "png", "jpeg", "png"), strict=True):
        head, data = attrs["src"].split(",", 1)
        assert head == f"data:image/{kind};base64"
        opened = Image.open(io.BytesIO(base64.b64decode(data)))
        assert opened.size == (int(attrs["width"]), int(attrs["height"]))


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, full_report())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_parts_without_content_are_left_out():
    page = Page(render_report(ReportInput("t", "s")))
    assert not page.all("section") and not page.all("table") and not page.all("svg")


def test_links_at_the_top_lead_to_sections():
    page = Page(render_report(full_report()))
    anchors = {attrs["id"] for attrs in page.all("section") if "id" in attrs}
    assert {attrs["href"][1:] for attrs in page.all("a")} == anchors


def test_sort_keys_are_the_full_numbers_and_empty_where_undefined():
    cells = [attrs.get("data-value") for attrs in Page(render_report(full_report())).all("td")]
    expected = ["hold cup", "50.0", "3", "rare", "b", "", "10", "hold cup", "c", "", "2", "rare"]
    assert [c for c in cells if c is not None] == expected


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (1.25, Column("x", 1), "1.2"),  # rounds half to even
        (0.5, Column("x", 2, signed=True), "+0.50"),
        (-3, Column("x", signed=True), "-3"),
        (7, Column("x"), "7"),
        (math.nan, Column("x"), "n/a"),
        (None, Column("x"), "n/a"),
        ("hold", Column("x", signed=True), "hold"),
    ],
)
def test_cells_are_printed_as_their_column_says(value, column, text):
    assert cell_text(value, column) == text


def test_standard_charts_are_losses_and_scores_of_evaluations():
    losses, scores = standard_charts(METRICS)
    assert [(s.name, s.x, s.y) for s in losses.series] == [
        ("loss", (1.0, 2.0), (4.0, 2.0)),
        ("loss/human", (1.0, 2.0), (2.5, 1.5)),
    ]
    assert scores.series[0].y == (0.25,) and math.isnan(scores.series[1].y[0])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 1499, [200, 400, 600, 800, 1000, 1200, 1400]),
        (2, 2, [2]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def path_points(svg):
    data = re.search(r'class="line" d="([^"]*)"', svg).group(1)
    return [tuple(map(float, p.split(","))) for p in re.findall(r"[ML]([\d.]+,[\d.]+)", data)]


def test_line_runs_through_the_places_that_its_axes_name():
    svg = line_chart(Chart("c", (Series("s", (0.0, 10.0), (0.0, 4.0)),)))
    points = path_points(svg)
    tick = {float(t): float(x) for x, t in re.findall(r'<text x="([\d.]+)" y="273"[^>]*>([\d.]+)<', svg)}
    assert points[0][0] == pytest.approx(tick[0.0]) and points[-1][0] == pytest.approx(tick[10.0])
    assert points[-1][1] < points[0][1]  # larger values lie higher


def test_a_missing_value_breaks_the_line():
    svg = line_chart(Chart("c", (Series("s", (0.0, 1.0, 2.0, 3.0), (1.0, math.nan, 2.0, 3.0)),)))
    assert re.search(r'class="line" d="([^"]*)"', svg).group(1).count("M") == 2


def test_an_empty_chart_says_so():
    assert "No values" in line_chart(Chart("c", (Series("s", (1.0,), (math.nan,)),)))


def test_thinning_keeps_the_mean_and_the_bound():
    y = np.random.default_rng(0).normal(size=3000)
    thin = thinned(Series("s", tuple(np.arange(3000.0)), tuple(y)), most=300)
    assert len(thin.x) == 300
    assert np.mean(thin.y) == pytest.approx(y.mean())


def test_rows_without_the_key_are_skipped():
    assert series_from_rows(METRICS, "gradient_norm").y == (9.0, 7.0)
