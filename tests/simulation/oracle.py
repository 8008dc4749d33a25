"""What must hold after every step, whatever went wrong before it."""

from collections import Counter
from typing import Any

from hivewire import codec
from hivewire.envelope import Envelope
from simulation.nats.server import Stored, Stream
from simulation.postgres.database import Database
from simulation.postgres.tables import Key, Row

Changes = dict[str, dict[Key, Row | None]]
TERMINAL = frozenset({"completed", "failed", "dead_lettered", "cancelled"})
OPEN = frozenset({"assigned", "running"})


class Violated(BaseException):
    """An invariant does not hold. No service can catch it."""


class Oracle:
    """Watches commits, the event stream and replies. `slots`: of each agent."""

    def __init__(self, database: Database, slots: dict[str, int]) -> None:
        self._database = database
        self._slots = slots
        self._last_seq: Counter[str] = Counter()
        self._bodies: dict[tuple[str, int], str] = {}
        self._published: dict[str, set[int]] = {}
        self._completed: set[str] = set()
        self.accepted: dict[str, None] = {}
        self.sessions: dict[str, None] = {}
        self.commits = 0
        self.violations: list[str] = []
        database.on_commit = self._commit

    def _violated(self, what: str) -> Violated:
        self.violations.append(what)
        return Violated(what)

    def _rows(self, table: str, changes: Changes) -> dict[Key, Row | None]:
        return changes.get(table, {})

    def _after(self, table: str, key: Key, changes: Changes) -> Row | None:
        changed = changes.get(table, {})
        return changed[key] if key in changed else self._database.rows_of(table).get(key)

    # accepted ---------------------------------------------------------------------------------------
    def accept(self, task_id: str) -> None:
        """The sender of a task was told that it is taken."""
        if (task_id,) not in self._database.rows_of("task"):
            raise self._violated(f"task {task_id} was accepted and is not there")
        self.accepted[task_id] = None

    # commits ----------------------------------------------------------------------------------------
    def _commit(self, changes: Changes) -> None:
        if "position" not in changes:
            return
        self.commits += 1
        self._events(changes)
        self._watermarks(changes)
        self._tasks(changes)
        self._attempts(changes)

    def _events(self, changes: Changes) -> None:
        for (writer, seq, _), row in self._rows("event", changes).items():
            assert row is not None
            if seq != self._last_seq[writer] + 1:
                raise self._violated(f"event {seq} of {writer} follows event {self._last_seq[writer]}")
            self._last_seq[writer] = seq
            self._bodies[writer, seq] = row["data"]
            if row["type"] == "task.completed":
                if row["entity_id"] in self._completed:
                    raise self._violated(f"task {row['entity_id']} is completed a second time")
                self._completed.add(row["entity_id"])

    def _watermarks(self, changes: Changes) -> None:
        for (writer,), row in self._rows("position", changes).items():
            assert row is not None
            if row["event_seq"] != self._last_seq[writer]:
                raise self._violated(
                    f"{writer} says its last event is {row['event_seq']}, it is {self._last_seq[writer]}"
                )
            before = (self._database.rows_of("position").get((writer,)) or row)["published_seq"]
            published = self._published.get(writer, set())
            missing = [seq for seq in range(before + 1, row["published_seq"] + 1) if seq not in published]
            if missing:
                raise self._violated(f"{writer} says that its events {missing} are on the bus, and they never were")

    def _tasks(self, changes: Changes) -> None:
        for (task_id,), row in self._rows("task", changes).items():
            if row is None:
                raise self._violated(f"task {task_id} is gone")
            before = self._database.rows_of("task").get((task_id,))
            if before is not None and before["status"] == "completed" and row["status"] != "completed":
                raise self._violated(f"task {task_id} was completed and is {row['status']}")
            if row["status"] in OPEN:
                self._dependencies(task_id, row, changes)

    def _dependencies(self, task_id: str, row: Row, changes: Changes) -> None:
        for needed in row["depends_on"]:
            found = self._after("task", (needed,), changes)
            if found is None or found["status"] != "completed":
                raise self._violated(f"task {task_id} is {row['status']}, and {needed} that it needs is not completed")

    def _attempts(self, changes: Changes) -> None:
        agents = set()
        for (task_id, number), row in self._rows("attempt", changes).items():
            assert row is not None
            task = self._after("task", (task_id,), changes)
            assert task is not None
            if row["ended_at"] is None and (number != task["attempt"] or task["status"] not in OPEN):
                raise self._violated(
                    f"attempt {number} of {task_id} is open; the task is {task['status']}: {task['attempt']}"
                )
            before = self._database.rows_of("attempt").get((task_id, number))
            if before is not None and before["ended_at"] is not None and before["ended_at"] != row["ended_at"]:
                raise self._violated(f"attempt {number} of {task_id} ends twice")
            agents.add(row["agent_id"])
        for agent_id in sorted(agents):
            self._slots_of(agent_id, changes)

    def _slots_of(self, agent_id: str, changes: Changes) -> None:
        keys = self._database.rows_of("attempt").keys() | self._rows("attempt", changes).keys()
        rows = (self._after("attempt", key, changes) for key in keys)
        busy = sum(row is not None and row["agent_id"] == agent_id and row["ended_at"] is None for row in rows)
        if busy > self._slots.get(agent_id, 0):
            raise self._violated(f"agent {agent_id} has {busy} tasks and {self._slots.get(agent_id)} slots")

    # the event stream -------------------------------------------------------------------------------
    def stored(self, stream: Stream, stored: Stored) -> None:
        """Something is in a stream."""
        if not stream.config["name"].endswith("_EVENTS"):
            return
        envelope = codec.decode_envelope(stored.message.body)
        assert isinstance(envelope, Envelope), envelope
        assert envelope.seq is not None
        writer = envelope.source.rpartition("/")[2]
        body = self._bodies.get((writer, envelope.seq))
        if body != bytes(envelope.data).decode():
            raise self._violated(f"event {envelope.seq} of {writer} is published and was not committed as such")
        self._published.setdefault(writer, set()).add(envelope.seq)

    # the end ----------------------------------------------------------------------------------------
    def unfinished(self) -> list[str]:
        """The accepted tasks that are not at an end of their own."""
        tasks = self._database.rows_of("task")
        return [task_id for task_id in self.accepted if tasks[task_id,]["status"] not in TERMINAL]

    def open_sessions(self) -> list[str]:
        """The accepted sessions that are not at an end of their own."""
        rows = self._database.rows_of("session")
        return [one for one in self.sessions if (one,) not in rows or rows[one,]["ended_at"] is None]

    def unpublished(self) -> list[tuple[str, int]]:
        """The events that never were on the bus."""
        return sorted(key for key in self._bodies if key[1] not in self._published.get(key[0], set()))

    def rows(self, table: str) -> list[dict[str, Any]]:
        return list(self._database.rows_of(table).values())

    def told(self) -> dict[str, int]:
        """Figures of the run."""
        statuses = Counter(row["status"] for row in self.rows("task"))
        return {
            "commits": self.commits,
            "events": sum(self._last_seq.values()),
            "accepted": len(self.accepted),
            "attempts": len(self.rows("attempt")),
            "sessions": len(self.rows("session")),
            "questions": len(self.rows("conversation")),
            **statuses,
        }
