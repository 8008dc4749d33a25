"""Columns with the same value in every row of a batch, sent once instead of once a row.

A batch is one statement over unnested arrays. Most columns of a new task, say, are the same in all of them, and every
value of an array costs about as much as its whole column would as a single parameter. A batch of one row, as they come
while there is little to do, needs no arrays at all.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache

from hivewire_service.core import Write

ROWS_MIN = 20
"""Below this the arrays cost less than one more statement that Postgres has to know."""
VARIANTS_MAX = 4
"""Of one statement. Each has to be parsed and planned, and is kept by the connection."""
GAIN_MIN = 3
"""So many more columns with one value are worth another variant."""

_UNNEST = re.compile(r"FROM\s+unnest\(([^()]*)\)\s*AS new \(([^()]*)\)")
_ARRAY = re.compile(r"\$(\d+)::(\w+)\[\]")


def sent_once(writes: Iterable[Write]) -> list[Write]:
    """The same writes, with columns that have one value as single parameters. The numbers of the parameters stay.

    Single rows go without arrays only if all of them are single: each mixture would be one more statement to be known.
    """
    shaped = [(write, _shape(write.sql)) for write in writes]
    single = all(shape is None or len(write.arguments[shape.indexes[0]]) == 1 for write, shape in shaped)
    return [
        write
        if shape is None
        else _with_singles(write, shape.one_row, frozenset(shape.indexes))
        if single
        else _with_fewer_values(write, shape)
        for write, shape in shaped
    ]


def _with_fewer_values(write: Write, shape: "_Shape") -> Write:
    columns = [write.arguments[index] for index in shape.indexes]
    if len(columns[0]) < ROWS_MIN:
        return write
    same = frozenset(index for index, column in zip(shape.indexes, columns, strict=True) if _has_one_value(column))
    single = shape.variant(same)
    return _with_singles(write, shape.sql(single), single) if single else write


def _with_singles(write: Write, sql: str, single: frozenset[int]) -> Write:
    arguments = (value[0] if index in single else value for index, value in enumerate(write.arguments))
    return Write(sql, tuple(arguments))


def _has_one_value(column: Sequence[object]) -> bool:
    return column.count(column[0]) == len(column)


class _Shape:
    """A statement that unnests its parameters as `new`, in the variants of it that are in use."""

    def __init__(self, sql: str, unnest: "re.Match[str]") -> None:
        self._sql = sql
        self._unnest = unnest
        self._types = {int(number) - 1: kind for number, kind in _ARRAY.findall(unnest[1])}
        self._names = dict(zip(self._types, (name.strip() for name in unnest[2].split(",")), strict=True))
        self.indexes = tuple(self._types)
        """Of the arguments that are unnested."""
        self._variants: dict[frozenset[int], str] = {frozenset(): sql}
        self.one_row = self._reading(f"(SELECT {self._values(self.indexes)})")
        """The statement for a single row, all of whose columns are single parameters."""

    def variant(self, same: frozenset[int]) -> frozenset[int]:
        """Of the arguments with one value those that are sent once; others were not worth a variant."""
        if len(same) == len(self.indexes):
            same -= {self.indexes[0]}  # something must be left to be unnested
        best = max((known for known in self._variants if known <= same), key=len)
        if len(same) - len(best) < GAIN_MIN or len(self._variants) > VARIANTS_MAX:
            return best
        self._variants[same] = self._written(same)
        return same

    def sql(self, single: frozenset[int]) -> str:
        return self._variants[single]

    def _written(self, single: frozenset[int]) -> str:
        many = [index for index in self.indexes if index not in single]
        arrays = ", ".join(f"${index + 1}::{self._types[index]}[]" for index in many)
        names = ", ".join(self._names[index] for index in many)
        return self._reading(f"(SELECT many.*, {self._values(sorted(single))} FROM unnest({arrays}) AS many ({names}))")

    def _values(self, indexes: Iterable[int]) -> str:
        return ", ".join(f"${index + 1}::{self._types[index]} AS {self._names[index]}" for index in indexes)

    def _reading(self, source: str) -> str:
        begin, end = self._unnest.span()
        return f"{self._sql[:begin]}FROM {source} AS new{self._sql[end:]}"


@cache
def _shape(sql: str) -> _Shape | None:
    unnest = _UNNEST.search(sql)
    if unnest is None or any(sql.count(f"${number}::") > 1 for number, _ in _ARRAY.findall(unnest[1])):
        return None
    return _Shape(sql, unnest)
