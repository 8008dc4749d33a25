"""The OpenAPI document, made of the table of routes and the structs that it names."""

import re
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from hivewire import fields
from hivewire.described import described
from hivewire_agent_gateway.door.handlers.events import EventStream
from hivewire_agent_gateway.door.table import API, Route
from hivewire_agent_gateway.outbound import SIGNATURE_HEADER

REF: Final = "#/components/schemas/{name}"
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was seen.",
    "schema": {"type": "string"},
}
_ERRORS: Final = {
    "400": "malformed",
    "401": "no or wrong token",
    "403": "not allowed",
    "404": "unknown",
    "409": "wrong state",
    "413": "too large",
    "422": "refused",
    "429": "too many requests",
    "503": "a service does not answer",
}


class ErrorAnswer(msgspec.Struct):
    """Every error."""

    error: str
    detail: dict[str, Any] = {}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    kinds = [kind for route in routes for kind in _kinds(route)]
    told = [described(kind) for kind in (*kinds, ErrorAnswer)]
    schemas, components = msgspec.json.schema_components(told, ref_template=REF)
    found = dict(zip(kinds, schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"{API}{route.path}", {})[route.method.lower()] = _operation(route, found, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "hivewire", "version": version("hivewire"), "description": "Dispatch for fleets of agents."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "agent": {"type": "apiKey", "in": "header", "name": "X-Agent-ID"},
                "signature": {"type": "apiKey", "in": "header", "name": SIGNATURE_HEADER},
            },
        },
        "security": [{"token": [], "agent": []}],
    }


def _kinds(route: Route) -> list[Any]:
    """All types that a route's description names."""
    answer = None if route.answer is EventStream else route.answer
    return [kind for kind in (route.action.body, route.action.parameters, answer) if kind is not None]


def _operation(route: Route, found: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path)}",
        "summary": _first_sentence(route.summary),
        "description": route.summary,
        "x-roles": sorted(route.roles),
        "tags": [route.path.split("/")[1]],
        "parameters": _parameters(route, found, components),
        "responses": _responses(route, found),
    }
    if route.signed:
        operation["security"] = [{"token": [], "agent": []}, {"signature": [], "agent": []}]
    if route.action.body is not None:
        schema = _without(_resolved(found[route.action.body], components), route.unsaid)
        operation["requestBody"] = {
            "required": bool(schema.get("required")),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")


def _parameters(route: Route, found: dict[Any, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    of_query: dict[str, Any] = {}
    if route.action.parameters is not None:
        of_query = _resolved(found[route.action.parameters], components)["properties"]
    token = msgspec.json.schema(fields.Token)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": of_query.get(name, token)} for name in route.names
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "style": "form", "explode": False, "schema": schema}
        for name, schema in of_query.items()
        if name not in route.unsaid
    ]
    return [*parameters, _LAST_EVENT] if route.answer is EventStream else parameters


def _responses(route: Route, found: dict[Any, Any]) -> dict[str, Any]:
    if route.answer is EventStream:
        content = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": found[route.answer]}}
    done = {str(status): {"description": "done", "content": content} for status in route.statuses}
    error = {"application/json": {"schema": {"$ref": REF.format(name="ErrorAnswer")}}}
    return done | {status: {"description": what, "content": error} for status, what in _ERRORS.items()}


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return resolved


def _without(schema: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An object's schema without the fields that the path and the caller say."""
    left = {name: part for name, part in schema["properties"].items() if name not in names}
    required = [name for name in schema.get("required", ()) if name not in names]
    return {**schema, "properties": left, "required": required}
