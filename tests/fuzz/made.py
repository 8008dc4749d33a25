"""Data made of a struct's own description: mostly what fits, and now and then what is just beyond it."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

EDGES = ("", "\0", "a\n", "\ufeff", "a.b", "*", "漢" * 60, "é", " ", "x", "' OR 1=1 --", "../../etc", "\u2028", "%00")
MOMENTS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00Z", "2016-12-31T23:59:60Z")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def made(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """JSON for a type, seldom of another."""
    fitting = _made(kind)
    return st.integers(0, 29).flatmap(lambda chance: ANYTHING if chance == 0 else fitting)


def made_for(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """JSON for a struct."""
    return _made(inspect.type_info(kind))


def _made(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 - a table of types
    match kind:
        case inspect.Metadata(type=inner):
            return _made(inner)
        case inspect.UnionType(types=kinds):
            return st.one_of([_made(one) for one in kinds])
        case inspect.StructType(fields=fields, tag=tag, tag_field=tag_field):
            needed = {one.encode_name: made(one.type) for one in fields if one.required}
            other = {one.encode_name: made(one.type) for one in fields if not one.required}
            tagged = {tag_field: st.just(tag)} if tag_field else {}
            return st.fixed_dictionaries(needed | tagged, optional=other)
        case inspect.StrType(min_length=least, max_length=most):
            bounds = {length for length in (1, least, most, (most or 0) + 1) if length is not None and length < 2_000}
            letters = st.text("abz09-_", min_size=1, max_size=12)
            return letters | st.sampled_from(EDGES) | st.sampled_from(["x" * length for length in sorted(bounds)])
        case inspect.IntType(ge=least, le=most) | inspect.FloatType(ge=least, le=most):
            ends = [end for end in (least, most) if end is not None]
            near: list[float] = [0, 1, 10**19, *ends, *(end + step for end in ends for step in (-1, 1))]
            return st.sampled_from(near) | st.integers(0, 20)
        case inspect.ListType(item_type=inner):
            return st.lists(_made(inner), max_size=3)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_made(key).filter(lambda one: isinstance(one, str)), _made(value), max_size=3)
        case inspect.DateTimeType():
            return st.sampled_from(MOMENTS)
        case inspect.LiteralType(values=values):
            return st.sampled_from(list(values))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
    return ANYTHING
