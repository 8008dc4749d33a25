"""HTTP agents, webhooks and pull requests: what the gateway posts, to whom, and how often."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hivewire_service.health import serving

from .gateway_process import broker
from .test_agent_gateway import differences
from .test_door import door, doors, get, until  # noqa: F401


@dataclass
class Post:
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        at, _, signature = self.headers["x-hivewire-signature"].partition(",v1=")
        text = at.removeprefix("t=").encode() + b"." + self.body
        return hmac.compare_digest(hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(), signature)


@dataclass
class Endpoint:
    """A server that answers what the test says, and remembers what it was asked."""

    answers: list[Response] = field(default_factory=list)
    posts: asyncio.Queue = field(default_factory=asyncio.Queue)
    hold: asyncio.Event | None = None
    url: str = ""

    async def handle(self, request: Request) -> Response:
        self.posts.put_nowait(Post(dict(request.headers), await request.body()))
        if self.hold is not None:
            await self.hold.wait()
        return self.answers.pop(0) if self.answers else JSONResponse({"response": {"content": "ok"}})


@asynccontextmanager
async def serve(app) -> AsyncIterator[str]:
    async with serving(app, 0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    one = Endpoint()
    async with serve(Starlette(routes=[Route("/{path:path}", one.handle, methods=["POST"])])) as url:
        one.url = f"{url}/agent"
        yield one


async def register(boss: httpx.AsyncClient, endpoint: Endpoint, **card) -> str:
    body = {"agent_id": "web", "agent_type": "remote", "endpoint_url": endpoint.url} | card
    made = await boss.post("/api/v1/agents", json=body)
    assert made.status_code == 201, made.text
    return made.json()["secret"]


async def ask(pub: httpx.AsyncClient, **data) -> str:
    made = await pub.post("/api/v1/sessions", json={"agent_id": "web", "content": "hi"} | data)
    assert made.status_code == 201, made.text
    return f"/api/v1/sessions/{made.json()['session_id']}"


def ended(found: dict) -> bool:
    return found["ended_at"] is not None


async def test_an_endpoint_answers_at_once(hive, door, endpoint):  # noqa: F811
    async with door.http("boss") as boss, door.http("pub") as pub:
        secret = await register(boss, endpoint)
        path = await ask(pub, context={"a": 1})
        post = await endpoint.posts.get()
        assert post.is_signed_with(secret)
        assert post.headers["idempotency-key"] == post.data["message_id"]
        assert (post.data["type"], post.data["content"], post.data["context"]) == ("dispatch", "hi", {"a": 1})
        assert (await until(pub, path, ended))["response"] == "ok"
        again = await boss.post(
            "/api/v1/agents", json={"agent_id": "web", "agent_type": "remote", "endpoint_url": endpoint.url}
        )
        assert "secret" not in again.json()
        assert endpoint.posts.empty()
    assert await differences(hive) == []


async def test_an_endpoint_answers_later_with_its_signature_or_its_token(hive, door, endpoint):  # noqa: F811
    endpoint.answers += [Response(status_code=202), Response(status_code=202)]
    async with door.http("boss") as boss, door.http("pub") as pub, httpx.AsyncClient() as agent:
        secret = await register(boss, endpoint)
        path = await ask(pub)
        post = await endpoint.posts.get()
        await until(pub, path, lambda found: found["state"] == "running")
        body = b'{"content": "later"}'
        at = post.headers["x-hivewire-signature"].partition(",")[0].removeprefix("t=")
        signature = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers = {"X-Agent-ID": "web", "X-Hivewire-Signature": f"t={at},v1={'0' * 64}"}
        assert (await agent.post(post.data["callback_url"], content=body, headers=headers)).status_code == 401
        headers["X-Hivewire-Signature"] = f"t={at},v1={signature}"
        assert (await agent.post(post.data["callback_url"], content=body, headers=headers)).status_code == 200
        assert (await until(pub, path, ended))["response"] == "later"
        token = (await boss.post("/api/v1/tokens", json={"name": "web"})).json()["token"]
        path = await ask(pub)
        callback_url = (await endpoint.posts.get()).data["callback_url"]
        headers = {"X-Agent-ID": "web", "Authorization": f"Bearer {token}"}
        assert (await agent.post(callback_url, json={"error": "cannot"}, headers=headers)).status_code == 200
        assert (await until(pub, path, ended))["error"] == "cannot"


async def test_what_an_endpoint_does_wrong_fails_the_session(hive, door, endpoint):  # noqa: F811
    wrong = [
        (Response(status_code=500), "it answered 500"),
        (Response(b"{}", 200), "missing required field `response`"),
        (Response(b"x", 200), "malformed"),
        (Response(b"x" * 1_100_000, 200), "answered with more than"),
        (Response(status_code=307, headers={"Location": "http://127.0.0.1:1/"}), "it answered 307"),
    ]
    async with door.http("boss") as boss, door.http("pub") as pub:
        await register(boss, endpoint)
        for answer, error in wrong:
            endpoint.answers.append(answer)
            path = await ask(pub)
            assert error in (await until(pub, path, ended))["error"]
            assert error in (await last_event(pub, path, "session.failed"))["error"]


async def last_event(pub: httpx.AsyncClient, path: str, kind: str) -> dict:
    query = f"/api/v1/events?type={kind}&entity_id={path.rpartition('/')[2]}"
    return (await until(pub, query, lambda found: found["items"]))["items"][-1]["data"]


async def test_answers_in_vain_at_the_callback_are_refused_and_recorded(hive, door, endpoint):  # noqa: F811
    endpoint.answers += [Response(status_code=202), Response(status_code=202)]
    async with door.http("boss") as boss, door.http("pub") as pub, door.http("eve") as eve:
        await register(boss, endpoint)
        token = (await boss.post("/api/v1/tokens", json={"name": "web"})).json()["token"]
        async with door.http("web", token) as web:
            path = await ask(pub)
            callback_url = (await endpoint.posts.get()).data["callback_url"]
            assert (await eve.post(callback_url, json={"content": "mine"})).status_code == 403
            assert (await last_event(pub, path, "session.response_refused"))["agent_id"] == "eve"
            huge = b'{"content": "' + b"x" * 1_100_000 + b'"}'
            assert (await web.post(callback_url, content=huge)).status_code == 413
            assert (await web.post(callback_url, content=b"garbage")).status_code == 400
            assert (await web.post(callback_url, json={"content": "first"})).status_code == 200
            assert (await web.post(callback_url, json={"content": "first"})).status_code == 200
            assert (await web.post(callback_url, json={"content": "second"})).status_code == 409
            assert (await until(pub, path, ended))["response"] == "first"
            assert (await last_event(pub, path, "session.response_refused"))["agent_id"] == "web"
            path = await ask(pub, timeout_seconds=0.5)
            callback_url = (await endpoint.posts.get()).data["callback_url"]
            assert (await until(pub, path, ended))["state"] == "timed_out"
            assert (await web.post(callback_url, json={"content": "late"})).status_code == 409
            assert "timed_out" in (await last_event(pub, path, "session.response_refused"))["reason"]


async def test_an_endpoint_that_hangs_times_out_and_is_tried_again(hive, door, endpoint):  # noqa: F811
    endpoint.hold = asyncio.Event()
    async with door.http("boss") as boss, door.http("pub") as pub:
        await register(boss, endpoint)
        path = await ask(pub, timeout_seconds=1.0, max_retries=1, retry_delay_seconds=0.1)
        while not (await endpoint.posts.get()).data["message_id"].endswith(".2"):
            pass  # the first try, unless it timed out before it was posted
        endpoint.hold.set()
        assert (await until(pub, path, ended))["state"] in {"completed", "failed", "timed_out"}


async def test_a_task_is_done_by_an_endpoint(hive, door, endpoint):  # noqa: F811
    async with broker(hive), door.http("boss") as boss, door.http("pub") as pub:
        await register(boss, endpoint, capabilities=["web"])
        made = (await pub.post("/api/v1/tasks", json={"title": "x", "required_capabilities": ["web"]})).json()
        done = await until(pub, f"/api/v1/tasks/{made['task_id']}", lambda found: found["status"] == "completed")
        assert (done["result"], done["agent_id"]) == ("ok", "web")


async def test_forbidden_addresses_are_refused(hive, door):  # noqa: F811
    async with door.http("boss") as boss, door.http("pub") as pub, door.bridge("ann") as ann:
        await get(ann, "registered")
        for url in ("http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/", "ftp://x/", "http://"):
            body = {"agent_id": "web", "agent_type": "remote", "endpoint_url": url}
            assert (await boss.post("/api/v1/agents", json=body)).status_code == 422, url
            hook = {"agent_id": "ann", "content": 1, "completion_action": {"type": "webhook", "url": url}}
            assert (await pub.post("/api/v1/sessions", json=hook)).status_code in {400, 422}, url


async def test_a_name_is_checked_by_its_address(hive):
    async with doors(hive, HIVEWIRE_OUTBOUND_NETWORKS="[]") as door, door.http("boss") as boss, door.http("pub") as pub:  # noqa: F811
        body = {"agent_id": "web", "agent_type": "remote", "endpoint_url": "http://localhost:1/"}
        assert (await boss.post("/api/v1/agents", json=body)).status_code == 201
        assert "is not public" in (await until(pub, await ask(pub), ended))["error"]


async def test_a_webhook_is_called_until_it_takes_the_response(hive, door, endpoint):  # noqa: F811
    endpoint.answers += [Response(status_code=503), Response(status_code=204)]
    async with door.http("boss") as boss, door.http("pub") as pub, door.bridge("ann") as ann:
        await get(ann, "registered")
        asked = {"agent_id": "ann", "content": 1, "completion_action": {"type": "webhook", "url": endpoint.url}}
        made = (await pub.post("/api/v1/sessions", json=asked)).json()
        given = await get(ann, "dispatch")
        await ann.send(
            json.dumps({"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": 2})
        )
        path = f"/api/v1/sessions/{made['session_id']}"
        assert (await until(pub, path, ended))["state"] == "completed"
        posts = [endpoint.posts.get_nowait() for _ in range(2)]
        secret = (await boss.get("/api/v1/webhook-secret")).json()["secret"]
        assert all(post.is_signed_with(secret) and post.data["response"] == 2 for post in posts)
        assert {post.headers["idempotency-key"] for post in posts} == {made["session_id"]}
        assert (await pub.get("/api/v1/webhook-secret")).status_code == 403
    assert await differences(hive) == []


class GitHub:
    """As much of GitHub's REST API as a pull request needs, on one repository."""

    def __init__(self) -> None:
        self.refs = {"main": "c0"}
        self.commits = {"c0": {"message": "first", "tree": {"sha": "t0"}}}
        self.trees: list[list] = []
        self.pulls: list[dict] = []
        self.comments: list[str] = []
        self.failures = 0
        """How many times opening a pull request fails after the branch was made."""

    async def handle(self, request: Request) -> Response:
        if request.headers.get("authorization") != "token secret":
            return JSONResponse({"message": "Bad credentials"}, 401)
        body = json.loads(await request.body() or b"null")
        found = self.answer(request.method, request.path_params["path"].lstrip("/"), request.query_params, body)
        if found is None:
            return JSONResponse({"message": "Not Found"}, 404)
        status = found.pop("status", None) if isinstance(found, dict) and "message" in found else None
        return JSONResponse(found, status or (201 if request.method == "POST" else 200))

    def answer(self, method: str, path: str, query, body):  # noqa: C901, PLR0911, PLR0912 - a table in the form of a match
        kind, _, name = path.partition("/heads/") if "/heads/" in path else path.rpartition("/")
        match method, kind:
            case "GET", "git/ref" | "git/refs":
                return {"ref": f"refs/heads/{name}", "object": {"sha": self.refs[name]}} if name in self.refs else None
            case "GET", "git/commits":
                return {"sha": name, "url": f"{self.url}/repos/me/it/git/commits/{name}"} | self.commits[name]
        match method, path:
            case "GET", "":
                return {"full_name": "me/it", "url": f"{self.url}/repos/me/it"}
            case "POST", "git/trees":
                self.trees.append(body["tree"])
                return {"sha": f"t{len(self.trees)}"}
            case "POST", "git/commits":
                sha = f"c{len(self.commits)}"
                self.commits[sha] = {"message": body["message"], "tree": {"sha": body["tree"]}}
                return {"sha": sha}
            case "POST", "git/refs" if body["ref"].removeprefix("refs/heads/") in self.refs:
                return {"message": "Reference already exists", "status": 422}
            case "POST", "git/refs":
                self.refs[body["ref"].removeprefix("refs/heads/")] = body["sha"]
                return {"ref": body["ref"], "object": {"sha": body["sha"]}}
            case "GET", "pulls":
                return [pull for pull in self.pulls if query["head"] == f"me:{pull['head']}"]
            case "POST", "pulls" if self.failures:
                self.failures -= 1
                return {"message": "oops", "status": 500}
            case "POST", "pulls" if any(pull["head"] == body["head"] for pull in self.pulls):
                return {"message": "A pull request already exists", "status": 422}
            case "POST", "pulls":
                self.pulls.append(body | {"number": 12 + len(self.pulls), "html_url": "http://pulls/12"})
                return self.pulls[-1]
            case "GET", "issues/7":
                return {"number": 7, "url": f"{self.url}/repos/me/it/issues/7"}
            case "GET", "issues/7/comments":
                return [{"body": text} for text in self.comments]
            case "POST", "issues/7/comments":
                self.comments.append(body["body"])
                return {"body": body["body"]}
        return None

    url = ""


