"""The ASGI application of a door."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import WebSocketRoute

from hivewire import codec, limits
from hivewire.errors import BadUsage, HivewireError, NotReachable, RefusedError
from hivewire.ids import new_id
from hivewire.subjects import is_token
from hivewire_agent_gateway import metrics
from hivewire_agent_gateway.door import openapi, page
from hivewire_agent_gateway.door.bridge import Bridges
from hivewire_agent_gateway.door.callers import Caller
from hivewire_agent_gateway.door.calls import Call, json_response
from hivewire_agent_gateway.door.place import Place
from hivewire_agent_gateway.door.routes import ROUTES
from hivewire_agent_gateway.door.table import API, Route
from hivewire_agent_gateway.outbound import SIGNATURE_HEADER, is_signed
from hivewire_agent_gateway.secrets import SQL
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

BODY_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX
READ_BYTES_MAX: Final = 16 * 1024 * 1024
REQUEST_ID: Final = "X-Request-ID"
CANCELLED: Final = 499
"""In metrics and logs: whoever asked has gone, or the door closes."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def application(place: Place, bridges: Bridges) -> Starlette:
    """All routes, each behind identity, role, rate and size."""
    document = openapi.document(ROUTES)
    for_people = page.page(document)
    described = codec.encode(document)

    async def health(_request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(_request: Request) -> Response:
        status, body = await place.health.readiness()
        return json_response(body, status)

    async def described_json(_request: Request) -> Response:
        return Response(described, media_type="application/json")

    async def described_html(_request: Request) -> Response:
        return HTMLResponse(for_people)

    app = Starlette(
        routes=[
            *_endpoints(place, ROUTES),
            StarletteRoute("/health", health),
            StarletteRoute("/ready", ready),
            StarletteRoute("/openapi.json", described_json),
            StarletteRoute("/docs", described_html),
            WebSocketRoute("/ws/agent-bridge", bridges.serve),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.add_middleware(RequestLog)
    return app


def _endpoints(place: Place, table: Sequence[Route]) -> list[StarletteRoute]:
    """One endpoint for each path, which knows its methods."""
    paths: dict[str, dict[str, Route]] = {}
    for route in table:
        paths.setdefault(f"{API}{route.path}", {})[route.method] = route
    # What is written out comes before what a parameter would match as well.
    ordered = sorted(paths.items(), key=lambda item: item[0].count("{"))
    return [StarletteRoute(path, _endpoint(place, by_method), methods=list(by_method)) for path, by_method in ordered]


def _endpoint(place: Place, by_method: dict[str, Route]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        route = by_method["GET" if request.method == "HEAD" else request.method]
        try:
            return await _answer(place, route, request)
        except (HivewireError, ClientDisconnect, *CONNECTION_ERRORS) as error:
            return _error(error)

    return handle


async def _answer(place: Place, route: Route, request: Request) -> Response:
    request.scope["hivewire.route"] = f"{API}{route.path}"
    signed = route.signed and SIGNATURE_HEADER in request.headers
    caller = None if signed else await place.callers.of_headers(request.headers)
    body = await _body(request)
    if caller is None:
        caller = await _signer(place, request, body)
    request.scope["hivewire.caller"] = caller.id
    if caller.role not in route.roles:
        raise RefusedError(f"this is for {' and '.join(sorted(route.roles))}s: {caller.id!r} is a {caller.role}", 403)
    place.rates.take(caller.id, time.monotonic())
    call = Call(caller, place, request.path_params, request.query_params, request.headers, body)
    answer = await route.action(call)
    return answer if isinstance(answer, Response) else json_response(answer, route.statuses[0])


async def _body(request: Request) -> bytes:
    """The body, kept no further than it may be. Somewhat more is read, so that whoever sends it hears why it is refused."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= BODY_BYTES_MAX:
            parts.append(part)
        elif size > READ_BYTES_MAX:
            break
    if size > BODY_BYTES_MAX:
        raise RefusedError(f"the body is larger than {BODY_BYTES_MAX} bytes: send less at once", 413)
    return b"".join(parts)


async def _signer(place: Place, request: Request, body: bytes) -> Caller:
    """An HTTP agent that proves itself by the secret with which it is called."""
    name = request.headers.get("x-agent-id", "")
    secret = await place.pool.fetchval(SQL.find_signing_secret, f"agent/{name}") if is_token(name) else None
    if secret is None or not is_signed(secret, body, request.headers[SIGNATURE_HEADER], time.time()):
        raise RefusedError(f"that is no signature of {name[:40]!r}", 401)
    return Caller(name, "agent")


def _error(error: BaseException) -> Response:
    match error:
        case RefusedError():
            retry_after_s = error.detail.get("retry_after_s")
            headers = {"Retry-After": str(math.ceil(retry_after_s))} if retry_after_s else {}
            if error.status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            if error.status == 413:
                headers["Connection"] = "close"  # there may be no end of it
            return json_response({"error": error.error, "detail": error.detail}, error.status, headers)
        case BadUsage():
            return json_response({"error": str(error), "detail": {}}, 400)
        case NotReachable():
            return json_response({"error": str(error), "detail": {}}, 503, {"Retry-After": "1"})
        case HivewireError():
            return json_response({"error": str(error), "detail": {}}, 502)
        case ClientDisconnect():
            return Response(status_code=CANCELLED)
        case _:
            text = "Postgres does not answer at the moment; try again"
            return json_response({"error": text, "detail": {}}, 503, {"Retry-After": "1"})


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is no such route: see /docs", 405: "this route does not take that method: see /docs"}
    text = words.get(error.status_code, error.detail)
    return json_response({"error": text, "detail": {}}, error.status_code, error.headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    return json_response({"error": "something went wrong inside: the log of the door tells more", "detail": {}}, 500)


class RequestLog:
    """Gives every request an id, logs it and counts it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started_s = time.perf_counter()
        status, answered_s = 500, 0.0

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered_s
            if message["type"] == "http.response.start":
                status, answered_s = message["status"], time.perf_counter() - started_s
                message["headers"] = [*message["headers"], (REQUEST_ID.lower().encode(), request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            status = CANCELLED
            raise
        finally:
            _note(scope, request_id, status, answered_s or time.perf_counter() - started_s)


def _note(scope: Message, request_id: str, status: int, seconds: float) -> None:
    """Count and log a request. `seconds` is the time to the first byte of its answer."""
    route = scope.get("hivewire.route", "other")
    method = scope["method"] if route != "other" else "any"
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(method, route).observe(seconds)
    log.info(
        "request",
        request_id=request_id,
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 1),
        caller=scope.get("hivewire.caller"),
    )


def _request_id(scope: Message) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID.lower().encode():
            text: str = value.decode("latin-1")
            if text.isascii() and is_token(text):
                return text
    return new_id()
