"""Messages on their way: first in, first out, a line for each sender.

What a tick costs here depends on how many messages it takes, not on how many wait.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from hivewire.simulation import WAITING_BYTES_MAX, WAITING_MAX, MessageKind

Key = tuple[int, int]
"""(due tick, number): the order in which messages are taken."""


class Waiting(msgspec.Struct, frozen=True):
    """A message that is not delivered yet."""

    message_id: str
    sender: str
    target: str
    kind: MessageKind
    due: int
    content: msgspec.Raw
    in_reply_to: str | None = None
    part_of: str | None = None

    @property
    def key(self) -> Key:
        return self.due, int(self.message_id[1:])


class Lines:
    """All messages that wait in a simulation."""

    def __init__(self, messages: Iterable[Waiting] = ()) -> None:
        self._messages: dict[str, Waiting] = {}
        self._lines: dict[str, list[tuple[Key, str]]] = {}
        self._heads: list[tuple[Key, str]] = []
        self.size_bytes = 0
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._messages.values())

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._messages

    @property
    def full(self) -> bool:
        return len(self) >= WAITING_MAX or self.size_bytes >= WAITING_BYTES_MAX

    def add(self, message: Waiting) -> None:
        self._messages[message.message_id] = message
        self.size_bytes += len(bytes(message.content))
        line = self._lines.setdefault(message.sender, [])
        entry = (message.key, message.message_id)
        heapq.heappush(line, entry)
        if line[0] is entry:
            heapq.heappush(self._heads, (message.key, message.sender))

    def take(self, message_id: str) -> Waiting:
        """Remove a message."""
        message = self._messages.pop(message_id)
        self.size_bytes -= len(bytes(message.content))
        line = self._lines[message.sender]
        was_head = line[0][1] == message_id
        while line and line[0][1] not in self._messages:
            heapq.heappop(line)
        if not line:
            del self._lines[message.sender]
        elif was_head:
            heapq.heappush(self._heads, (line[0][0], message.sender))
        return message

    def due(self, tick: int, most: int | Literal["all"]) -> list[Waiting]:
        """What a tick takes, in order: at most so many, one of each sender; or all that is due."""
        wanted = len(self._lines) if most == "all" else most
        heads = self._due_heads(tick, wanted)
        if most != "all":
            return [self._messages[self._lines[sender][0][1]] for _, sender in heads]
        entries = sorted(entry for _, sender in heads for entry in self._lines[sender] if entry[0][0] <= tick)
        return [self._messages[message_id] for _, message_id in entries if message_id in self._messages]

    def _due_heads(self, tick: int, most: int) -> list[tuple[Key, str]]:
        """The heads of the lines that are due, in order. They stay where they are."""
        found: list[tuple[Key, str]] = []
        while self._heads and len(found) < most and self._heads[0][0][0] <= tick:
            head = heapq.heappop(self._heads)
            if self._is_head(*head) and (not found or found[-1] != head):
                found.append(head)
        for head in found:
            heapq.heappush(self._heads, head)
        return found

    def _is_head(self, key: Key, sender: str) -> bool:
        line = self._lines.get(sender)
        return line is not None and line[0][0] == key
