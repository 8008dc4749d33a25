"""The hive's streams, as data, and bringing a JetStream to that state.

Postgres is the truth and a stream only a transport, so a stream that is missing is simply made again.
"""

from dataclasses import dataclass
from typing import Any

from hivewire import limits
from hivewire.errors import HivewireError
from hivewire.subjects import Subjects

SERVER_VERSION_MIN = (2, 14)
NANOSECONDS = 1_000_000_000

StreamConfig = dict[str, Any]


class TopologyError(HivewireError):
    """The NATS server or one of its streams is not as hivewire needs it."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a service needs to know of a stream. `created` tells a stream from another of the same name."""

    name: str
    created: str
    first_seq: int
    last_seq: int
    replicas: int = 1

    @property
    def heartbeat_s(self) -> float:
        """How often a reader is to hear of it. A node of a cluster that ends takes its consumers along without a word: only
        missing heartbeats tell. Alone a server cannot end without its connections, and an idle hive shall cost little."""
        return 0.5 if self.replicas > 1 else 1.0


def command_stream(subjects: Subjects, service: str, replicas: int) -> StreamConfig:
    """The stream of a service's commands.

    `no_ack`: otherwise a publisher's reply subject would make the server write its PubAck into other agents' inboxes.
    A full stream, or a sender with too much waiting, refuses what is new; nothing accepted is pushed out.
    """
    return {
        "name": subjects.command_stream(service),
        "subjects": [subjects.commands_of(service)],
        "retention": "limits",
        "storage": "file",
        "no_ack": True,
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": limits.COMMANDS_PER_SENDER_MAX,
        "max_bytes": limits.COMMAND_STREAM_BYTES_MAX,
        "max_msg_size": limits.MESSAGE_BYTES_MAX,
        "num_replicas": replicas,
    }


def event_stream(subjects: Subjects, replicas: int) -> StreamConfig:
    """The stream of all events; it drops the entity's id from the subject when storing."""
    source, destination = subjects.event_transform
    return {
        "name": subjects.event_stream,
        "subjects": [subjects.events()],
        "subject_transform": {"src": source, "dest": destination},
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(limits.EVENT_STREAM_AGE_S_MAX * NANOSECONDS),
        "max_bytes": limits.EVENT_STREAM_BYTES_MAX,
        "duplicate_window": NANOSECONDS,
        "num_replicas": replicas,
    }


def differences(wanted: StreamConfig, found: StreamConfig) -> tuple[str, ...]:
    """The settings in which a stream differs from what it should be, each in words."""
    # The server leaves out what is off.
    settings = {setting: found.get(setting, False if value is True else None) for setting, value in wanted.items()}
    return tuple(
        f"{setting} is {settings[setting]!r}, should be {value!r}"
        for setting, value in wanted.items()
        if settings[setting] != value
    )


def check_server_version(version: str) -> None:
    """Refuse a nats-server that lacks what the streams need.

    Raises:
        TopologyError: the server is too old.
    """
    numbers = tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2] if part.isdigit())
    if numbers < SERVER_VERSION_MIN:
        wanted = ".".join(map(str, SERVER_VERSION_MIN))
        raise TopologyError(f"nats-server {version} is too old: hivewire needs {wanted} or newer; upgrade the server")
