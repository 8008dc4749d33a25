"""The OpenAPI document for people: one page of HTML that needs nothing else, neither scripts nor the internet."""

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from itertools import groupby
from typing import Any, Final

Schema = Mapping[str, Any]
Routes = list[tuple[str, str, Schema]]

_BOUNDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "maxLength": "up to",
}
"""How the limits of a number, and of a text's characters, read."""
_EVERYBODY: Final = 3
"""So many roles there are."""


# --- what the document says, in words ------------------------------------------------------------------
def by_tag(document: Schema) -> Iterable[tuple[str, Routes]]:
    """The routes as (path, method, operation), under what they are about."""
    routes = [
        (path, method.upper(), operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return ((name, list(group)) for name, group in groupby(sorted(routes, key=_tag), key=_tag))


def _tag(route: tuple[str, str, Schema]) -> str:
    return str(route[2]["tags"][0])


def who(operation: Schema) -> str:
    """Who may."""
    roles = operation["x-roles"]
    return "any role" if len(roles) == _EVERYBODY else " or ".join(roles)


def query_of(operation: Schema) -> dict[str, Schema]:
    """What may be in the query string."""
    return {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}


def body_of(operation: Schema) -> dict[str, Schema]:
    """What may be in the body."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    found: dict[str, Schema] = body.get("properties", {})
    return found


def answers_of(operation: Schema, link: Callable[[str], str] = str) -> str:
    """What comes back when all is well."""
    return ", ".join(
        f"{status} with {'a stream of events' if 'event-stream' in kind else in_words(content['schema'], link)}"
        for status, response in sorted(operation["responses"].items())
        for kind, content in response["content"].items()
        if status.startswith("2")
    )


def in_words(schema: Schema, link: Callable[[str], str] = str, value: Callable[[str], str] = str) -> str:
    """A schema in a few words. `link` shows the name of a structure, `value` one of several allowed values."""
    match schema:
        case {"$ref": reference}:
            words = link(reference.rpartition("/")[2])
        case {"anyOf": alternatives}:
            words = " or ".join(dict.fromkeys(in_words(one, link, value) for one in alternatives))
        case {"enum": values}:
            words = ", ".join(value(str(one)) for one in values)
        case {"type": "array", "items": items}:
            words = f"list of {in_words(items, link, value)}"
        case {"type": "object", "additionalProperties": {"type": _}}:
            words = f"object of {in_words(schema['additionalProperties'], link, value)}"
        case {"type": kind}:
            bounds = [f"{sign} {_number(schema[name])}" for name, sign in _BOUNDS.items() if name in schema]
            words = f"{kind} ({', '.join(bounds)})" if bounds else str(kind)
        case _:
            words = "JSON"
    return words


def default_of(schema: Schema) -> str:
    """What a field is where it is left out; empty where that is nothing, or where it must not be."""
    return json.dumps(schema["default"]) if schema.get("default") is not None else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


# --- HTML ---------------------------------------------------------------------------------------------
def page(document: Schema) -> str:
    """The whole page: every route with who may, what it takes and what it answers."""
    groups = list(by_tag(document))
    schemas = document["components"]["schemas"]
    return _PAGE.format(
        version=escape(document["info"]["version"]),
        contents=" · ".join(f'<a href="#{name}">{name}</a>' for name, _ in groups),
        routes="\n".join(f'<h2 id="{name}">{name}</h2>\n' + "\n".join(map(_route, group)) for name, group in groups),
        structures="\n".join(_structure(name, schemas[name]) for name in sorted(schemas)),
    )


def _route(route: tuple[str, str, Schema]) -> str:
    path, method, operation = route
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> <i>{escape(operation['summary'])}</i></summary>"
        f"<p>{escape(operation['description'])}</p><p>For {who(operation)}. Answers {answers_of(operation, _link)}.</p>"
        f"{_table('in the query', query_of(operation))}{_table('in the body', body_of(operation))}</details>"
    )


def _structure(name: str, schema: Schema) -> str:
    return (
        f"<details><summary><code>{escape(name)}</code></summary>"
        f'<p id="{escape(name)}">{escape(schema.get("description", ""))}</p>{_table("field", schema.get("properties", {}))}</details>'
    )


def _table(what: str, fields: Mapping[str, Schema]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{in_words(schema, _link, escape)}<td><code>{escape(default_of(schema))}</code>"
        for name, schema in fields.items()
    )
    return f"<table><tr><th>{what}<th>type<th>default{rows}</table>" if rows else ""


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>hivewire API</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
h2 {{ margin: 2rem 0 .5rem }}
pre {{ background: #8882; overflow-x: auto; padding: .7rem 1rem }}
details {{ border-bottom: 1px solid #8884; padding: .3rem 0 }}
details > :not(summary) {{ margin: .5rem 0 .7rem 5rem }}
summary {{ cursor: pointer; overflow-wrap: anywhere }}
summary b {{ display: inline-block; font-size: 85%; width: 4.2rem }}
summary i {{ font-style: normal; margin-left: .6rem; opacity: .7 }}
table {{ border-collapse: collapse }}
td, th {{ border-top: 1px solid #8884; padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }}
</style>
<h1>hivewire {version}</h1>
<p>A caller names itself, and proves it with a token that <code>hivewire token create NAME --role ROLE</code> makes:</p>
<pre>curl http://localhost:8600/api/v1/tasks -d '{{"title": "Try it"}}' \\
    -H "X-Agent-ID: alice" -H "Authorization: Bearer $TOKEN"</pre>
<p>Errors are <code>{{"error": "...", "detail": {{...}}}}</code>. In the tables a field without a default is needed, unless it may be
null. Programs read the same in <a href="/openapi.json">openapi.json</a>. Remote agents connect to
<code>/ws/agent-bridge</code>.</p>
<p>{contents} · <a href="#structures">structures</a></p>
{routes}
<h2 id="structures">structures</h2>
{structures}
</html>
"""
