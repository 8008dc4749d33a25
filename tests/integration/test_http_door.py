"""What holds for all of the HTTP door: who may call and how often, how large, and the stream of events."""

import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from hivewire.limits import MESSAGE_BYTES_MAX
from hivewire_agent_gateway.door.table import API

from .http_hive import HttpHive, another_door, whole_hive


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hive(shared_hive) -> AsyncIterator[HttpHive]:
    async with whole_hive(shared_hive) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_url(shared_hive, hive) -> AsyncIterator[str]:
    """A door that trusts ids, and allows five requests a minute."""
    settings = {"HIVEWIRE_OPEN": "true", "HIVEWIRE_REQUESTS_PER_MINUTE": "5"}
    async with another_door(shared_hive, **settings) as (url, _):
        yield url


def test_who_calls_must_be_proven(hive):
    nobody = hive.client(None)
    assert nobody.get("/agents").status_code == 401
    assert nobody.get("/agents", headers={"X-Agent-ID": "ann"}).status_code == 401
    answer = nobody.get("/agents", headers={"X-Agent-ID": "a b"})
    assert (answer.status_code, set(answer.json())) == (400, {"error", "detail"})
    assert hive.client("remote", hive.tokens["ann"]).get("/agents").status_code == 401
    basic = {"X-Agent-ID": "ann", "Authorization": f"Basic {hive.tokens['ann']}"}
    assert nobody.get("/agents", headers=basic).status_code == 401


def test_what_is_not_there_is_said(hive):
    ann = hive.client("ann")
    assert ann.get("/nothing").json()["error"].startswith("there is no such route")
    answer = ann.put("/agents")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})
    assert ann.get("/agents", params={"limit": "0"}).status_code == 400
    assert ann.get("/agents", params={"other": "0"}).status_code == 400
    assert ann.get("/tasks", params={"cursor": "x"}).status_code == 400


def test_the_door_tells_how_it_is_and_what_it_can(hive, strict_url):
    with httpx.Client(base_url=hive.url) as anybody:
        assert anybody.get("/health").json() == {"status": "ok"}
        assert anybody.get("/ready").json()["role"] == "owner"
        assert anybody.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert f"{API}/tasks" in anybody.get("/docs").text
    assert httpx.get(f"{strict_url}/ready").json()["role"] == "door"


