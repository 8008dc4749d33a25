"""One request as a handler sees it, and how it becomes a command or a read on the bus."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response

from hivewire import codec, paging
from hivewire.errors import RefusedError
from hivewire_agent_gateway.door.callers import Caller
from hivewire_agent_gateway.door.place import Place

T = TypeVar("T", bound=msgspec.Struct)

_objects = dict[str, msgspec.Raw]


@dataclass(slots=True)
class Call:
    """A request from a proven caller."""

    caller: Caller
    place: Place
    path: Mapping[str, str]
    query: QueryParams
    headers: Mapping[str, str]
    body: bytes = b""

    def decode(self, kind: type[T], **given: object) -> T:
        """The body as `kind`, with what the path and the caller say in the place of whatever it says of that.

        Raises:
            RefusedError: it is malformed (400).
        """
        fields = codec.decode_as(self.body or b"{}", _objects, "body")
        if isinstance(fields, codec.Malformed):
            raise RefusedError(fields.reason, 400)
        merged = fields | {name: codec.raw(value) for name, value in given.items() if value is not None}
        return decoded(codec.encode(merged), kind)

    def parameters(self, kind: type[T], **given: object) -> T:
        """The query string as `kind`. A list's parameter may be repeated, or hold values between commas.

        Raises:
            RefusedError: a parameter is unknown or malformed (400).
        """
        known = _parameters(kind)
        values: dict[str, Any] = {}
        for name in self.query:
            if name not in known:
                raise RefusedError(f"unknown parameter {name[:40]!r}: there are {', '.join(sorted(known))}", 400)
            parts = self.query.getlist(name)
            values[name] = [part for text in parts for part in text.split(",")] if known[name] else parts[-1]
        try:
            found = msgspec.convert(values | given, kind, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(f"parameters: {error}", 400) from None
        return decoded(codec.encode(found), kind)

    def named(self, kind: type[T]) -> T:
        """What the path names, as `kind`.

        Raises:
            RefusedError: an id is malformed (400).
        """
        return decoded(codec.encode(self.path), kind)

    async def command(
        self, service: str, verb: str, data: msgspec.Struct, wanted: Any = msgspec.Raw, *, sender: str | None = None
    ) -> Any:
        """Send a command under the caller's name, or under that of `sender`, for whom the caller may speak. Its reply."""
        return await self.place.line.command_as(sender or self.caller.id, service, verb, data, wanted)

    async def read(self, service: str, query: str, data: msgspec.Struct, wanted: Any = msgspec.Raw) -> Any:
        """Ask for something under the caller's name."""
        return await self.place.line.read_as(self.caller.id, service, query, data, wanted)

    async def page(self, service: str, query: str, data: msgspec.Struct) -> Any:
        """Ask for a page of a listing; it is shorter than asked for where it would not fit into a message."""
        return await paging.page(partial(self.read, service, query), data)


@cache
def _parameters(kind: type[msgspec.Struct]) -> Mapping[str, bool]:
    """The names of all parameters, and whether each is a list."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return {one.encode_name: isinstance(one.type, msgspec.inspect.ListType) for one in described.fields}


def decoded(body: bytes, kind: type[T]) -> T:
    """A body as `kind`.

    Raises:
        RefusedError: it is malformed (400).
    """
    found = codec.decode_as(body, kind, "body")
    if isinstance(found, codec.Malformed):
        raise RefusedError(found.reason, 400)
    return found


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; what is encoded already stays as it is."""
    body = bytes(value) if isinstance(value, msgspec.Raw) else codec.encode(value)
    return Response(body, status, dict(headers or {}), "application/json")
