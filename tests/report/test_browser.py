"""The page in a real browser: pressed, typed into and looked at, with nothing but the file."""

import pytest
from PIL import Image

from hoi_jax.report.html import write_report
from tests.helpers.browser import Browser
from tests.helpers.report_pages import full_report

FIRST = "[...document.querySelectorAll('table.filtered tbody tr')].filter((row) => !row.hidden)"


@pytest.fixture
def browser(tmp_path):
    write_report(tmp_path / "page.html", full_report("hold cup"))
    with Browser(tmp_path / "profile", (tmp_path / "page.html").as_uri()) as opened:
        yield opened


def in_view(browser):
    return browser.run(f"{FIRST}.map((row) => row.cells[0].textContent)")


@pytest.mark.slow
def test_a_person_can_sort_and_filter_with_mouse_and_keys(browser, tmp_path):
    assert in_view(browser) == ["hold cup", "b", "c"]
    browser.click("table.filtered th:nth-child(3) button")
    assert in_view(browser) == ["b", "hold cup", "c"]  # 10, 3, 2
    browser.press("Enter")  # The title that was pressed has the focus.
    assert in_view(browser) == ["c", "hold cup", "b"]
    assert browser.run("document.querySelector('th:nth-child(3)[aria-sort]').ariaSort") == "ascending"
    browser.click("table.filtered th:nth-child(2) button")
    assert in_view(browser)[0] == "hold cup"  # the only one with a value

    assert browser.run("document.querySelector('.filter output').textContent") == "3 of 3 hold cup"
    browser.press("/")
    browser.type("CU")
    assert in_view(browser) == ["hold cup"]
    assert browser.run("document.querySelector('tfoot').rows[0].cells[1].textContent") == "50.0"
    browser.type("x")
    assert in_view(browser) == []
    assert browser.run("document.querySelector('tfoot').rows[0].cells[1].textContent") == "n/a"
    browser.press("Escape")
    assert len(in_view(browser)) == 3

    browser.press("Tab")  # from the words to the first choice
    assert browser.run("document.activeElement.tagName") == "SELECT"
    browser.type("r")  # the choice that begins so: "rare"
    assert sorted(in_view(browser)) == ["c", "hold cup"]
    browser.click(".filter button")
    assert len(in_view(browser)) == 3

    browser.click("nav a[href='#classes']")
    assert browser.run("location.hash") == "#classes" and browser.run("scrollY") > 0
    browser.image(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.height > 900 and len(shot.getcolors(1 << 20)) > 20
    assert browser.run("performance.getEntriesByType('resource').every((one) => one.name.startsWith('data:'))")
