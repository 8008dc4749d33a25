"""Builds and parses every subject. No other module writes a subject literal.

The last token of a command, a read or a beat is its sender: nats-server lets a credential publish only under its
own name, so a subject that arrived proves who spoke.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from hivewire.errors import BadUsage
from hivewire.limits import HIVE_NAME_CHARS_MAX, TOKEN_BYTES_MAX

_TOKEN = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_TOKENS = re.compile(rf"{_TOKEN.pattern}(?:\.{_TOKEN.pattern})*")
_HIVE = re.compile(rf"[a-z][a-z0-9_]{{0,{HIVE_NAME_CHARS_MAX - 1}}}")

BROKER = "broker"
AGENT_GATEWAY = "agent-gateway"
TICK_ENGINE = "tick-engine"
CONVERSATION = "conversation"
SERVICES = (BROKER, AGENT_GATEWAY, TICK_ENGINE, CONVERSATION)

OPERATOR = "operator"
"""The name that every operator's credentials bear."""

REPLY_HEADER = "Hive-Reply"
"""Header of a command: the inbox that its outcome is sent to. It must lie under the sender's own reply prefix."""


def is_token(text: str) -> bool:
    """Whether `text` can stand as one token of a subject."""
    return bool(_TOKEN.fullmatch(text)) and text.isprintable() and len(text.encode()) <= TOKEN_BYTES_MAX


def token(text: str, what: str = "id") -> str:
    """`text`, when it can stand as one token of a subject.

    Raises:
        BadUsage: it is empty, longer than 128 bytes, or has a space, a control character, `.`, `*` or `>`.
    """
    if not is_token(text):
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise BadUsage(
            f"{what} {shown!r} can't be used: take 1 to {TOKEN_BYTES_MAX} bytes without spaces, control characters, '.', '*' or '>'"
        )
    return text


@lru_cache(maxsize=4_096)
def as_token(text: str) -> str:
    """`text` as a token: percent-encoded where a foreign id could not stand in a subject as it is."""
    if is_token(text) and "%" not in text:
        return text
    # Dots are never encoded by `quote`, since they are harmless in a URL.
    return quote(text, safe="", errors="backslashreplace").replace(".", "%2E")[:TOKEN_BYTES_MAX] or "%"


def hive_name(name: str) -> str:
    """A valid name of a hive: it is the first token of every subject and the name of its Postgres schema.

    Raises:
        BadUsage: the name is not made of lower-case letters, digits and `_`, starting with a letter.
    """
    if not _HIVE.fullmatch(name):
        raise BadUsage(
            f"hive name {name!r} can't be used: take a letter, then lower-case letters, digits or '_', "
            f"{HIVE_NAME_CHARS_MAX} characters at most"
        )
    return name


@dataclass(frozen=True, slots=True)
class Command:
    """The parts of a command's subject."""

    service: str
    verb: str
    sender: str


