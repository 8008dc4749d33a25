"""What a service gives to the loop: a pure core, the rows it is kept in, and what it says after a commit.

The core decides and evolves in memory, without I/O, clock, ids or randomness of its own. The loop (`service.py`) is the
only one who commits and publishes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import asyncpg
import msgspec

from hivewire.events import Event


class Command(msgspec.Struct, frozen=True):
    """A decoded command. `sender` is what nats-server proved; `data` is the verb's struct."""

    id: str
    verb: str
    sender: str
    data: Any
    correlationid: str | None = None
    traceparent: str | None = None


class Kept(StrEnum):
    """Why a refused message is kept among the rejects."""

    MESSAGE = "message"
    """It could not be understood or carried out."""
    REPORT = "report"
    """It reports on an attempt that is not its sender's, or is over."""
    QUOTA = "quota"
    """Its sender sends more than it may."""


class Refusal(msgspec.Struct, frozen=True):
    """A command's no: nothing changed. `status` is the HTTP status of the same answer at the HTTP door.

    `kept`: the message is kept among the rejects.
    """

    error: str
    status: int = 422
    detail: dict[str, Any] = {}
    kept: Kept | None = None


@dataclass(slots=True)
class Step:
    """What follows from one input: facts, and what is kept beside them (a decision's record, say) but is no fact.

    Each event evolves before the next is asked for, so a generator may decide the later ones by what the earlier did;
    the records and the refused parts are read when it is through.
    """

    events: Iterable[Event] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    refused: list[tuple[Refusal, bytes]] = field(default_factory=list)
    """Parts of the command that were refused, each with its own text."""


NOTHING = Step()


class Write(NamedTuple):
    """One SQL statement with its arguments; arrays are unnested, so that a batch is one statement."""

    sql: str
    arguments: tuple[Any, ...]


class Message(NamedTuple):
    """What is published, unstored, once the commit made it true."""

    subject: str
    body: bytes


class Core(Protocol):
    """The pure part of a service, with its state inside."""

    verbs: Mapping[str, type[msgspec.Struct]]
    naturally_idempotent: frozenset[str]
    """Verbs whose repeats `decide` itself recognises by the entity's name or attempt. The outcome of every other
    verb is stored by command id, and a repeat gets the stored one."""
    decided_ahead: frozenset[str]
    """Verbs that may be decided while the turn before is being committed: what they need of the rows (`Rows.load_for`) is
    in memory if that turn wrote it. Naturally idempotent, all of them."""

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. Changes nothing."""

    def evolve(self, event: Event) -> None:
        """What did happen. Never fails for an event that `decide`, `observe` or `advance` gave."""

    def observe(self, observation: Any, now: datetime) -> Step:
        """What follows from something seen that is no command: a beat, another service's event.

        May change what is remembered of others, never what `evolve` alone changes."""

    def advance(self, now: datetime) -> Step:
        """What follows from the state and the time alone: timeouts, assignments."""

    def next_due(self) -> datetime | None:
        """When `advance` must run again although nothing arrives; None: only when something does."""

    def extend(self, silence_s: float, now: datetime) -> None:
        """Nothing could be heard for `silence_s`: move every deadline that depends on being heard."""

    def reply(self, command: Command) -> Any:
        """The body of the reply to a command that was not refused, from the state after it.

        It may be a `Refusal`, where a no is itself a fact that events tell."""


class Rows(Protocol):
    """Between the core's state and its tables."""

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Replace the core's state by what Postgres holds."""

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Bring what `decide` needs for these commands and memory does not hold, such as ended tasks."""

    def writes(self, events: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        """The statements that make the tables equal to the state after `events`.

        They become one statement, each part of which sees the tables as they were before: no row may be changed by
        two of them, nor twice by one."""

    async def messages(
        self, connection: asyncpg.Pool, events: Sequence[Event], records: Sequence[Any]
    ) -> Iterable[Message]:
        """What is sent to inboxes after the commit. Called with what was committed; where verbs are decided ahead, the
        state may be one turn further, whose statements `writes` has given."""
