"""Sessions: dispatching, answering, taking the answer."""

import msgspec
from starlette.responses import Response

from hivewire import fields, reads, views
from hivewire.commands.sessions import Dispatch, DispatchBatch, Respond, TakeResponse, Webhook
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.door.calls import Call, json_response


class Answer(msgspec.Struct, omit_defaults=True):
    """An agent's answer. Without `attempt`, here or in the query string, it is to the last one."""

    attempt: fields.Attempt | None = None
    content: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    error: fields.ErrorText | None = None


class WhichAttempt(msgspec.Struct, omit_defaults=True):
    """The same, as callback URLs say it."""

    attempt: fields.Attempt | None = None


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


async def dispatch_batch(call: Call) -> object:
    """Each session is taken or refused by itself."""
    wanted = call.decode(DispatchBatch)
    for one in wanted.sessions:
        _check(call, one)
    return await call.command(AGENT_GATEWAY, "dispatch_batch", wanted)


def _check(call: Call, wanted: Dispatch) -> None:
    if isinstance(wanted.completion_action, Webhook):
        call.place.outbound.policy.check_url(wanted.completion_action.url)


async def take(call: Call) -> Buffered:
    """Take the buffered response."""
    await call.command(AGENT_GATEWAY, "take", call.named(TakeResponse))
    session: views.SessionView = await call.read(
        AGENT_GATEWAY, "session", call.named(reads.OneSession), views.SessionView
    )
    return Buffered(session.session_id, session.response, session.usage)


async def respond(call: Call) -> object:
    """The dispatch's agent answers later."""
    attempt = call.decode(Answer).attempt or call.parameters(WhichAttempt).attempt
    if attempt is None:
        session: views.SessionView = await call.read(
            AGENT_GATEWAY, "session", call.named(reads.OneSession), views.SessionView
        )
        attempt = session.attempt or 1
    return await call.command(AGENT_GATEWAY, "respond", call.decode(Respond, **call.path, attempt=attempt))
