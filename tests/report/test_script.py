"""The rules of the page's tables, in a JavaScript engine without any page: order, filters, means."""

import json
import subprocess

import pytest

from hoi_jax.report.script import RULES
from tests.helpers.browser import program


def run(expression):
    """The value of an expression that may use `rules`."""
    node = program("HOI_JAX_NODE", ("node", "nodejs"))
    script = f"{RULES}\nconsole.log(JSON.stringify({expression}))"
    done = subprocess.run([node, "-"], input=script, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("values", "number", "ascending", "expected"),
    [
        (["10", "9", "", "-1"], True, True, ["-1", "9", "10", ""]),
        (["10", "9", "", "-1"], True, False, ["10", "9", "-1", ""]),
        (["b", "", "A", "c"], False, True, ["A", "b", "c", ""]),
        (["b", "", "A", "c"], False, False, ["c", "b", "A", ""]),
        (["1e-3", "0.01", "1e2"], True, True, ["1e-3", "0.01", "1e2"]),
    ],
)
def test_order_is_by_value_and_what_has_none_stays_at_the_end(values, number, ascending, expected):
    flags = f"{json.dumps(number)}, {json.dumps(ascending)}"
    assert run(f"{json.dumps(values)}.sort((a, b) => rules.compare(a, b, {flags}))") == expected


def test_the_first_press_shows_the_largest_numbers_and_words_from_a_the_next_turns_round():
    cases = [(None, True), (None, False), ("descending", True), ("ascending", False), ("ascending", True)]
    found = run(f"{json.dumps(cases)}.map(([before, number]) => rules.ascending(before, number))")
    assert found == [False, True, True, False, False]


def test_words_begin_words_and_choices_are_whole_values():
    texts = ["sit on", "dining_table"]
    cases = [
        ("", [], True),
        ("  TABLE  sit ", [], True),
        ("din", [], True),
        ("able", [], False),
        ("sit chair", [], False),
        ("dining_t", [], True),
        ("sit", [["rare", "rare"], ["ride", ""]], True),
        ("sit", [["non-rare", "rare"]], False),
    ]
    calls = [
        f"rules.keeps({json.dumps(words)}, {json.dumps(texts)}, {json.dumps(chosen)})" for words, chosen, _ in cases
    ]
    assert run(f"[{', '.join(calls)}]") == [expected for _, _, expected in cases]


def test_means_leave_out_what_has_no_value():
    assert run('[rules.mean(["1", "", "4"]), rules.mean(["", ""]), rules.mean([])]') == [2.5, None, None]


def test_means_are_printed_like_their_column():
    calls = (
        "rules.figure(1.25, 1, false), rules.figure(0, 1, true), rules.figure(-2, 0, true), rules.figure(null, 1, true)"
    )
    assert run(f"[{calls}]") == ["1.3", "+0.0", "-2", "n/a"]


def test_choices_come_once_and_in_order():
    assert run('rules.distinct(["b", "a", "b", "c"])') == ["a", "b", "c"]
