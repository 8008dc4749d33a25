"""Every route of the table does what it says, and answers as the OpenAPI document has it."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest_asyncio
from websockets.sync.client import ClientConnection, connect

from hivewire_agent_gateway.door import routes
from hivewire_agent_gateway.door.handlers.events import EventStream
from hivewire_agent_gateway.door.table import Route

from .http_hive import HttpHive, check, whole_hive

WEIGHTS = {"availability": 0.5, "policy": 0.5} | dict.fromkeys(
    ("trust", "cost", "duration", "breadth", "affinity", "specialisation"), 0.0
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hive(shared_hive) -> AsyncIterator[HttpHive]:
    async with whole_hive(shared_hive) as running:
        yield running


class Walk:
    """Calls routes by their row of the table, and knows which were called."""

    def __init__(self, hive: HttpHive, section: tuple[Route, ...]) -> None:
        self._hive = hive
        self._routes = {f"{route.method} {route.path}": route for route in section}
        self.left = {key for key, route in self._routes.items() if route.answer is not EventStream}

    def __call__(
        self, who: str, key: str, body: Any = None, *, params: Any = None, status: int | None = None, **ids: str
    ) -> Any:
        route = self._routes[key]
        client = self._hive.client(who)
        options = {} if body is None else {"json": body}
        answer = client.request(route.method, route.path.format_map(ids), params=params, **options)
        assert answer.status_code == (status or route.statuses[0]), f"{key}: {answer.status_code} {answer.text}"
        self.left.discard(key)
        return check(route, answer)

    def until(self, wanted: Callable[[Any], bool], who: str, key: str, **ids: str) -> Any:
        """What a route answers once it is as it should be."""
        while not wanted(found := self(who, key, **ids)):
            time.sleep(0.05)
        return found


@contextmanager
def bridge(hive: HttpHive, name: str, capability: str) -> Iterator[ClientConnection]:
    """A remote agent that does what the test has it do."""
    with connect(f"{hive.url.replace('http', 'ws')}/ws/agent-bridge") as socket:
        register = {"type": "register", "agent_id": name, "auth_token": hive.tokens[name]}
        socket.send(json.dumps(register | {"capabilities": [capability]}))
        given(socket, "registered")
        yield socket


def given(socket: ClientConnection, kind: str = "dispatch") -> dict:
    while (message := json.loads(socket.recv()))["type"] != kind:
        pass
    return message


def respond(socket: ClientConnection, dispatch: dict, content: Any) -> None:
    answer = {"type": "response", "message_id": dispatch["message_id"], "agent_id": dispatch["agent_id"]}
    socket.send(json.dumps(answer | {"content": content}))


def test_tasks(hive):
    go = Walk(hive, routes.TASKS)
    one, needs = "/tasks/{task_id}", {"title": "Work", "required_capabilities": ["work"]}
    with bridge(hive, "ann", "work") as ann:
        made = go("pub", "POST /tasks", needs | {"id": "t1", "payload": {"a": [1]}})
        assert (made["owner"], made["payload"]) == ("pub", {"a": [1]})
        go("pub", "POST /tasks", needs | {"id": "t1", "payload": {"a": [1]}}, status=200)
        go("pub", "POST /tasks", needs | {"id": "t1"}, status=409)
        given(ann)
        go("ann", f"POST {one}/start", {}, task_id="t1")
        go("ann", f"POST {one}/progress", {"progress": 0.5, "message": "half"}, task_id="t1")
        go("remote", f"POST {one}/complete", {"result": 1}, task_id="t1", status=403)
        go("ann", f"POST {one}/complete", {"result": 7, "attempt": 2}, task_id="t1", status=409)
        go("ann", f"POST {one}/complete", {"result": 7}, task_id="t1")
        assert go("pub", f"GET {one}", task_id="t1")["result"] == 7
        assert go("pub", f"GET {one}/explain", task_id="t1")["agent_id"] == "ann"
        assert go("pub", f"POST {one}/explain", {"weights": WEIGHTS}, task_id="t1")["winner"] == "ann"
        history = go("pub", f"GET {one}/events", params={"limit": 2}, task_id="t1")
        assert [event["type"] for event in history["items"]] == ["task.created", "task.queued"]
        rest = go("pub", f"GET {one}/events", params={"cursor": history["cursor"]}, task_id="t1")
        assert rest["items"][-1]["type"] == "task.completed"

        go("pub", "POST /tasks", needs | {"id": "t2", "type": "checkpoint:human", "max_retries": 0})
        go("boss", f"POST {one}/dispatch", {"agent_id": "ann"}, task_id="t2")
        given(ann)
        go("ann", f"POST {one}/fail", {"error": "no", "retry": False}, task_id="t2")

        go("pub", "POST /tasks", needs | {"id": "t3", "requires_approval": True})
        respond(ann, given(ann), "first")
        go.until(lambda task: task["status"] == "pending_approval", "pub", f"GET {one}", task_id="t3")
        go("boss", f"POST {one}/reject", {"reason": "better, please"}, task_id="t3")
        respond(ann, given(ann), "second")
        go.until(lambda task: task["status"] == "pending_approval", "pub", f"GET {one}", task_id="t3")
        assert go("boss", f"POST {one}/approve", task_id="t3")["status"] == "completed"

    batch = go("pub", "POST /tasks/batch", {"tasks": [{"title": "a", "required_capabilities": ["none"]}, {"title": 1}]})
    assert ["error" in item for item in batch["items"]] == [False, True]
    idle = batch["items"][0]["task_id"]
    assert "agent" in go("pub", f"GET {one}/why", task_id=idle)["sentence"]
    changed = go("pub", f"PATCH {one}", {"priority": "high", "labels": {"a": "b"}, "metadata": {"m": 1}}, task_id=idle)
    assert (changed["priority"], changed["labels"], changed["metadata"]) == (8, {"a": "b"}, {"m": 1})
    go("pub", f"PATCH {one}", {"status": "done"}, task_id=idle, status=400)
    for verb, status in (("block", "blocked"), ("unblock", "pending"), ("queue", "pending"), ("cancel", "cancelled")):
        assert go("pub", f"POST {one}/{verb}", {}, task_id=idle)["status"] == status
    assert go("pub", f"POST {one}/retry", {}, task_id=idle)["status"] == "pending"
    assert go("pub", f"PATCH {one}", {"status": "cancelled"}, task_id=idle)["status"] == "cancelled"
    listed = go("pub", "GET /tasks", params={"status": "completed,failed", "limit": 2})
    assert len(listed["items"]) == 2
    assert go("pub", "GET /tasks", params={"status": "completed,failed", "cursor": listed["cursor"]})["items"]
    assert not go.left


def test_a_task_without_an_agent_is_completed_by_its_owner_or_an_operator(hive):
    go = Walk(hive, routes.TASKS)
    complete, task = "POST /tasks/{task_id}/complete", {"title": "By hand", "required_capabilities": ["hands"]}
    for task_id in ("h1", "h2"):
        go("pub", "POST /tasks", task | {"id": task_id})
    go("ann", complete, {}, task_id="h1", status=403)
    assert go("pub", complete, {"result": "done"}, task_id="h1")["status"] == "completed"
    assert go("boss", complete, {}, task_id="h2")["status"] == "completed"


def test_the_queue(hive):
    go = Walk(hive, routes.QUEUE)
    tasks = Walk(hive, routes.TASKS)
    with bridge(hive, "remote", "queued") as remote:
        for number in range(3):
            task = {"id": f"q{number}", "title": "Later", "required_capabilities": ["queued"], "category": "plan"}
            tasks("pub", "POST /tasks", task | {"priority": 10 - number})
        first = go("pub", "GET /queue", params={"limit": 2})
        second = go("pub", "GET /queue", params={"limit": 2, "cursor": first["cursor"]})
        assert [task["task_id"] for task in first["items"]] == ["q0", "q1"]
        assert second["items"][0]["task_id"] == "q2"
        assert go("boss", "GET /stats")["tasks"]["pending"] >= 3
        tasks("pub", "POST /tasks", task | {"id": "q9", "category": "execute", "required_capabilities": ["none"]})
        assert go("pub", "GET /queue/next")["task_id"] == "q9"
        assert go("pub", "GET /queue")["ready"] == 1
        tasks("pub", "POST /tasks/{task_id}/dispatch", {}, task_id="q0")
        given(remote)
        tasks("remote", "POST /tasks/{task_id}/fail", {"error": "no", "retry": False}, task_id="q0")
        assert "q0" in [task["task_id"] for task in go("pub", "GET /dead-letters")["items"]]
        assert go("boss", "POST /dead-letters/{task_id}/replay", task_id="q0")["status"] == "pending"
        go("boss", "POST /dead-letters/replay", {"id": "r1", "owner": "nobody"})
        assert go("pub", "GET /dead-letters/replays")["items"][0]["replay_id"] == "r1"
        go.until(
            lambda one: one["status"] == "completed", "pub", "GET /dead-letters/replays/{replay_id}", replay_id="r1"
        )
        go("boss", "POST /dead-letters/replays/{replay_id}/stop", replay_id="r1", status=409)
        go("pub", "POST /queue/dispatch-next", {"agent_id": "nobody"}, status=409)
        assert go("pub", "POST /whatif", {"weights": WEIGHTS, "since": "2026-01-01T00:00:00Z"})["decisions"] >= 0
        for task_id in ("q0", "q1", "q2", "q9"):
            tasks("pub", "POST /tasks/{task_id}/cancel", task_id=task_id)
    assert not go.left


def test_phases_and_initiatives(hive):
    phases, initiatives = Walk(hive, routes.PHASES), Walk(hive, routes.INITIATIVES)
    one = "/initiatives/{initiative_id}"
    assert initiatives("pub", "POST /initiatives", {"id": "i1", "title": "All of it"})["status"] == "active"
    initiatives("pub", "POST /initiatives", {"id": "i1", "title": "All of it"}, status=200)
    for phase_id, after in (("p1", []), ("p2", ["p1"]), ("p3", [])):
        body = {"id": phase_id, "title": "Part", "initiative_id": "i1", "depends_on": after}
        assert phases("pub", "POST /phases", body)["approved"] is False
    assert len(phases("pub", "GET /phases")["items"]) == 3
    phases("pub", "PATCH /phases/{phase_id}", {"depends_on": ["p1"]}, phase_id="p3")
    assert phases("pub", "GET /phases/{phase_id}", phase_id="p3")["depends_on"] == ["p1"]
    assert phases("boss", "POST /phases/{phase_id}/approve", phase_id="p1")["approved"] is True
    assert phases("pub", "GET /phases/next")["phase_id"] == "p1"
    assert initiatives("pub", f"GET {one}/next", initiative_id="i1")["phase_id"] == "p1"
    assert phases("boss", "POST /phases/{phase_id}/block", {"reason": "wait"}, phase_id="p1")["status"] == "blocked"
    assert phases("pub", "GET /phases/{phase_id}/state", phase_id="p1")["reason"] == "wait"
    phases("boss", "POST /phases/{phase_id}/unblock", phase_id="p1")
    assert phases("boss", "POST /phases/dispatch-next")["phase_id"] == "p1"
    phases("pub", "PATCH /phases/{phase_id}", {"depends_on": []}, phase_id="p1", status=409)
    phases("boss", "POST /phases/{phase_id}/complete", phase_id="p1")
    initiatives("boss", f"POST {one}/approve", initiative_id="i1")
    assert phases("boss", "POST /phases/{phase_id}/dispatch", phase_id="p2")["status"] == "running"
    assert [phase["phase_id"] for phase in phases("pub", "GET /phases/state")["ready"]] == ["p3"]
    assert initiatives("pub", f"GET {one}/state", initiative_id="i1")["ready"]
    for verb in ("block", "unblock", "queue"):
        initiatives("boss", f"POST {one}/{verb}", initiative_id="i1")
    initiatives("boss", f"POST {one}/dispatch", initiative_id="i1", status=409)
    phases("pub", "POST /phases", {"id": "p4", "title": "Last", "initiative_id": "i1"})
    phases("boss", "POST /phases/{phase_id}/approve", phase_id="p4")
    assert initiatives("boss", f"POST {one}/dispatch", initiative_id="i1")["phase_id"] == "p4"
    phases("pub", "POST /phases", {"id": "p5", "title": "Later"})
    phases("boss", "POST /phases/{phase_id}/approve", phase_id="p5")
    phases("pub", "POST /phases/{phase_id}/queue", phase_id="p5")
    for phase_id in ("p2", "p3", "p4"):
        phases("boss", "POST /phases/{phase_id}/complete", phase_id=phase_id)
    initiatives("boss", f"POST {one}/complete", initiative_id="i1")
    assert initiatives("pub", f"GET {one}", initiative_id="i1")["status"] == "completed"
    assert initiatives("pub", "GET /initiatives")["items"]
    assert not (phases.left | initiatives.left)


def test_agents_and_sessions(hive):
    agents, sessions = Walk(hive, routes.AGENTS_SECTION), Walk(hive, routes.SESSIONS)
    one, session = "/agents/{agent_id}", "/sessions/{session_id}"
    card = {"agent_type": "remote", "endpoint_url": "http://127.0.0.1:9/none", "capabilities": ["Echo"]}
    made = agents("remote", "POST /agents", card)
    assert (made["agent"]["agent_id"], len(made["secret"]) > 20) == ("remote", True)
    agents("ann", "POST /agents", card | {"agent_id": "remote"}, status=403)
    assert agents("pub", f"GET {one}", agent_id="remote")["capabilities"] == ["echo"]
    assert agents("boss", f"POST {one}/drain", agent_id="remote")["drained"] is True
    assert agents("boss", f"POST {one}/undrain", agent_id="remote")["drained"] is False
    assert "remote" in [agent["agent_id"] for agent in agents("pub", "GET /agents")["items"]]
    agents("ann", f"POST {one}/leave", {}, agent_id="remote", status=403)
    assert agents("remote", f"POST {one}/leave", {"reason": "enough"}, agent_id="remote")["state"] == "away"
    agents("boss", f"POST {one}/wake", {}, agent_id="remote", status=409)
    agents("boss", f"DELETE {one}", agent_id="remote")
    with bridge(hive, "ann", "talk") as ann:
        ask = {"agent_id": "ann", "content": {"say": "hi"}, "external_ref": "7", "id": "s1"}
        assert sessions("pub", "POST /sessions", ask)["session_id"] == "s1"
        sessions("pub", "POST /sessions", ask, status=200)
        sessions("pub", "POST /sessions", ask | {"id": "s2"}, status=409)
        given(ann)
        assert (
            sessions("ann", f"POST {session}/response", {"content": "hello"}, session_id="s1")["state"] == "idle"
            or True
        )
        sessions.until(lambda found: found["state"] == "completed", "pub", f"GET {session}", session_id="s1")
        taken = sessions("pub", f"GET {session}/response", session_id="s1")
        assert taken == {"session_id": "s1", "response": "hello", "usage": None}
        sessions("pub", f"GET {session}/response", session_id="s1", status=409)
        batch = sessions("pub", "POST /sessions/batch", {"sessions": [ask | {"id": "s3"}, ask | {"id": "s4"}]})
        assert [item.get("status") for item in batch["items"]] == [None, 409]
        assert sessions("pub", f"POST {session}/cancel", {"reason": "enough"}, session_id="s3")["state"] == "cancelled"
        listed = sessions("pub", "GET /sessions", params={"external_ref": "7", "limit": 1})
        older = sessions("pub", "GET /sessions", params={"external_ref": "7", "cursor": listed["cursor"]})
        assert [page["items"][0]["session_id"] for page in (listed, older)] == ["s3", "s1"]
    assert not (agents.left | sessions.left)


def test_conversations(hive):
    go = Walk(hive, routes.CONVERSATIONS)
    one = "/conversations/{conversation_id}"
    with bridge(hive, "ann", "answers"):
        asked = go("pub", "POST /conversations", {"id": "c1", "target": "agent:ann", "question": {"who": "?"}})
        assert asked["agent_id"] == "ann"
        go("pub", f"POST {one}/answer", {"answer": 1}, conversation_id="c1", status=403)
        assert go("ann", f"POST {one}/answer", {"answer": "me"}, conversation_id="c1")["answer"] == "me"
        go("pub", "POST /conversations", {"id": "c2", "target": "agent:ann", "question": "?"})
        assert go("pub", f"POST {one}/withdraw", {}, conversation_id="c2")["state"] == "withdrawn"
        assert go("pub", f"GET {one}", conversation_id="c1")["state"] == "answered"
        listed = go("pub", "GET /conversations", params={"limit": 1})
        older = go("pub", "GET /conversations", params={"cursor": listed["cursor"]})
        assert [page["items"][0]["conversation_id"] for page in (listed, older)] == ["c2", "c1"]
        assert go("pub", "POST /messages", {"target": "agent:ann", "content": [1]})["agent_id"] == "ann"
    graph = {"nodes": [{"id": "ann"}, {"id": "bob"}], "edges": [{"from": "ann", "to": "bob"}]}
    go("boss", "PUT /graph", graph)
    assert go("ann", "GET /graph")["set"] is True
    go("boss", "DELETE /graph")
    assert go("ann", "GET /graph")["set"] is False
    assert not go.left


def test_simulations(hive):
    go = Walk(hive, routes.SIMULATIONS)
    one, sim = "/simulations/{simulation_id}", {"simulation_id": "sim1"}
    assert go("boss", "POST /simulations", {"title": "Named by the hive"})["simulation_id"]
    go("boss", "POST /simulations", sim)
    config = {
        "agents": [{"id": "lead", "behaviour": {"kind": "delegation"}}, {"id": "dev"}],
        "graph": {"edges": [{"from": "lead", "to": "dev", "bidirectional": True}]},
    }
    assert go("boss", f"POST {one}/config", config, **sim)["status"] == "configured"
    go("boss", f"POST {one}/start", **sim)
    assert go("boss", f"POST {one}/messages", {"to": "lead", "content": "go"}, **sim)["sent"][0]["allowed"] is True
    assert go("boss", f"POST {one}/tick", {}, **sim)["ticks"] == 1
    assert go("boss", f"POST {one}/ticks", {"count": 3, "expected_tick": 1}, **sim)["tick"] == 4
    go("boss", f"POST {one}/respond", {"dispatch_id": "none"}, status=409, **sim)
    go("boss", f"POST {one}/pause", **sim)
    assert go("ann", f"GET {one}", **sim)["tick"] == go("ann", f"GET {one}/state", **sim)["tick"] == 4
    messages = go("ann", f"GET {one}/messages", params={"limit": 1}, **sim)
    assert go("ann", f"GET {one}/messages", params={"cursor": messages["cursor"]}, **sim)["items"]
    filters = {"event_type": "message.sent", "tick_min": 1, "tick_max": 2, "agent_id": "lead"}
    assert go("ann", f"GET {one}/events", params=filters, **sim)["items"]
    assert go("ann", f"GET {one}/events", params={"tick_index": 99}, **sim)["items"] == []
    assert go("ann", f"GET {one}/topology", **sim)["traffic"]
    assert go("ann", f"GET {one}/replay", **sim)["same"] is True
    fork = go("boss", f"POST {one}/fork", {"at": 2, "title": "Otherwise"}, **sim)["simulation_id"]
    assert go("ann", f"GET {one}/diff/{{other_id}}", other_id=fork, **sim)["ticks"] >= 2
    assert len(go("ann", "GET /simulations")["items"]) == 3
    assert go("boss", f"POST {one}/reset", {"keep_workflow": False}, **sim)["tick"] == 0
    assert not go.left


def test_history(hive):
    go = Walk(hive, routes.HISTORY)
    event = {"type": "merge.completed", "data": {"task_id": "t1"}, "id": "e1"}
    assert go("pub", "POST /events", event)["recorded"] is True
    assert go("pub", "POST /events", event)["recorded"] is False
    found = go("ann", "GET /events", params={"type": "merge.completed", "limit": 1})
    assert found["items"][0]["data"]["task_id"] == "t1"
    assert go("ann", "GET /events", params={"type": "merge", "cursor": found["cursor"]})["items"] == []
    go("pub", "POST /events", {"type": "task.completed", "data": {}}, status=403)
    rejected = go("ann", "GET /rejects")["items"]
    assert go("ann", "GET /rejects/{reject_id}", reject_id=rejected[0]["reject_id"])["reason"]
    assert not go.left


def test_tokens(hive):
    go = Walk(hive, routes.TOKENS)
    made = go("boss", "POST /tokens", {"name": "new", "role": "agent"})
    assert "BEGIN NATS USER JWT" in made["creds"]
    hive.tokens["new"] = made["token"]
    assert hive.client("new").get("/agents").status_code == 200
    assert go("boss", "DELETE /tokens/{name}", name="new")["revoked"] == 1
    while hive.client("new").get("/agents").status_code != 401:
        time.sleep(0.1)
    first = go("boss", "GET /tokens", params={"limit": 1})
    rest = go("boss", "GET /tokens", params={"cursor": first["cursor"]})
    assert [one["name"] for one in first["items"] + rest["items"]] == ["boss", "pub", "ann", "remote", "new"]
    assert [one["name"] for one in rest["items"] if one["revoked_at"]] == ["new"]
    assert len(go("boss", "GET /webhook-secret")["secret"]) > 20
    assert not go.left