async def test_a_response_becomes_one_pull_request_and_the_issue_is_told(hive):
    github = GitHub()
    github.failures = 1
    routes = [Route("/repos/me/it{path:path}", github.handle, methods=["GET", "POST"])]
    async with (
        serve(Starlette(routes=routes)) as url,
        doors(hive, HIVEWIRE_GITHUB_URL=url, HIVEWIRE_GITHUB_TOKEN="secret") as one,
        one.http("pub") as pub,
        one.bridge("ann") as ann,
    ):
        github.url = url
        await get(ann, "registered")
        action = {"type": "github_pull_request", "repository": "me/it", "issue": 7}
        made = (
            await pub.post("/api/v1/sessions", json={"agent_id": "ann", "content": 1, "completion_action": action})
        ).json()
        given = await get(ann, "dispatch")
        content = {"files": {"a.txt": "hello", "b/c.txt": "é"}, "title": "Fix it"}
        await ann.send(
            json.dumps({"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": content})
        )
        path = f"/api/v1/sessions/{made['session_id']}"
        assert (await until(pub, path, ended))["state"] == "completed"
    branch = f"hivewire/{made['session_id']}"
    assert github.refs.keys() == {"main", branch}
    assert [(pull["title"], pull["head"], pull["base"]) for pull in github.pulls] == [("Fix it", branch, "main")]
    assert [entry["path"] for entry in github.trees[0]] == ["a.txt", "b/c.txt"]
    assert len(github.commits) == 2
    assert ["No pull request was opened" in text or "#12" in text for text in github.comments] == [True, True]


async def test_a_response_without_files_is_told_to_the_issue(hive):
    github = GitHub()
    routes = [Route("/repos/me/it{path:path}", github.handle, methods=["GET", "POST"])]
    async with (
        serve(Starlette(routes=routes)) as url,
        doors(hive, HIVEWIRE_GITHUB_URL=url, HIVEWIRE_GITHUB_TOKEN="secret") as one,
        one.http("pub") as pub,
        one.bridge("ann") as ann,
    ):
        github.url = url
        await get(ann, "registered")
        action = {"type": "github_pull_request", "repository": "me/it", "issue": 7}
        asked = {"agent_id": "ann", "content": 1, "completion_action": action}
        path = f"/api/v1/sessions/{(await pub.post('/api/v1/sessions', json=asked)).json()['session_id']}"
        given = await get(ann, "dispatch")
        await ann.send(
            json.dumps({"type": "response", "message_id": given["message_id"], "agent_id": "ann", "content": "no"})
        )
        failed = await until(pub, f"{path}", lambda found: found["error"])
        assert "a pull request needs" in failed["error"]
        await until(pub, path, lambda _: github.comments)
    assert [("No pull request was opened" in text) for text in github.comments] == [True]
    assert github.refs.keys() == {"main"}
