"""Columns with one value are sent once; what the statement does stays the same."""

from hivewire_service.core import Write
from hivewire_service.same_values import ROWS_MIN, VARIANTS_MAX, sent_once

SQL = (
    "INSERT INTO t SELECT a, b::text[], $1 "
    "FROM unnest($2::text[], $3::text[], $4::float8[], $5::text[], $6::text[]) AS new (a, b, c, d, e)"
)


def write(rows: int, *, sql: str = SQL, **varying: tuple[object, ...]) -> Write:
    columns = {"a": tuple(map(str, range(rows))), "b": ("{}",) * rows, "c": (None,) * rows}
    columns |= {"d": ("x",) * rows, "e": ("y",) * rows}
    return Write(sql, ("now", *(columns | varying).values()))


def test_columns_with_one_value_become_single_parameters():
    rows = ROWS_MIN
    (once,) = sent_once([write(rows)])
    assert once.arguments == ("now", tuple(map(str, range(rows))), "{}", None, "x", "y")
    assert once.sql == (
        "INSERT INTO t SELECT a, b::text[], $1 FROM (SELECT many.*, $3::text AS b, $4::float8 AS c, $5::text AS d, "
        "$6::text AS e FROM unnest($2::text[]) AS many (a)) AS new"
    )


def test_one_column_is_always_unnested():
    rows = ROWS_MIN
    (once,) = sent_once([write(rows, a=("same",) * rows)])
    assert once.arguments[1:3] == (("same",) * rows, "{}")


def test_one_row_needs_no_arrays():
    (once,) = sent_once([write(1)])
    assert once.arguments == ("now", "0", "{}", None, "x", "y")
    assert once.sql == (
        "INSERT INTO t SELECT a, b::text[], $1 FROM (SELECT $2::text AS a, $3::text AS b, $4::float8 AS c, $5::text AS d, "
        "$6::text AS e) AS new"
    )


def test_one_row_beside_many_keeps_its_arrays():
    one, other = write(1), Write("UPDATE p SET a = $1", (1,))
    assert sent_once([one, write(2), other]) == [one, write(2), other]
    assert sent_once([one, other])[0].sql != one.sql


def test_few_rows_and_other_statements_stay_as_they_are():
    for same in (
        write(ROWS_MIN - 1),
        Write("UPDATE p SET a = $1", (1,)),
        write(ROWS_MIN, sql=f"{SQL} WHERE $3::text[] = f"),
    ):
        assert sent_once([same])[0] is same


def test_a_statement_has_a_bounded_number_of_variants():
    rows = ROWS_MIN
    differ = tuple(map(str, range(rows)))
    names = [chr(ord("a") + number) for number in range(20)]
    sql = (
        f"INSERT INTO many FROM unnest({', '.join(f'${n + 1}::text[]' for n in range(20))}) AS new ({', '.join(names)})"
    )
    made = [
        sent_once(
            [Write(sql, tuple(differ if column in (first, first + 1) else ("x",) * rows for column in range(20)))]
        )[0]
        for first in range(0, 20, 2)
    ]
    assert len({one.sql for one in made}) <= VARIANTS_MAX + 1
    for first, one in zip(range(0, 20, 2), made, strict=True):
        assert one.arguments[first] == one.arguments[first + 1] == differ
