"""What a simulation asks of a real agent, as its task handlers know it: the same code rehearses and works.

A message of a simulation reaches the agent as the dispatch of a session. Its handlers get it as a task, and what they
report goes back to the session.
"""

from typing import Final

import msgspec

from hivewire import codec, fields, limits
from hivewire.commands.broker import Complete, Fail, Progress, Start
from hivewire.commands.sessions import Respond, SessionProgress
from hivewire.inbox import SessionDispatch, TaskDispatch

Report = Start | Progress | Complete | Fail

SESSION_PREFIX: Final = "sim-"
"""How the ids of simulations' sessions begin; nobody else may name one so."""


class Described(msgspec.Struct):
    """A message that describes a task."""

    title: fields.Title
    description: fields.Text = ""
    needs: fields.Capabilities = []
    payload: msgspec.Raw = fields.NULL


def session_of(simulation_id: str, run: int, dispatch_id: str) -> str:
    """The id of the session that a simulation's dispatch is."""
    return f"{SESSION_PREFIX}{dispatch_id}-{run}-{simulation_id}"


def dispatch_of(name: str) -> tuple[str, int, str] | None:
    """The simulation, the run and the dispatch whose session it is; None: it is no simulation's."""
    dispatch_id, _, rest = name.removeprefix(SESSION_PREFIX).partition("-")
    run, _, simulation_id = rest.partition("-")
    if not name.startswith(SESSION_PREFIX) or not (run.isascii() and run.isdigit()) or not simulation_id:
        return None
    return simulation_id, int(run), dispatch_id


def as_task(dispatch: SessionDispatch, capabilities: list[str]) -> TaskDispatch:
    """The task that a dispatch stands for: what a message with a title describes, else the message itself.

    One that names no needs goes to the handler that needs most.
    """
    described = codec.decode_as(dispatch.content, Described, "message")
    if isinstance(described, codec.Malformed):
        described = Described(_text(dispatch.content)[: limits.TITLE_CHARS_MAX], payload=dispatch.content)
    return TaskDispatch(
        task_id=dispatch.session_id,
        attempt=dispatch.attempt,
        instance=dispatch.instance,
        title=described.title,
        description=described.description,
        required_capabilities=described.needs or capabilities,
        timeout_seconds=dispatch.timeout_seconds,
        metadata=dispatch.context,
        payload=described.payload.copy(),
    )


def as_said(report: Report) -> tuple[str, Respond | SessionProgress]:
    """What a report of the task says of the session, with the verb that says it."""
    session_id, attempt = report.task_id, report.attempt or 0
    match report:
        case Complete(result=result):
            return "respond", Respond(session_id, attempt, content=result)
        case Fail(error=error):
            return "respond", Respond(session_id, attempt, error=error)
        case Progress(progress=fraction, message=text):
            return "progress", SessionProgress(session_id, attempt, text=text, progress=fraction)
        case Start():
            return "progress", SessionProgress(session_id, attempt)


def _text(content: msgspec.Raw) -> str:
    value = msgspec.json.decode(content)
    return value if isinstance(value, str) else codec.text(content)