@dataclass(frozen=True, slots=True)
class Subjects:
    """All subjects and stream names of one hive. `hive` is its first token."""

    hive: str = "hive"

    def __post_init__(self) -> None:
        hive_name(self.hive)

    # commands ---------------------------------------------------------------------------------------
    def command(self, service: str, verb: str, sender: str) -> str:
        return f"{self.hive}.cmd.{service}.{verb}.{sender}"

    def commands_of(self, service: str) -> str:
        """Every command to one service: what its stream keeps."""
        return f"{self.hive}.cmd.{service}.*.*"

    def parse_command(self, subject: str) -> Command | None:
        """The service, verb and sender of a command's subject, or None if it is no such subject."""
        parts = subject.split(".")
        if len(parts) != 5 or parts[0] != self.hive or parts[1] != "cmd":
            return None
        return Command(parts[2], parts[3], parts[4])

    # reads ------------------------------------------------------------------------------------------
    def read(self, service: str, query: str, sender: str) -> str:
        return f"{self.hive}.get.{service}.{query}.{sender}"

    def reads_of(self, service: str) -> str:
        return f"{self.hive}.get.{service}.*.*"

    def parse_read(self, subject: str) -> Command | None:
        """The service, query (as `verb`) and sender of a read's subject, or None if it is no such subject."""
        parts = subject.split(".")
        if len(parts) != 5 or parts[0] != self.hive or parts[1] != "get":
            return None
        return Command(parts[2], parts[3], parts[4])

    # administration ---------------------------------------------------------------------------------
    def admin(self, service: str, action: str, sender: str) -> str:
        """A request that only operators may make and whose answer is kept nowhere, since it holds a secret."""
        return f"{self.hive}.admin.{service}.{action}.{sender}"

    def admins_of(self, service: str) -> str:
        return f"{self.hive}.admin.{service}.*.*"

    def parse_admin(self, subject: str) -> Command | None:
        """The service, action (as `verb`) and sender of such a request's subject, or None if it is no such subject."""
        parts = subject.split(".")
        if len(parts) != 5 or parts[0] != self.hive or parts[1] != "admin":
            return None
        return Command(parts[2], parts[3], parts[4])

    # events -----------------------------------------------------------------------------------------
    def event(self, event_type: str, entity_id: str) -> str:
        """The subject of an event; `event_type` is `<entity>.<event>`, such as `task.completed`."""
        return f"{self.hive}.evt.{event_type}.{as_token(entity_id)}"

    def events(self, event_type: str = "*.*", entity_id: str = "*") -> str:
        """A subscription to events as they happen."""
        return f"{self.hive}.evt.{event_type}.{entity_id}"

    def stored_events(self, event_type: str = "*.*") -> str:
        """A filter on the event stream, which drops the entity's id when storing."""
        return f"{self.hive}.evt.{event_type}"

    # agents -----------------------------------------------------------------------------------------
    def inbox(self, agent_id: str, kind: str) -> str:
        """What an agent must act on: task, cancel, question, answer, message, wake, drain, sync, replaced."""
        return f"{self.hive}.inbox.{agent_id}.{kind}"

    def inboxes(self, agent_id: str) -> str:
        return f"{self.hive}.inbox.{agent_id}.>"

    def parse_inbox(self, subject: str) -> tuple[str, str] | None:
        """The agent and the kind of an inbox message's subject, or None if it is no such subject."""
        parts = subject.split(".")
        if len(parts) != 4 or parts[0] != self.hive or parts[1] != "inbox":
            return None
        return parts[2], parts[3]

    def beat(self, agent_id: str) -> str:
        return f"{self.hive}.beat.{agent_id}"

    def beats(self) -> str:
        return f"{self.hive}.beat.*"

    def beat_sender(self, subject: str) -> str:
        """The agent whose beat this is: what the server proved, whatever the payload says."""
        return subject.rpartition(".")[2]

    # doors ------------------------------------------------------------------------------------------
    def door(self, door_id: str, kind: str) -> str:
        """Between the agent gateway and one of its doors: `beat` from the door, `dispatch` and `halt` to it."""
        return f"{self.hive}.door.{door_id}.{kind}"

    # streams ----------------------------------------------------------------------------------------
    def command_stream(self, service: str) -> str:
        return f"{self.hive.upper()}_CMD_{service.upper().replace('-', '_')}"

    @property
    def event_stream(self) -> str:
        return f"{self.hive.upper()}_EVENTS"

    @property
    def event_transform(self) -> tuple[str, str]:
        """The event stream's subject transform: it stores some dozen subjects instead of one an entity."""
        prefix = f"{self.hive}.evt"
        return f"{prefix}.*.*.*", f"{prefix}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"


def reply_prefix(sender: str) -> str:
    """The prefix under which `sender` alone may listen. Replies go nowhere else."""
    return f"_INBOX.{sender}"


def is_reply_subject(subject: str, sender: str) -> bool:
    """Whether a reply to `sender` may be published on `subject`.

    A service that answered anywhere else could be talked into publishing where the sender itself may not.
    """
    prefix = reply_prefix(sender) + "."
    rest = subject[len(prefix) :]
    return (
        subject.startswith(prefix)
        and bool(_TOKENS.fullmatch(rest))
        and rest.isprintable()
        and (len(rest.encode()) <= TOKEN_BYTES_MAX or all(map(is_token, rest.split("."))))
    )
