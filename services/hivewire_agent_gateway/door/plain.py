"""Handlers that do nothing but pass on: most of the API."""

import msgspec
from starlette.responses import Response

from hivewire.commands import CATALOGUE
from hivewire_agent_gateway.door.calls import Call, Handler, json_response

API = "/api/v1"


def commanding(service: str, verb: str, *from_path: str) -> Handler:
    """A handler that sends the body as a command and answers with its reply."""
    kind = CATALOGUE[service][verb]

    async def handle(call: Call) -> Response:
        data = call.decode(kind, **{name: call.path[name] for name in from_path})
        return json_response(await call.command(service, verb, data))

    return handle


def reading(service: str, query: str, kind: type[msgspec.Struct], *from_path: str) -> Handler:
    """A handler that asks a service to read something."""

    async def handle(call: Call) -> Response:
        data = call.parameters(kind, **{name: call.path[name] for name in from_path})
        return json_response(await call.read(service, query, data))

    return handle
