"""Values as Postgres has them: casts, arrays in text form, JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlglot import exp

Cast = Callable[[Any], Any]


def array_of(text: str) -> list[str]:
    """An array of texts as Postgres reads it: `{"a","b"}`."""
    items: list[str] = []
    characters = iter(text.strip()[1:-1])
    item, quoted, was_quoted = "", False, False
    for character in characters:
        if character == "\\":
            item += next(characters)
        elif character == '"':
            quoted, was_quoted = not quoted, True
        elif character == "," and not quoted:
            items.append(item)
            item, was_quoted = "", False
        else:
            item += character
    if item or was_quoted:
        items.append(item)
    return items


def moment(value: Any) -> datetime:
    """A timestamp with time zone."""
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    if parsed.tzinfo is None:
        raise ValueError(f"a moment without time zone: {value!r}")
    return parsed.astimezone(UTC)


def as_text(value: Any) -> str:
    """A value as text; JSON is the only one that is not text already."""
    return value if isinstance(value, str) else to_json(value)


def row_to_json(row: dict[str, Any]) -> str:
    """The function of this name, which writes no spaces, and whole numbers without a fraction."""
    values = {name: json.loads(one) if isinstance(one, JsonText) else _whole(one) for name, one in row.items()}
    return json.dumps(values, default=_json_of, ensure_ascii=False, separators=(",", ":"))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_json(value: Any) -> str:
    """JSON as Postgres writes a jsonb."""
    return json.dumps(value, default=_json_of, ensure_ascii=False)


def _json_of(value: Any) -> Any:
    """A moment as Postgres writes it, whose fraction of a second ends with its last digit that is not zero."""
    if isinstance(value, datetime):
        whole, _, fraction = value.isoformat(timespec="microseconds").partition(".")
        digits, zone = fraction[:6].rstrip("0"), fraction[6:]
        return f"{whole}.{digits}{zone}" if digits else whole + zone
    raise TypeError(f"{value!r} as JSON")


def _jsonb(value: Any) -> str:
    return to_json(json.loads(value))


_CASTS: dict[str, Cast] = {
    "TEXT": as_text,
    "BIGINT": int,
    "INT": int,
    "SMALLINT": int,
    "DOUBLE": float,
    "BOOLEAN": bool,
    "TIMESTAMPTZ": moment,
    "JSON": json.loads,
    "JSONB": _jsonb,
    "VARBINARY": bytes,
}


class JsonText(str):
    """A value of type json: a text that is a part of larger JSON as what it says."""

    __slots__ = ()


def cast_to(kind: exp.DataType, *, of_json: bool = False) -> Cast:
    """The function that makes a value one of `kind`. NULL stays NULL. `of_json`: the value is a part of JSON."""
    if of_json and kind.this == exp.DataType.Type.JSON:
        return lambda value: None if value is None else JsonText(to_json(value))
    if kind.this == exp.DataType.Type.ARRAY:
        (element,) = kind.expressions
        one = cast_to(element)

        def to_array(value: Any) -> Any:
            if value is None:
                return None
            return [one(item) for item in (array_of(value) if isinstance(value, str) else value)]

        return to_array
    convert = _CASTS[kind.this.name]
    return lambda value: None if value is None else convert(value)


class Record:
    """A row of an answer, by name and by number, like asyncpg's."""

    __slots__ = ("_row",)

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._row[key] if isinstance(key, str) else tuple(self._row.values())[key]

    def __iter__(self) -> Any:
        return iter(self._row.values())

    def __len__(self) -> int:
        return len(self._row)

    def keys(self) -> Any:
        return self._row.keys()

    def __repr__(self) -> str:
        return f"<Record {self._row}>"
