"""One request as a handler sees it, and how it becomes a command or a read on the bus."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response

from hivewire import codec, paging
from hivewire.errors import RefusedError
from hivewire_agent_gateway.door.callers import Caller
from hivewire_agent_gateway.door.place import Place

T = TypeVar("T", bound=msgspec.Struct)

_objects = dict[str, msgspec.Raw]
_WORDS: Final = {"true": True, "false": False}
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)


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

    def parameters(self, kind: type[T], **given: str) -> T:
        """The query string as `kind`, with what the path says. A list's parameter may be repeated, or hold values between commas.

        Raises:
            RefusedError: a parameter is unknown or malformed (400).
        """
        known = _parameters(kind)
        values: dict[str, Any] = {}
        for name in self.query:
            if name not in known:
                raise RefusedError(f"unknown parameter {name[:40]!r}: there are {', '.join(sorted(known))}", 400)
            values[name] = known[name](self.query.getlist(name))
        values |= {name: known[name]([text]) for name, text in given.items()}
        return decoded(codec.encode(values), kind, "parameters")

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
def _parameters(kind: type[msgspec.Struct]) -> Mapping[str, Callable[[list[str]], Any]]:
    """How each parameter is read from what the query string has of it."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return {one.encode_name: _reader(one.type) for one in described.fields}


def _reader(kind: msgspec.inspect.Type) -> Callable[[list[str]], Any]:
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    if any(isinstance(one, msgspec.inspect.ListType) for one in kinds):
        return lambda given: [part for text in given for part in text.split(",")]
    if any(isinstance(one, (msgspec.inspect.IntType, msgspec.inspect.BoolType)) for one in kinds):
        return lambda given: _WORDS.get(given[-1], int(given[-1]) if _NUMBER.fullmatch(given[-1]) else given[-1])
    return lambda given: given[-1]


def decoded(body: bytes, kind: type[T], what: str = "body") -> T:
    """JSON as `kind`.

    Raises:
        RefusedError: it is malformed (400).
    """
    found = codec.decode_as(body, kind, what)
    if isinstance(found, codec.Malformed):
        raise RefusedError(found.reason, 400)
    return found


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; what is encoded already stays as it is."""
    body = bytes(value) if isinstance(value, msgspec.Raw) else codec.encode(value)
    return Response(body, status, dict(headers or {}), "application/json")
