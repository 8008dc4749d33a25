"""What can be asked of the agent gateway about sessions. A session is one dispatch to a remote agent, with its answer."""

from typing import Annotated, Literal

import msgspec

from hivewire import fields, limits

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.URL_CHARS_MAX, pattern=r"^https?://\S+(?!\n)$")]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=limits.SESSIONS_OPEN_MAX)]


class Webhook(msgspec.Struct, frozen=True, tag_field="type", tag="webhook"):
    """POST the session with its response to `url`, signed with the hive's webhook secret."""

    url: Url


class PullRequest(msgspec.Struct, frozen=True, tag_field="type", tag="github_pull_request", omit_defaults=True):
    """Commit the files of the response to a branch and open a pull request.

    The response is `{"files": {path: text}, "title": ..., "body": ...}`. `issue` is commented on, also on failure.
    """

    repository: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+(?!\n)$", max_length=limits.LABEL_CHARS_MAX)]
    base: fields.Name = "main"
    branch: fields.Name | None = None
    title: fields.Title | None = None
    issue: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


CompletionAction = Literal["none"] | Webhook | PullRequest


class Dispatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Have a remote agent answer `content`.

    The session's id is `id`, else the command's id; the same id with the same content again is the same session.
    `external_ref` (an issue's number, say) is unique among the sessions that have not ended. `timeout_seconds` bounds
    each attempt from its dispatch on.
    """

    agent_id: fields.Token
    content: msgspec.Raw
    id: fields.Token | None = None
    context: msgspec.Raw = fields.EMPTY_OBJECT
    external_ref: fields.Name | None = None
    timeout_seconds: fields.TimeoutS = limits.SESSION_TIMEOUT_S
    max_retries: fields.Retries = 0
    retry_delay_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=limits.BACKOFF_S_MAX)] = 1.0
    completion_action: CompletionAction = "none"
    simulation_id: fields.Token | None = None
    """Set by the tick engine alone."""


class DispatchBatch(msgspec.Struct, omit_defaults=True):
    """Up to 1,000 sessions, each taken or refused by itself. At most `max_concurrent` of them are open at a time."""

    sessions: Annotated[list[Dispatch], msgspec.Meta(min_length=1, max_length=limits.BATCH_ITEMS_MAX)]
    max_concurrent: Concurrency = limits.SESSIONS_CONCURRENT


class SessionProgress(msgspec.Struct, omit_defaults=True):
    """The agent says that it works on an attempt, and how far it is."""

    session_id: fields.Token
    attempt: fields.Attempt
    status: fields.Name | None = None
    text: fields.Text = ""
    progress: fields.Fraction | None = None


class Respond(msgspec.Struct, omit_defaults=True):
    """The agent's answer to an attempt: `content`, or an `error`. A repeat of the same answer changes nothing."""

    session_id: fields.Token
    attempt: fields.Attempt
    content: msgspec.Raw = fields.NULL
    usage: msgspec.Raw = fields.NULL
    error: fields.ErrorText | None = None
    unreachable: bool = False
    """The agent itself said nothing: no connection to its endpoint could be made."""


class TakeResponse(msgspec.Struct):
    """Take the buffered response. It can be taken once; the session keeps showing it."""

    session_id: fields.Token


class CancelSession(msgspec.Struct, omit_defaults=True):
    """End a session that has not ended; its agent is told."""

    session_id: fields.Token
    reason: fields.Text = ""


VERBS: dict[str, type[msgspec.Struct]] = {
    "dispatch": Dispatch,
    "dispatch_batch": DispatchBatch,
    "progress": SessionProgress,
    "respond": Respond,
    "take": TakeResponse,
    "cancel": CancelSession,
}
