"""Long columns go as one text each, and only where Postgres gets back exactly what was there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire_service.core import Write
from hivewire_service.joined_columns import joined
from hivewire_service.same_values import ROWS_MIN

SQL = "INSERT INTO t SELECT a, n, f, $1 FROM unnest($2::text[], $3::bigint[], $4::float8[]) AS new (a, n, f)"


def write(texts, numbers=None, *, sql: str = SQL) -> Write:
    numbers = range(len(texts)) if numbers is None else numbers
    return Write(sql, ("now", tuple(texts), tuple(numbers), (0.5,) * len(texts)))


def split(text: str) -> list[str | None]:
    """What `string_to_array` makes of it."""
    return [None if part == "\x1e" else part for part in text.split("\x1f")]


def test_texts_and_numbers_are_joined_and_all_else_stays():
    texts = [f"text {n}" for n in range(ROWS_MIN)]
    (one,) = joined([write(texts)])
    assert one.sql == (
        r"INSERT INTO t SELECT a, n, f, $1 FROM unnest(string_to_array($2::text, E'\x1f', E'\x1e'), "
        r"string_to_array($3::text, E'\x1f', E'\x1e')::bigint[], $4::float8[]) AS new (a, n, f)"
    )
    assert split(one.arguments[1]) == texts
    assert list(map(int, split(one.arguments[2]))) == list(range(ROWS_MIN))
    assert one.arguments[0] == "now"
    assert one.arguments[3] == (0.5,) * ROWS_MIN


@given(
    st.lists(st.none() | st.text(), min_size=ROWS_MIN, max_size=2 * ROWS_MIN),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=2 * ROWS_MIN, max_size=2 * ROWS_MIN),
)
def test_whatever_is_joined_is_split_to_the_same(texts, numbers):
    before = write(texts, numbers[: len(texts)])
    (one,) = joined([before])
    if one is before:
        assert any(value and ("\x1f" in value or "\x1e" in value) for value in texts)
        return
    assert split(one.arguments[1]) == texts
    assert [part if part is None else int(part) for part in split(one.arguments[2])] == numbers[: len(texts)]


@pytest.mark.parametrize("bad", ["a\x1fb", "\x1e", "x\x1e"])
def test_a_value_that_cannot_be_told_from_the_marks_keeps_the_arrays(bad):
    before = write([bad, *["x"] * ROWS_MIN])
    assert joined([before])[0] is before


def test_few_rows_and_other_statements_stay_as_they_are():
    for same in (
        write(["x"] * (ROWS_MIN - 1)),
        write(["x"] * ROWS_MIN, sql=f"{SQL} WHERE $2::text[] = b"),
        Write("UPDATE p SET a = $1", (1,)),
    ):
        assert joined([same])[0] is same
