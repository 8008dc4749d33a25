"""Structs as their schema can be told: opaque JSON has no type there, and its default is a value.

msgspec makes JSON Schema of structs, but cannot write down a default that is encoded already.
"""

from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from hivewire import fields


def described(kind: Any) -> Any:
    """The type with every struct in it replaced by one that can be described."""
    if kind is msgspec.Raw:
        return Any
    origin, arguments = get_origin(kind), get_args(kind)
    struct = origin or kind
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return _shadow(kind)
    if origin is Annotated:
        return Annotated[(described(arguments[0]), *arguments[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(described(one) for one in arguments)]  # noqa: UP007 - made at run time
    if origin in (list, dict, tuple):
        return origin[tuple(described(one) for one in arguments)]
    return kind


@cache
def _shadow(kind: Any) -> type[msgspec.Struct]:
    struct: type[msgspec.Struct] = get_origin(kind) or kind
    config = struct.__struct_config__
    return msgspec.defstruct(
        struct.__name__ + "".join(one.__name__ for one in get_args(kind)),  # PageOf[TaskView] is a PageOfTaskView
        [_field(one) for one in msgspec.structs.fields(kind)],
        namespace={"__doc__": struct.__doc__},
        kw_only=True,
        module=struct.__module__,  # tells structs of the same name apart
        tag_field=config.tag_field,
        tag=config.tag,
        forbid_unknown_fields=config.forbid_unknown_fields,
    )


def _field(one: FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    told = described(one.type)
    if one.required:
        return one.encode_name, told
    if one.default_factory is not msgspec.NODEFAULT:
        return one.encode_name, told, msgspec.field(default_factory=one.default_factory)
    default = one.default
    if isinstance(default, msgspec.Raw):
        default = None if default is fields.ABSENT else msgspec.json.decode(default)
        if default == {}:
            return one.encode_name, told, msgspec.field(default_factory=dict)
    return one.encode_name, told, default
