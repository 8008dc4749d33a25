"""What the agents of a simulation remember: each its last messages, within bounds of number and size."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec


class Heard(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message that an agent remembers."""

    tick: int
    message_id: str
    sender: str
    content: msgspec.Raw


class Memory:
    """All that the agents heard lately."""

    def __init__(self, heard: Mapping[str, Sequence[Heard]] = {}) -> None:
        self._heard = {agent_id: deque(messages) for agent_id, messages in heard.items()}
        self._bytes = {agent_id: sum(map(_size, messages)) for agent_id, messages in heard.items()}
        self._count = sum(map(len, heard.values()))

    def __len__(self) -> int:
        return self._count

    def of(self, agent_id: str) -> list[Heard]:
        """An agent's messages, oldest first."""
        return list(self._heard.get(agent_id, ()))

    def by_agent(self) -> dict[str, list[Heard]]:
        return {agent_id: list(messages) for agent_id, messages in self._heard.items()}

    def add(self, agent_id: str, heard: Heard, most: int, most_bytes: int) -> None:
        """Remember a message, and forget the oldest beyond `most` of them or `most_bytes`."""
        messages = self._heard.setdefault(agent_id, deque())
        messages.append(heard)
        self._count += 1
        size = self._bytes.get(agent_id, 0) + _size(heard)
        while messages and (len(messages) > most or size > most_bytes):
            size -= _size(messages.popleft())
            self._count -= 1
        self._bytes[agent_id] = size


def _size(heard: Heard) -> int:
    return len(bytes(heard.content))
