"""Every route of the table says no as it should: who calls, to what, with what, when."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from hivewire_agent_gateway.door.routes import ROUTES
from hivewire_agent_gateway.door.table import ANYBODY, API, Route

from .http_hive import CALLERS, HttpHive, check, whole_hive

ONE_OF = {role: name for name, role in reversed(CALLERS.items())}
"""A caller of each role."""

BODIES = {
    "POST /tasks": {"title": "x"},
    "PATCH /tasks/{task_id}": {"priority": 3},
    "PATCH /phases/{phase_id}": {"depends_on": []},
    "POST /conversations/{conversation_id}/answer": {"answer": 1},
    "POST /simulations/{simulation_id}/messages": {"to": "a", "content": 1},
    "POST /simulations/{simulation_id}/respond": {"dispatch_id": "d1"},
    "POST /simulations/{simulation_id}/fork": {"at": 1},
}
"""What a route needs to get as far as its entity."""

EXAMPLES = int(os.environ.get("HIVEWIRE_FUZZ_EXAMPLES", "0"))
"""Made-up requests for each operation in each of the phases; 0: a short run."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "missing_required_header",
    "negative_data_rejection",
)
SETTINGS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 422]
"""

ENDED = {"task_id": "done", "session_id": "over", "conversation_id": "withdrawn", "simulation_id": "empty"}
WRONG_STATE = (
    "PATCH /tasks/{task_id}",
    "POST /tasks/{task_id}/cancel",
    "POST /tasks/{task_id}/approve",
    "POST /tasks/{task_id}/reject",
    "POST /tasks/{task_id}/block",
    "POST /tasks/{task_id}/unblock",
    "POST /tasks/{task_id}/retry",
    "POST /tasks/{task_id}/queue",
    "POST /tasks/{task_id}/dispatch",
    "POST /dead-letters/{task_id}/replay",
    "POST /sessions/{session_id}/response",
    "GET /sessions/{session_id}/response",
    "POST /conversations/{conversation_id}/answer",
    "POST /simulations/{simulation_id}/start",
    "POST /simulations/{simulation_id}/pause",
    "POST /simulations/{simulation_id}/tick",
    "POST /simulations/{simulation_id}/ticks",
    "POST /simulations/{simulation_id}/messages",
    "POST /simulations/{simulation_id}/respond",
)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def every(routes=ROUTES):
    return pytest.mark.parametrize("route", routes, ids=name)


def ask(client: httpx.Client, route: Route, ids: str | dict[str, str] = "nobody", **options) -> httpx.Response:
    known = ids if isinstance(ids, dict) else dict.fromkeys(route.names, ids)
    path = route.path.format_map(known)
    if route.action.body is not None and "content" not in options:
        options["json"] = BODIES.get(name(route), {})
    return client.request(route.method, path, **options)


def may(route: Route) -> str:
    """Somebody who may take this route."""
    return next(caller for caller, role in CALLERS.items() if role in route.roles)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hive(shared_hive) -> AsyncIterator[HttpHive]:
    async with whole_hive(shared_hive) as running:
        yield running


@pytest.fixture(scope="module")
def ended(hive: HttpHive) -> None:
    """One of each that is in no state for anything."""
    pub, remote, boss = map(hive.client, ("pub", "remote", "boss"))
    made = [
        pub.post("/tasks", json={"title": "x", "id": "done"}),
        pub.post("/tasks/done/complete", json={}),
        remote.post("/agents", json={"agent_type": "remote"}),
        pub.post("/sessions", json={"agent_id": "remote", "content": 1, "id": "over"}),
        pub.post("/sessions/over/cancel", json={}),
        pub.post("/conversations", json={"target": "agent:remote", "question": 1, "id": "withdrawn"}),
        pub.post("/conversations/withdrawn/withdraw", json={}),
        boss.post("/simulations", json={"simulation_id": "empty"}),
    ]
    assert [answer.text for answer in made if not answer.is_success] == []


@every()
def test_nobody(hive, route):
    answer = ask(hive.client(None), route)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    check(route, answer)


@every()
def test_a_wrong_token(hive, route):
    assert ask(hive.client("boss", hive.tokens["ann"]), route).status_code == 401


@every([route for route in ROUTES if route.roles != ANYBODY])
def test_a_wrong_role(hive, route):
    for role in ANYBODY - route.roles:
        assert ask(hive.client(ONE_OF[role]), route).status_code == 403


@every([route for route in ROUTES if route.names])
def test_an_unknown_id(hive, route):
    answer = ask(hive.client(may(route)), route, "123456" if route.names == ("reject_id",) else "nobody")
    assert answer.status_code == 404, answer.text
    check(route, answer)


@every([route for route in ROUTES if route.names])
def test_a_malformed_id(hive, route):
    answer = ask(hive.client(may(route)), route, "a b")
    assert answer.status_code == 400, answer.text
    check(route, answer)


@every([route for route in ROUTES if route.action.body is not None])
def test_a_malformed_body(hive, route):
    for body in (b"{", b"[1]", b"[" * 100_000, b'"\xff"'):
        assert ask(hive.client(may(route)), route, content=body).status_code == 400


@every([route for route in ROUTES if route.action.parameters is not None])
def test_an_unknown_parameter(hive, route):
    assert ask(hive.client(may(route)), route, params={"nonsense": "1"}).status_code in {400, 404}


@every([route for route in ROUTES if name(route) in WRONG_STATE])
def test_a_wrong_state(hive, ended, route):
    asked = name(route)
    caller = "remote" if asked.endswith("/answer") or asked.startswith("POST /sessions") else may(route)
    answer = ask(hive.client(caller), route, ENDED)
    assert answer.status_code == 409, answer.text
    check(route, answer)


def test_every_wrong_state_is_of_a_route():
    assert set(WRONG_STATE) <= set(map(name, ROUTES))
    assert set(BODIES) <= set(map(name, ROUTES))


async def test_no_request_is_answered_otherwise_than_described(hive, tmp_path: Path):
    """schemathesis makes requests of the OpenAPI document, valid and not. It comes last: it leaves much behind."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    fuzzing = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "schemathesis",
        "run",
        f"{hive.url}/openapi.json",
        f"--checks={','.join(CHECKS)}",
        "--header=X-Agent-ID: boss",
        f"--header=Authorization: Bearer {hive.tokens['boss']}",
        f"--exclude-path={API}/events/stream",
        f"--phases={'examples,coverage,fuzzing,stateful' if EXAMPLES else 'fuzzing'}",
        f"--max-examples={EXAMPLES or 3}",
        "--suppress-health-check=all",
        "--request-timeout=30",
        "--continue-on-failure",
        "--warnings=off",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await fuzzing.communicate()
    print(told.decode())
    assert fuzzing.returncode == 0
