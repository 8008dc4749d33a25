"""The OpenAPI document, made of the table of routes and the structs that it names."""

import re
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from typing import Any, Final

import msgspec

from hivewire import fields
from hivewire.described import described
from hivewire_agent_gateway.door.calls import OPERATORS, Route

REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"{(\w+)}")
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
    kinds = [kind for route in routes for kind in (route.body, route.answer, route.parameters) if kind is not None]
    told = [described(kind) for kind in (*kinds, ErrorAnswer)]
    schemas, components = msgspec.json.schema_components(told, ref_template=REF)
    found = dict(zip([id(kind) for kind in kinds], schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, found, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "hivewire", "version": version("hivewire"), "description": "Dispatch for fleets of agents."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "agent": {"type": "apiKey", "in": "header", "name": "X-Agent-ID"},
            },
        },
        "security": [{"token": [], "agent": []}],
    }


def _operation(route: Route, found: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    token_schema = msgspec.json.schema(fields.Token)
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path.removeprefix('/api/v1'))}",
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": token_schema}
            for name in _PARAMETER.findall(route.path)
        ],
        "responses": _responses(route, found),
    }
    if route.roles == OPERATORS:
        operation["description"] = "For operators."
    if route.parameters is not None:
        schema = _resolved(found[id(route.parameters)], components)
        operation["parameters"] += [
            {"name": name, "in": "query", "required": False, "style": "form", "explode": False, "schema": part}
            for name, part in schema["properties"].items()
            if name not in route.given
        ]
    if route.body is not None:
        schema = _without(_resolved(found[id(route.body)], components), route.given)
        operation["requestBody"] = {
            "required": bool(schema.get("required")),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _responses(route: Route, found: dict[int, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "done"}
    if route.answer is not None:
        good["content"] = {"application/json": {"schema": found[id(route.answer)]}}
    error = {"schema": {"$ref": REF.format(name="ErrorAnswer")}}
    responses = {str(status): good for status in (route.status, *route.statuses)}
    return responses | {
        status: {"description": what, "content": {"application/json": error}} for status, what in _ERRORS.items()
    }


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return resolved


def _without(schema: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """An object's schema without the fields that the path and the caller say."""
    left = {name: part for name, part in schema["properties"].items() if name not in names}
    required = [name for name in schema.get("required", ()) if name not in names]
    return {**schema, "properties": left, "required": required}


def page(doc: dict[str, Any]) -> str:
    """The document for people: every route with what it takes."""
    rows = []
    for path, operations in doc["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            needed = set(body.get("required", ()))
            takes = [
                f"<b>{escape(name)}</b>" if name in needed else escape(name) for name in body.get("properties", {})
            ]
            takes += [f"?{escape(one['name'])}" for one in operation["parameters"] if one["in"] == "query"]
            who = "operator" if operation.get("description") else ""
            rows.append(
                f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(operation['summary'])}</td>"
                f"<td>{', '.join(takes)}</td><td>{who}</td></tr>"
            )
    return _PAGE.format(rows="\n".join(rows), version=escape(doc["info"]["version"]))


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>hivewire API</title>
<style>body{{font:15px/1.5 system-ui;margin:2rem auto;max-width:75rem;padding:0 1rem}}table{{border-collapse:collapse}}
td,th{{border-bottom:1px solid #8884;padding:.35rem .6rem;text-align:left;vertical-align:top}}</style>
<h1>hivewire {version}</h1>
<p>Send <code>X-Agent-ID</code> and <code>Authorization: Bearer &lt;token&gt;</code>; <code>hivewire token create</code>
makes tokens. Errors are <code>{{"error": ..., "detail": ...}}</code>. The whole description is
<a href="/openapi.json">openapi.json</a>; remote agents connect to <code>/ws/agent-bridge</code>.</p>
<table><tr><th>route</th><th>what</th><th>takes</th><th>who</th></tr>
{rows}
</table></html>
"""
