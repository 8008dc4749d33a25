"""Sessions over HTTP."""

import msgspec
from starlette.responses import Response

from hivewire import fields, reads, views
from hivewire.commands.sessions import CancelSession, Dispatch, DispatchBatch, Respond, TakeResponse, Webhook
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.door.calls import AGENTS, Call, Route, json_response
from hivewire_agent_gateway.door.plain import API, commanding, reading


class Answer(msgspec.Struct, omit_defaults=True):
    """An agent's answer. Without `attempt` it is to the last one."""

    attempt: fields.Attempt | None = None
    content: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    error: fields.ErrorText | None = None


class Buffered(msgspec.Struct):
    """The response of a session."""

    session_id: str
    response: msgspec.Raw
    usage: msgspec.Raw


async def dispatch(call: Call) -> Response:
    """201 with the session, 200 if it was known before."""
    wanted = call.decode(Dispatch)
    _check(call, wanted)
    brief = await call.command(AGENT_GATEWAY, "dispatch", wanted, views.SessionBrief)
    session = await call.read(AGENT_GATEWAY, "session", reads.OneSession(brief.session_id))
    return json_response(session, 201 if brief.created else 200)


async def dispatch_batch(call: Call) -> Response:
    """Each session is taken or refused by itself."""
    wanted = call.decode(DispatchBatch)
    for one in wanted.sessions:
        _check(call, one)
    return json_response(await call.command(AGENT_GATEWAY, "dispatch_batch", wanted))


def _check(call: Call, wanted: Dispatch) -> None:
    if isinstance(wanted.completion_action, Webhook):
        call.place.outbound.policy.check_url(wanted.completion_action.url)


async def take(call: Call) -> Response:
    """Take the buffered response."""
    session_id = call.path["session_id"]
    await call.command(AGENT_GATEWAY, "take", call.decode(TakeResponse, session_id=session_id))
    session = await call.read(AGENT_GATEWAY, "session", reads.OneSession(session_id), views.SessionView)
    return json_response(Buffered(session_id, session.response, session.usage))


async def respond(call: Call) -> Response:
    """The dispatch's agent answers later."""
    told = call.decode(Answer)
    number = call.query.get("attempt")
    attempt = told.attempt or (int(number) if number and number.isascii() and number.isdigit() else None)
    if attempt is None:
        session_id = call.parameters_of_path(reads.OneSession, "session_id")
        attempt = (await call.read(AGENT_GATEWAY, "session", session_id, views.SessionView)).attempt or 1
    data = call.decode(Respond, session_id=call.path["session_id"], attempt=attempt)
    return json_response(await call.command(AGENT_GATEWAY, "respond", data))


_SESSION = f"{API}/sessions/{{session_id}}"

ROUTES = [
    Route(
        "POST",
        f"{API}/sessions",
        "Have a remote agent answer something",
        dispatch,
        body=Dispatch,
        answer=views.SessionView,
        status=201,
        statuses=(200,),
        tag="sessions",
    ),
    Route(
        "POST",
        f"{API}/sessions/batch",
        "Up to 1,000 sessions at once",
        dispatch_batch,
        body=DispatchBatch,
        answer=views.SessionBatch,
        tag="sessions",
    ),
    Route(
        "GET",
        f"{API}/sessions",
        "List sessions, newest first",
        reading(AGENT_GATEWAY, "sessions", reads.ListSessions),
        parameters=reads.ListSessions,
        answer=views.Page,
        tag="sessions",
    ),
    Route(
        "GET",
        _SESSION,
        "Show a session",
        reading(AGENT_GATEWAY, "session", reads.OneSession, "session_id"),
        answer=views.SessionView,
        tag="sessions",
    ),
    Route(
        "POST",
        f"{_SESSION}/cancel",
        "Give a session up",
        commanding(AGENT_GATEWAY, "cancel", "session_id"),
        body=CancelSession,
        given=("session_id",),
        answer=views.SessionBrief,
        tag="sessions",
    ),
    Route("GET", f"{_SESSION}/response", "Take the buffered response", take, answer=Buffered, tag="sessions"),
    Route(
        "POST",
        f"{_SESSION}/response",
        "Answer a dispatch",
        respond,
        roles=AGENTS,
        body=Answer,
        answer=views.SessionBrief,
        tag="sessions",
    ),
]
RESPONSE_PATH = f"{_SESSION}/response"
