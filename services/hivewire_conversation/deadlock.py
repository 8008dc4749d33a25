"""Agents that wait for one another, so that none of them can ever answer.

An agent can answer when it has a question handler or a slot that does not wait. One whose slots all wait can answer
once an attempt of its own goes on, which it does when all whom it waits for can answer. Who cannot even then is stuck.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waiter:
    """An agent that waits. `attempts`: for each attempt that waits, the agents that it waits for."""

    can_answer: bool
    attempts: list[frozenset[str]] = field(default_factory=list)


def cycle(asker: str, target: str, waiters: Mapping[str, Waiter]) -> list[str] | None:
    """The agents of a deadlock that contains `asker`, which waits for `target` already, from it and back to it.

    None: there is no such deadlock. Of several cycles the shortest is named.
    """
    stuck = _stuck(_reachable(asker, waiters), waiters)
    if asker not in stuck:
        return None
    return _way_back(asker, target, stuck, waiters)


def _reachable(start: str, waiters: Mapping[str, Waiter]) -> set[str]:
    found, left = {start}, [start]
    while left:
        for agent_id in _waited_for(left.pop(), waiters):
            if agent_id not in found:
                found.add(agent_id)
                left.append(agent_id)
    return found


def _stuck(agents: set[str], waiters: Mapping[str, Waiter]) -> set[str]:
    """Those of `agents`, which wait for no others, that can never answer."""
    stuck = {agent_id for agent_id in agents if agent_id in waiters and not waiters[agent_id].can_answer}
    waited_for_by: dict[str, list[str]] = {}
    for agent_id in stuck:
        for other in _waited_for(agent_id, waiters):
            waited_for_by.setdefault(other, []).append(agent_id)
    left = deque(stuck)
    while left:
        agent_id = left.popleft()
        if agent_id in stuck and any(not (others & stuck) for others in waiters[agent_id].attempts):
            stuck.discard(agent_id)
            left.extend(waited_for_by.get(agent_id, ()))
    return stuck


def _way_back(asker: str, target: str, stuck: set[str], waiters: Mapping[str, Waiter]) -> list[str] | None:
    came_from = {target: asker}
    left = deque([target])
    while left:
        agent_id = left.popleft()
        if agent_id == asker:
            return _path(asker, came_from)
        for other in sorted(_waited_for(agent_id, waiters) & stuck):
            if other not in came_from:
                came_from[other] = agent_id
                left.append(other)
    return None


def _path(asker: str, came_from: Mapping[str, str]) -> list[str]:
    path, agent_id = [asker], came_from[asker]
    while agent_id != asker:
        path.append(agent_id)
        agent_id = came_from[agent_id]
    return [asker, *path[:0:-1], asker]


def _waited_for(agent_id: str, waiters: Mapping[str, Waiter]) -> set[str]:
    waiter = waiters.get(agent_id)
    return set().union(*waiter.attempts) if waiter else set()