def test_a_request_has_an_id(hive):
    ann = hive.client("ann")
    assert len(ann.get("/agents").headers["X-Request-ID"]) == 36
    assert ann.get("/agents", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    assert ann.get("/agents", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"] != "a b"


def test_an_open_door_trusts_names_but_not_for_what_operators_do(hive, strict_url):
    someone = hive.client(None, url=strict_url)
    assert someone.get("/agents", headers={"X-Agent-ID": "zoe"}).status_code == 200
    assert someone.get("/stats", headers={"X-Agent-ID": "zoe"}).status_code == 403
    assert someone.get("/agents", headers={"X-Agent-ID": "operator"}).status_code == 401
    assert someone.get("/agents").status_code == 401
    assert hive.client("boss", url=strict_url).get("/stats").status_code == 200


def test_too_many_requests_are_told_when_to_come_again(hive, strict_url):
    ann = hive.client("ann", url=strict_url)
    answers = [ann.get("/agents") for _ in range(6)]
    assert {answer.status_code for answer in answers[:5]} == {200}
    refused = next(answer for answer in (answers[5], ann.get("/agents")) if answer.status_code == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 12
    assert refused.json()["detail"]["retry_after_s"] > 0


@pytest.mark.parametrize("size", [MESSAGE_BYTES_MAX, 5_000_000])
def test_what_is_too_large_is_refused(hive, size):
    body = b'{"type": "merge.completed", "data": {"text": "' + b"x" * size + b'"}}'
    for path in ("/events", "/tasks"):
        answer = hive.client("pub").post(path, content=body)
        assert answer.status_code == 413
        assert "bytes" in answer.json()["error"]


def test_a_long_head_of_a_request_is_understood(hive):
    assert hive.client("ann").get("/agents", headers={"X-Long": "x" * 200_000}).status_code == 200


def test_a_body_without_an_end_is_read_no_further_than_it_may_be(hive):
    def endless() -> Iterator[bytes]:
        while True:
            yield b"[" * 65_536

    with contextlib.suppress(httpx.TransportError):  # the door hangs up, which may come before its answer
        assert hive.client("pub").post("/tasks", content=endless()).status_code == 413


def test_a_page_is_shortened_to_what_fits_a_message(hive):
    pub = hive.client("pub")
    for number in range(4):
        task = {"title": "large", "payload": "x" * 400_000, "required_capabilities": ["none"], "source": "pages"}
        assert pub.post("/tasks", json=task | {"id": f"large{number}"}).status_code == 201
    found, cursor = [], None
    while True:
        page = pub.get("/tasks", params={"source": "pages", "limit": 50} | ({"cursor": cursor} if cursor else {}))
        found += [task["task_id"] for task in page.json()["items"]]
        if (cursor := page.json()["cursor"]) is None:
            break
    assert found == ["large3", "large2", "large1", "large0"]


def frame(lines: Iterator[str]) -> tuple[str, str, dict]:
    """Id, type and data of the next event."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line and "data" in fields:
            return fields["id"], fields["event"], json.loads(fields["data"])
        name, _, value = line.partition(": ")
        fields[name] = value
    raise AssertionError("the stream ended")


def test_events_stream_and_go_on_where_they_were(hive):
    pub, watcher = hive.client("pub"), hive.client("ann")
    url = "/events/stream?type=task"
    with watcher.stream("GET", url) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": connected"
        pub.post("/tasks", json={"title": "watched", "id": "w1", "required_capabilities": ["none"]})
        seen = [frame(lines) for _ in range(2)]
    assert [(kind, data["entity_id"]) for _, kind, data in seen] == [("task.created", "w1"), ("task.queued", "w1")]
    pub.post("/tasks/w1/cancel", json={})
    with watcher.stream("GET", url, headers={"Last-Event-ID": seen[0][0]}) as stream:
        lines = stream.iter_lines()
        kinds = [frame(lines)[1]]
        while kinds[-1] != "task.cancelled":
            kinds.append(frame(lines)[1])
        assert kinds[0] == "task.queued"
    with watcher.stream("GET", f"{url}&entity_id=w1&since=2026-01-01T00:00:00Z") as stream:
        assert frame(stream.iter_lines()) == seen[0]


@pytest.mark.parametrize("mark", [b"x", b"e30=", b"bnVsbA==", b"\xe9"])
def test_a_mark_that_was_not_given_out_is_refused(hive, mark):
    answer = hive.client("ann").get("/events/stream", headers={b"Last-Event-ID": mark})
    assert answer.status_code == 400


def test_a_slow_reader_misses_nothing(hive):
    """What it does not take at once is more than a door keeps for it."""
    pub, host = hive.client("pub"), httpx.URL(hive.url)
    request = f"GET {API}/events/stream?type=log HTTP/1.1\r\nHost: x\r\nX-Agent-ID: ann\r\n"
    with socket.create_connection((host.host, host.port)) as stuck:
        stuck.sendall(f"{request}Authorization: Bearer {hive.tokens['ann']}\r\n\r\n".encode())
        assert b"200 OK" in stuck.recv(64)
        for number in range(12):
            event = {"type": "log.entry", "id": f"big{number}", "data": {"process_id": "p", "data": "x" * 900_000}}
            assert pub.post("/events", json=event).status_code == 200, number
        stuck.settimeout(60)
        taken = b""
        while taken.count(b"event: log.entry") < 12:
            taken += stuck.recv(1 << 20)


def test_requests_are_counted_by_route(hive):
    hive.client("ann").get("/tasks/nobody")
    hive.client("ann").get("/no/such/route")
    told = httpx.get(f"http://127.0.0.1:{hive.metrics_port}/metrics").text
    assert f'hivewire_http_requests_total{{method="GET",route="{API}/tasks/{{task_id}}",status="404"}}' in told
    assert 'hivewire_http_requests_total{method="any",route="other",status="404"}' in told
    assert f'hivewire_http_request_seconds_count{{method="GET",route="{API}/tasks/{{task_id}}"}}' in told
    assert "nobody" not in told
    assert "hivewire_event_streams " in told


async def test_a_door_that_stops_ends_its_streams(shared_hive, hive):
    headers = {"X-Agent-ID": "ann", "Authorization": f"Bearer {hive.tokens['ann']}"}
    async with (
        another_door(shared_hive) as (url, door),
        httpx.AsyncClient(headers=headers, timeout=30) as ann,
        ann.stream("GET", f"{url}{API}/events/stream") as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == ": connected"
        door.terminate()
        with contextlib.suppress(httpx.RemoteProtocolError):  # a door that is too slow to say the end is cut off
            assert [line async for line in lines] == [""]


def test_a_revoked_token_ends_its_streams(hive):
    boss = hive.client("boss")
    token = boss.post("/tokens", json={"name": "gone", "role": "agent"}).json()["token"]
    with hive.client("gone", token).stream("GET", "/events/stream") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": connected"
        assert boss.delete("/tokens/gone").status_code == 200
        assert list(lines) == [""]
    assert hive.client("gone", token).get("/agents").status_code == 401


def test_streams_that_were_left_leave_nothing_behind(hive):
    for _ in range(5):
        with hive.client("ann").stream("GET", "/events/stream") as stream:
            assert next(stream.iter_lines()) == ": connected"
    while "hivewire_event_streams 0.0" not in httpx.get(f"http://127.0.0.1:{hive.metrics_port}/metrics").text:
        time.sleep(0.05)
