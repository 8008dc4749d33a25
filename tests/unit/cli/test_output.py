from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire.cli.output import Column, ago, as_text, clean, cut, duration, layout

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
COLUMNS = (Column("ID"), Column("COUNT", right=True, spare=1), Column("WHERE", spare=2), Column("TITLE", fill=True))
ID = "01a2049f-399c-752a-a458-bb2e15358eb8"


def rows(title="a long title that goes on and on"):
    return [[ID, "5", "a-long-agent-name", title]]


def test_a_wide_table_shows_everything():
    assert layout(COLUMNS, rows(), None) == [
        "ID                                    COUNT  WHERE              TITLE",
        f"{ID}      5  a-long-agent-name  a long title that goes on and on",
    ]


def test_a_narrow_table_cuts_the_filling_column_first():
    assert layout(COLUMNS, rows(), 84)[1] == f"{ID}      5  a-long-agent-name  a long title that g…"


def test_then_it_leaves_spare_columns_out():
    assert layout(COLUMNS, rows(), 70)[1] == f"{ID}      5  a long title that goes o…"
    assert layout(COLUMNS, rows(), 55)[1] == f"{ID}  a long title tha…"


@given(st.integers(1, 200), st.text(max_size=60))
def test_ids_are_never_cut(width, title):
    assert ID in layout(COLUMNS, rows(clean(title)), width)[1]


@given(st.integers(60, 200), st.text(st.characters(categories=["L", "N"]), max_size=60))
def test_lines_fit_the_terminal(width, title):
    from hivewire.cli.output import cells

    assert all(cells(line) <= width for line in layout(COLUMNS, rows(title), width))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (3, "3 s ago"), (90, "2 min ago"), (7_200, "2 h ago"), (200_000, "2 d ago"), (-30, "in 30 s")],
)
def test_times_are_relative(seconds, text):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 ms"), (0.0042, "4 ms"), (1.25, "1.2 s"), (59, "59 s"), (3_600, "1 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_texts_cannot_play_with_the_terminal():
    assert clean("a\x1b[31mb\nc\u202ed") == "a [31mb c d"
    assert clean("a\nb", lines=True) == "a\nb"
    assert clean(["a", "b"]) == "a, b"
    assert clean(None) == "-"


def test_wide_characters_count_twice():
    assert cut("日本語テスト", 6) == "日本…"


@pytest.mark.parametrize(("result", "text"), [("hi\n", "hi\n"), ({"n": 1}, '{"n":1}'), (None, "null")])
def test_results(result, text):
    assert as_text(result) == text
