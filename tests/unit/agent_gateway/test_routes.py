"""The table of the HTTP routes as a whole."""

import re

from hivewire import reads
from hivewire.commands import CATALOGUE
from hivewire_agent_gateway.door import openapi, page
from hivewire_agent_gateway.door.routes import ROUTES
from hivewire_agent_gateway.door.table import Command, Create, Read, ReadByBody
from hivewire_service.roles import AGENT_VERBS, PUBLISHER_VERBS

OWN = (
    {("broker", verb) for verb in ("start", "progress", "complete", "fail", "update")}
    | {("agent-gateway", verb) for verb in ("register", "leave", "dispatch", "dispatch_batch", "take", "respond")}
    | {("tick-engine", "create"), ("tick-engine", "fork")}
)
"""Commands that handlers of the door send."""

BUS_ONLY = {
    ("broker", "report_batch"),  # many reports in one message
    ("agent-gateway", "disconnected"),  # a door says it
    ("agent-gateway", "progress"),  # of a session: WebSocket
    ("agent-gateway", "disconnected"),  # a door tells it of its bridges
    ("conversation", "receive"),  # an inbox says what it took
}


def commands():
    return [route for route in ROUTES if isinstance(route.action, (Command, Create))]


def test_no_route_is_there_twice():
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))


def test_every_command_and_every_read_can_be_had_over_http():
    verbs = {(service, verb) for service, kinds in CATALOGUE.items() for verb in kinds}
    assert verbs == {(route.action.service, route.action.verb) for route in commands()} | OWN | BUS_ONLY
    queries = {query for kinds in reads.CATALOGUE.values() for query in kinds}
    assert queries == {route.action.query for route in ROUTES if isinstance(route.action, (Read, ReadByBody))}


def test_nobody_may_do_over_http_what_he_may_not_over_nats():
    """Agents may what publishers may as well."""
    for route in commands():
        service, verb = route.action.service, route.action.verb
        publishers = verb in PUBLISHER_VERBS.get(service, ())
        may = {
            "operator": True,
            "publisher": publishers,
            "agent": publishers or verb in AGENT_VERBS.get(service, ()),
        }
        assert all(may[role] for role in route.roles), f"{route.method} {route.path}"


def test_what_a_path_names_is_a_field_of_what_the_route_takes():
    for route in ROUTES:
        for kind in (route.action.body, route.action.parameters):
            if isinstance(route.action, (Command, Create, Read, ReadByBody)) and kind is not None:
                assert set(route.names) <= set(kind.__struct_fields__), route.path


def test_every_operation_is_described():
    document = openapi.document(ROUTES)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    assert all(operation["summary"] for operation in operations)


def test_the_page_for_people_shows_every_route_and_needs_nothing_from_elsewhere():
    shown = page.page(openapi.document(ROUTES))
    assert all(f"<b>{route.method}</b> <code>/api/v1{route.path}</code>" in shown for route in ROUTES)
    assert set(re.findall(r'href="([^"#]+)', shown)) == {"/openapi.json"}
    assert not re.search(r"<script|<link|<img|src=|url\(|@import", shown)
    linked = set(re.findall(r'href="#([^"]+)', shown))
    assert linked <= set(re.findall(r'id="([^"]+)', shown))
