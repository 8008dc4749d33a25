"""The messages of the WebSocket bridge, and of the POSTs to HTTP agents."""

from datetime import datetime
from typing import Any, Final

import msgspec

from hivewire import codec, fields, inbox, limits

MALFORMED: Final = 4004
NOT_REGISTERED: Final = 4001
REPLACED: Final = 4002
SILENT: Final = 4003
UNPROVEN: Final = 4005
TOO_LARGE: Final = 1009
GOING_AWAY: Final = 1001
TRY_LATER: Final = 1013

FRAME_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 64 * 1024
"""A response becomes a command, whose envelope needs some room."""


# --- from the agent ---------------------------------------------------------------------------------
class Register(msgspec.Struct, tag_field="type", tag="register"):
    """The first message. `metadata.instance`, `slots` and `answers_while_busy` are understood, the rest is kept on the
    card."""

    agent_id: fields.Token
    auth_token: str = ""
    capabilities: fields.Capabilities = []
    workdir: str | None = None
    metadata: dict[str, Any] = {}


class Progress(msgspec.Struct, tag_field="type", tag="progress"):
    """The agent works on a dispatch. `metadata.progress` is understood as a fraction of 1."""

    message_id: str
    agent_id: str
    status: str | None = None
    progress_text: fields.Text | None = None
    metadata: dict[str, Any] = {}


class Response(msgspec.Struct, tag_field="type", tag="response"):
    """The answer to a dispatch."""

    message_id: str
    agent_id: str
    content: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    error: str | None = None


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", omit_defaults=True):
    """A sign of life, in both directions."""

    agent_id: str | None = None
    timestamp: Any = None


class Ask(msgspec.Struct, tag_field="type", tag="ask", kw_only=True):
    """A question to whom `target` names, such as agent:bob. `message_id` names the dispatch that waits for the answer."""

    agent_id: str
    target: str
    question: msgspec.Raw
    conversation_id: str | None = None
    thread: str | None = None
    timeout_seconds: float = limits.ANSWER_TIMEOUT_S
    message_id: str | None = None


class Answer(msgspec.Struct, tag_field="type", tag="answer"):
    """The answer to a question that the agent was asked."""

    agent_id: str
    conversation_id: str
    answer: msgspec.Raw


class Withdraw(msgspec.Struct, tag_field="type", tag="withdraw"):
    """The agent needs no answer any more."""

    agent_id: str
    conversation_id: str
    reason: str = ""


class Message(msgspec.Struct, tag_field="type", tag="message"):
    """Something said to whom `target` names, without expecting an answer."""

    agent_id: str
    target: str
    content: msgspec.Raw
    message_id: str | None = None


ToPeer = Ask | Answer | Withdraw | Message
FromAgent = Register | Progress | Response | Heartbeat | ToPeer


# --- to the agent -----------------------------------------------------------------------------------
class Registered(msgspec.Struct, tag_field="type", tag="registered"):
    """The agent is registered; `session_id` names the connection."""

    session_id: str
    agent_id: str
    message: str


class Dispatch(msgspec.Struct, tag_field="type", tag="dispatch", omit_defaults=True):
    """Something to answer. The same `message_id` again is the same dispatch."""

    message_id: str
    agent_id: str
    content: msgspec.Raw
    context: msgspec.Raw
    session_id: str
    callback_url: str | None = None


class Cancel(msgspec.Struct, tag_field="type", tag="cancel"):
    """Nobody waits for the answer any more."""

    message_id: str
    agent_id: str
    session_id: str
    reason: str = ""


class Asked(msgspec.Struct, tag_field="type", tag="asked"):
    """The agent's question was accepted; `agent_id` is whom its target meant."""

    conversation_id: str
    thread: str
    agent_id: str


class Question(inbox.QuestionAsked, tag_field="type", tag="question"):
    """A peer asks the agent."""


class Answered(inbox.QuestionEnded, tag_field="type", tag="answer"):
    """How a question of the agent ended: answered, expired or undeliverable."""


class Told(inbox.MessageReceived, tag_field="type", tag="message"):
    """A peer says something."""


class Error(msgspec.Struct, tag_field="type", tag="error"):
    """What the agent sent was refused; the connection stays. `message_id` is its message's, or its conversation's."""

    message_id: str
    status: int
    error: str


class Posted(msgspec.Struct):
    """What an HTTP agent answers with status 200."""

    response: "PostedResponse"


class PostedResponse(msgspec.Struct):
    """The answer of an HTTP agent."""

    content: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    error: str | None = None


def heartbeat(now: datetime) -> bytes:
    """Our own sign of life."""
    return codec.encode(Heartbeat(timestamp=now))


def attempt_of(message_id: str) -> tuple[str, int] | None:
    """The session and the attempt that a message id names; None: it is none."""
    session_id, _, number = message_id.rpartition(".")
    if not session_id or not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        return None
    return session_id, int(number)


def fraction(metadata: dict[str, Any]) -> float | None:
    """`metadata.progress`, if it is a fraction of 1."""
    value = metadata.get("progress")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 1 else None
