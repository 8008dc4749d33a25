"""Writes the reference of the HTTP API from its OpenAPI document. `make docs` runs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hivewire_agent_gateway.door.openapi import document
from hivewire_agent_gateway.door.page import Schema, answers_of, body_of, by_tag, default_of, in_words, query_of, who
from hivewire_agent_gateway.door.routes import ROUTES

PAGE = Path(__file__).parent / "reference" / "http.md"
INTRODUCTION = """\
# Routes of the HTTP API

Written by `make docs` from the table of routes; `hivewire openapi` prints the same as an OpenAPI 3.1 document, which a door
serves at `/openapi.json`. What holds for every route (who may call, errors, pages, repeats, limits) is in
[the HTTP API](../http.md). A field without a default is needed, unless it may be null. Beside these routes a door has
`GET /health`, `GET /ready`, `GET /docs` and the WebSocket `/ws/agent-bridge` for [remote agents](../remote-agents.md).
"""


def page() -> str:
    """The whole page."""
    described = document(ROUTES)
    groups = list(by_tag(described))
    sections = (f"\n## {tag}\n" + "".join(_route(*route) for route in group) for tag, group in groups)
    operations = [operation for _, group in groups for _, _, operation in group]
    return INTRODUCTION + "".join(sections) + _structures(operations, described["components"]["schemas"])


def _route(path: str, method: str, operation: Schema) -> str:
    text = f"\n### {method} {path}\n\n{' '.join(operation['description'].split()).removesuffix('.')}.\n"
    text += f"For {who(operation)}. Answers {answers_of(operation, _link)}.\n"
    return text + _table("in the query", query_of(operation)) + _table("in the body", body_of(operation))


def _table(what: str, fields: Mapping[str, Schema]) -> str:
    rows = [
        f"| `{name}` | {in_words(schema, _link, _code)} | {_code(default_of(schema))} |\n"
        for name, schema in fields.items()
    ]
    return f"\n| {what} | type | default |\n|---|---|---|\n" + "".join(rows) if rows else ""


def _structures(operations: Sequence[Schema], schemas: Mapping[str, Schema]) -> str:
    """Every structure that an answer or a field names."""
    shown: set[str] = set()
    waiting = _named([*operations, {"$ref": "ErrorAnswer"}])
    while waiting - shown:
        name = min(waiting - shown)
        shown.add(name)
        waiting |= _named(schemas[name])
    return "\n## Structures\n" + "".join(_structure(name, schemas[name]) for name in sorted(shown))


def _structure(name: str, schema: Schema) -> str:
    said = " ".join(schema.get("description", "").split())
    return f"\n### {name}\n\n{said}\n{_table('field', schema.get('properties', {}))}"


def _named(schema: Any) -> set[str]:
    """The structures that a description refers to."""
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return own.union(*(_named(part) for part in schema.values()))
    return set().union(*(_named(part) for part in schema)) if isinstance(schema, list) else set()


def _link(name: str) -> str:
    return f"[{name}](#{name.lower().replace('.', '')})"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page())
