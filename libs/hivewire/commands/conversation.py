"""What can be asked of the conversation service."""

from typing import Annotated, Final

import msgspec

from hivewire import fields, limits
from hivewire.graph import GraphSpec

Target = Annotated[
    str,
    msgspec.Meta(
        max_length=limits.TOKEN_BYTES_MAX + len("phase:"),
        pattern=r"^(agent|task|phase):[^\s.*>\x00-\x1f\x7f]+(?!\n)$",
        description="agent:ID, task:ID or phase:ID",
    ),
]
AnswerTimeoutS = Annotated[float, msgspec.Meta(gt=0.0, le=limits.ANSWER_TIMEOUT_S_MAX)]
RECEIVED_MAX: Final = 1_000


class Ask(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A question to whom `target` names.

    The conversation's id is `id`, else the command's. `thread` is the id of any conversation that this one follows up.
    `task_id` and `attempt` name the asker's attempt that waits for the answer: it is paused meanwhile.
    """

    target: Target
    question: msgspec.Raw
    id: fields.Token | None = None
    thread: fields.Token | None = None
    timeout_seconds: AnswerTimeoutS = limits.ANSWER_TIMEOUT_S
    task_id: fields.Token | None = None
    attempt: fields.Attempt | None = None


class Answer(msgspec.Struct):
    """The answer of the agent that was asked."""

    conversation_id: fields.Token
    answer: msgspec.Raw


class Withdraw(msgspec.Struct, omit_defaults=True):
    """The asker needs no answer any more."""

    conversation_id: fields.Token
    reason: fields.Text = ""


class SendMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something said without expecting an answer. The message's id is `id`, else the command's."""

    target: Target
    content: msgspec.Raw
    id: fields.Token | None = None


class Receive(msgspec.Struct):
    """The sender has what its inbox brought: questions, ends of its own questions, messages. Unknown ids say nothing."""

    ids: Annotated[list[fields.Token], msgspec.Meta(min_length=1, max_length=RECEIVED_MAX)]


class SetGraph(GraphSpec, frozen=True):
    """Who may talk to whom from now on."""


class ClearGraph(msgspec.Struct):
    """Everybody may talk to everybody again."""


class Done(msgspec.Struct):
    """The reply to a command that has nothing else to tell."""

    ok: bool = True


VERBS: dict[str, type[msgspec.Struct]] = {
    "ask": Ask,
    "answer": Answer,
    "withdraw": Withdraw,
    "message": SendMessage,
    "receive": Receive,
    "set_graph": SetGraph,
    "clear_graph": ClearGraph,
}
