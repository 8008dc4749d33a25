"""One request as a handler sees it, and how it becomes a command or a read on the bus."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response

from hivewire import codec, limits
from hivewire.admin import Role
from hivewire.errors import RefusedError
from hivewire_agent_gateway.door.callers import Caller
from hivewire_agent_gateway.door.place import Place

T = TypeVar("T", bound=msgspec.Struct)

REQUEST_S = limits.REQUEST_TIMEOUT_S

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
        known = {one.encode_name: one.type for one in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name in self.query:
            if name not in known:
                raise RefusedError(f"unknown parameter {name[:40]!r}: there are {', '.join(sorted(known))}", 400)
            parts = self.query.getlist(name)
            is_list = getattr(known[name], "__origin__", None) is list or "list" in str(known[name])
            values[name] = [part for text in parts for part in text.split(",")] if is_list else parts[-1]
        try:
            found = msgspec.convert(values | given, kind, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(f"parameters: {error}", 400) from None
        return decoded(codec.encode(found), kind)

    def parameters_of_path(self, kind: type[T], *names: str) -> T:
        """What the path names, as `kind`.

        Raises:
            RefusedError: an id is malformed (400).
        """
        return decoded(codec.encode({name: self.path[name] for name in names}), kind)

    async def command(self, service: str, verb: str, data: msgspec.Struct, wanted: type[Any] = msgspec.Raw) -> Any:
        """Send a command under the caller's name; its reply."""
        return await self.place.line.command_as(self.caller.id, service, verb, data, wanted, timeout_s=REQUEST_S)

    async def read(self, service: str, query: str, data: msgspec.Struct, wanted: type[Any] = msgspec.Raw) -> Any:
        """Ask for something under the caller's name."""
        return await self.place.line.read_as(self.caller.id, service, query, data, wanted, timeout_s=REQUEST_S)


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


Handler = Callable[[Call], Awaitable[Response]]
Roles = frozenset[Role]

ANYBODY: Roles = frozenset({"agent", "publisher", "operator"})
AGENTS: Roles = frozenset({"agent", "operator"})
OPERATORS: Roles = frozenset({"operator"})


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table that both the application and its OpenAPI document are made of.

    `body` is the struct that the body is read as, `given` those of its fields that the path or the caller says.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    summary: str
    handler: Handler
    roles: Roles = ANYBODY
    body: Any = None
    given: tuple[str, ...] = ()
    parameters: type[msgspec.Struct] | None = None
    answer: Any = None
    status: int = 200
    statuses: tuple[int, ...] = ()
    tag: str = field(default="")
