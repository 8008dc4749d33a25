"""Draws the state machines of the documentation from the services' tables, and writes its catalogue of events.

`make docs` runs it.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from hivewire_agent_gateway.sessions.states import TRANSITIONS as SESSION
from hivewire_agent_gateway.states import TRANSITIONS, Presence
from hivewire_broker.states import ATTEMPT, INITIATIVE, PHASE, REPLAY, TASK
from hivewire_conversation.states import CONVERSATION, MESSAGE
from hivewire_tick_engine.states import TRANSITIONS as SIMULATION

State = TypeVar("State", bound=str | None)

PAGE = Path(__file__).with_name("state-machines.md")
INTRODUCTION = """\
# State machines

Drawn by `make docs` from the transition tables. An arrow names the events that lead from one state to the next; an event
that has no arrow from a state is refused there and changes nothing.
"""


def page() -> str:
    """The whole page."""
    sections = {
        "Tasks": diagram(TASK),
        "Attempts": diagram(ATTEMPT),
        "Phases": diagram(PHASE),
        "Initiatives": diagram(INITIATIVE),
        "Replays of dead letters": diagram(REPLAY),
        "Agents": diagram(TRANSITIONS),
        "Sessions": diagram(SESSION),
        "Questions": diagram(CONVERSATION),
        "Messages": diagram(MESSAGE),
        "Simulations": diagram(SIMULATION),
    }
    return INTRODUCTION + "".join(f"\n## {title}\n\n{drawn}\n" for title, drawn in sections.items())


def diagram(table: Mapping[State, Mapping[str, State]]) -> str:
    """A transition table as a Mermaid diagram."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for state, transitions in table.items():
        for event, following in transitions.items():
            arrows[_node(state), _node(following)].append(event.partition(".")[2])
    lines = [f"    {start} --> {end}: {', '.join(events)}" for (start, end), events in arrows.items()]
    ends = [f"    {_node(state)} --> [*]" for state, transitions in table.items() if not transitions]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *ends, "```"])


def _node(state: str | None) -> str:
    """Before its first event a thing is nowhere, and so is an agent that was removed."""
    return "[*]" if state in (None, Presence.REMOVED) else str(state)


if __name__ == "__main__":
    import event_catalogue

    PAGE.write_text(page())
    event_catalogue.PAGE.write_text(event_catalogue.page())
