"""What each role may publish and hear, as subject patterns.

The patterns are the permission templates of the roles' signing keys: nats-server puts a credential's own name in
place of `{{name()}}` when it connects. The last token of every command is therefore proven, and nobody hears the
replies of another.

No role may answer with `allow_responses`, and only services reach the JetStream API beyond reading its state: an
agent that could make a consumer could read every stream.
"""

from dataclasses import dataclass
from enum import StrEnum

from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, Subjects, reply_prefix

NAME = "{{name()}}"
"""Stands for the credential's own name in a permission template."""


class Role(StrEnum):
    """Who a credential is for."""

    AGENT = "agent"
    PUBLISHER = "publisher"
    OPERATOR = "operator"
    SERVICE = "service"


RESERVED_NAMES = {Role.OPERATOR: "operator", Role.SERVICE: "service"}
"""Names that no other role may bear: of the local operator, and of every service."""

AGENT_VERBS = {
    BROKER: ("submit", "submit_batch", "start", "progress", "complete", "fail", "report_batch"),
    AGENT_GATEWAY: ("register", "leave", "publish", "progress", "respond"),
    CONVERSATION: ("ask", "answer", "withdraw", "message", "receive"),
}
PUBLISHER_VERBS = {
    BROKER: (
        "submit",
        "submit_batch",
        "cancel",
        "retry",
        "block",
        "unblock",
        "dispatch",
        "dispatch_next",
        "queue",
        "update",
        "complete",
        "create_initiative",
        "create_phase",
        "update_phase",
        "queue_phase",
    ),
    AGENT_GATEWAY: ("publish", "dispatch", "dispatch_batch", "take", "cancel", "wake"),
    CONVERSATION: ("ask", "withdraw", "message", "receive"),
}

JETSTREAM_STATE = (
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.NAMES",
    "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.LIST.>",
    "$JS.API.CONSUMER.NAMES.>",
)
"""The part of the JetStream API that only reads settings and state, never messages."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subject patterns that a role may publish to and subscribe to. What is not listed is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(role: Role, hive: str) -> Permissions:
    """The permission template of `role` in `hive`.

    Raises:
        BadUsage: `hive` is no valid name of a hive.
    """
    subjects = Subjects(hive)
    own_replies = f"{reply_prefix(NAME)}.>"
    reads = subjects.read("*", "*", NAME)
    match role:
        case Role.AGENT:
            return Permissions(
                publish=(*_commands(subjects, AGENT_VERBS), reads, subjects.beat(NAME)),
                subscribe=(subjects.inboxes(NAME), own_replies),
            )
        case Role.PUBLISHER:
            return Permissions(
                publish=(*_commands(subjects, PUBLISHER_VERBS), reads),
                subscribe=(f"{hive}.evt.>", own_replies),
            )
        case Role.OPERATOR:
            return Permissions(
                publish=(
                    subjects.command("*", "*", NAME),
                    reads,
                    subjects.admin("*", "*", NAME),
                    "$SRV.>",
                    *JETSTREAM_STATE,
                ),
                subscribe=(f"{hive}.evt.>", subjects.beats(), own_replies),
            )
        case Role.SERVICE:
            return Permissions(
                publish=(f"{hive}.>", "$JS.>", "$SRV.>", "_INBOX.>"),
                subscribe=(f"{hive}.>", "$SRV.>", f"{reply_prefix('*')}.>"),
            )


def _commands(subjects: Subjects, verbs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(subjects.command(service, verb, NAME) for service, names in verbs.items() for verb in names)
