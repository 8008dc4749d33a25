"""Many writes become one statement with one list of arguments."""

from hivewire_service.core import Write
from hivewire_service.store import as_one, storable


def test_parameters_are_numbered_through() -> None:
    writes = [Write("INSERT INTO a SELECT $1, $2", (1, 2)), Write("UPDATE b SET c = $1 WHERE d = $1 + $2", (3, 4))]
    one = as_one(writes, Write("SELECT f($1)", (5,)))
    assert one.sql == (
        "WITH write_0 AS (\nINSERT INTO a SELECT $1, $2\n), "
        "write_1 AS (\nUPDATE b SET c = $3 WHERE d = $3 + $4\n)\nSELECT f($5)"
    )
    assert one.arguments == (1, 2, 3, 4, 5)


def test_ten_and_one_are_not_mixed_up() -> None:
    ten = Write(" ".join(f"${n}" for n in range(1, 12)), tuple(range(11)))
    assert as_one([Write("$1", (0,))], ten).sql.endswith(" ".join(f"${n}" for n in range(2, 13)))


def test_no_writes() -> None:
    assert as_one([], Write("SELECT f($1)", (1,))) == Write("SELECT f($1)", (1,))


def test_texts_of_unknown_origin_can_be_stored() -> None:
    assert storable("a\0b\ud800") == "a\\0b\\ud800"
