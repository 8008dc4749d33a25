"""One screen of `hivewire top`, whatever the terminal's size and the hive's."""

from datetime import UTC, datetime

import msgspec
import pytest

from hivewire.cli.output import cells
from hivewire.cli.top import Snapshot, frame
from hivewire.views import AgentView, EventView, QueueView, Stats, TaskView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def agent(number: int) -> AgentView:
    return msgspec.convert(
        {
            "agent_id": f"agent-{number}",
            "name": "",
            "agent_type": "native",
            "state": "present",
            "drained": number == 0,
            "capabilities": ["python", "review", "長い名前"] * 5,
            "slots": 4,
            "busy_slots": 2,
            "policy": "always-on",
            "registered_at": NOW,
            "changed_at": NOW,
        },
        AgentView,
    )


def snapshot(size: int) -> Snapshot:
    task = {"task_id": "t", "status": "pending", "title": "Review " * 30, "priority": 5, "created_at": NOW}
    event = {"id": "e", "type": "task.created", "time": NOW, "entity_id": "t", "data": {"title": "Review " * 30}}
    return Snapshot(
        hive="hive",
        taken_at=NOW,
        stats=Stats({"completed": 3, "running": 1}, size, {"present": size}, 1.5),
        queue=QueueView(1, 2, 3, [made(TaskView, task) for _ in range(size)]),
        agents=[agent(number) for number in range(size)],
        events=[made(EventView, event) for _ in range(size)],
        completed_per_second=1.25,
        unsuccessful_per_second=0.0,
    )


def made(kind, values: dict):
    """A view with these values, and something in every other field that has no default."""
    blank = {str: "", int: 0, float: 0.0, bool: False, datetime: NOW, msgspec.Raw: msgspec.Raw(b"null")}
    needed = {field.name: blank.get(field.type) for field in msgspec.structs.fields(kind) if field.required}
    needed = {name: [] if value is None else value for name, value in needed.items()}
    values = {name: msgspec.Raw(msgspec.json.encode(v)) if name == "data" else v for name, v in values.items()}
    return kind(**(needed | values))


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (60, 15)])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_it_fits_the_screen(columns, rows, size):
    lines = frame(snapshot(size), columns, rows)
    assert len(lines) <= rows
    assert max(map(cells, lines)) <= columns
    assert lines[0].startswith("hive hive")


def test_it_says_that_it_is_how_things_were():
    lines = frame(snapshot(100), 80, 24, "the hive does not answer: this is how it was")
    assert len(lines) <= 24
    assert lines[5] == "NOW     the hive does not answer: this is how it was"


def test_it_shows_what_matters_and_how_much_is_not_shown():
    text = "\n".join(frame(snapshot(100), 80, 24))
    for part in ("2 ready, 1 waiting", "1.2/s completed", "drained", "AGENT", "TASK", "EVENTS", "more"):
        assert part in text


def test_an_idle_hive_says_so():
    assert frame(snapshot(0), 80, 24)[-1] == "Nothing has happened yet."
