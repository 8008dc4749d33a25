"""A large simulation that is always busy in the same way: some messages go from agent to agent for ever."""

import random
from typing import Any

AGENTS = 1_000
EDGES_EACH = 10
ACTIVE = 10
"""Messages on their way: each tick delivers as many, and sends as many."""
TICKS_COMPARED = 1_000
"""The first and the last so many ticks of a run must cost the same."""


def rehearsal() -> dict[str, Any]:
    """The configuration: 1,000 agents, 10,000 edges."""
    chance = random.Random(1)  # noqa: S311 - the same graph each time
    names = [f"agent-{number}" for number in range(AGENTS)]
    ways = {name: chance.sample([other for other in names if other != name], EDGES_EACH) for name in names}
    return {
        "agents": [
            {
                "id": name,
                "behaviour": {
                    "kind": "scripted",
                    "replies": [{"pattern": "*", "reply": "pass it on", "to": targets[0]}],
                },
            }
            for name, targets in ways.items()
        ],
        "graph": {"edges": [{"from": name, "to": target} for name, targets in ways.items() for target in targets]},
        "messages_per_tick": "all",
        "messages": [{"to": name, "content": "pass it on"} for name in chance.sample(names, ACTIVE)],
    }
