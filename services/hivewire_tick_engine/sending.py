"""Sending a message in a simulation: the graph lets it pass, or an event says why not."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hivewire import codec
from hivewire.events.simulation import MessageBlocked, MessageDropped, MessageSent, SimulationEvent
from hivewire.graph import ANYBODY
from hivewire.simulation import OUTSIDE, SYSTEM, USER, MessageKind, content_problem
from hivewire_tick_engine.state import Simulation

TOO_MANY: Final = "too many messages wait already"


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A message that wants to be sent in the tick `tick`, to arrive in the tick `due` at the earliest."""

    sender: str
    target: str
    content: msgspec.Raw
    tick: int
    due: int
    kind: MessageKind = "message"
    in_reply_to: str | None = None
    part_of: str | None = None


def send(simulation: Simulation, post: Post) -> Iterator[SimulationEvent]:
    """What follows from a message. `*` becomes one message for each other agent, in the order of their ids."""
    blocked = _blocked(simulation, post)
    targets = [post.target]
    if post.target == ANYBODY and not blocked:
        targets = [agent_id for agent_id in simulation.agents if agent_id != post.sender]
    for target in targets:
        said: dict[str, Any] = {
            "simulation_id": simulation.simulation_id,
            "tick": post.tick,
            "message_id": simulation.next_message_id,
            "sender": post.sender,
            "target": target,
            "kind": post.kind,
            "in_reply_to": post.in_reply_to,
            "part_of": post.part_of,
        }
        if blocked:
            yield MessageBlocked(**said, reason=blocked, content=post.content)
            yield from _tell_delegate(simulation, post, blocked)
        elif dropped := _dropped(simulation, post):
            yield MessageDropped(**said, reason=dropped)
            yield from _tell_delegate(simulation, post, dropped)
        else:
            yield MessageSent(**said, due=post.due, content=post.content)


def error_to(
    simulation: Simulation, asker: str, message_id: str, text: str, tick: int, due: int
) -> Iterator[SimulationEvent]:
    """The system tells the one who asked that there will be no answer."""
    return send(
        simulation,
        Post(
            sender=SYSTEM,
            target=asker,
            content=codec.raw({"error": text}),
            tick=tick,
            due=due,
            kind="error",
            in_reply_to=message_id,
        ),
    )


def _blocked(simulation: Simulation, post: Post) -> str | None:
    """Why the graph does not let the message pass. The user and the system stand outside of it."""
    if post.sender in OUTSIDE or post.target == USER:
        return None
    return simulation.graph.blocks(post.sender, post.target)


def _dropped(simulation: Simulation, post: Post) -> str | None:
    if simulation.waiting.full and post.sender != SYSTEM:
        return TOO_MANY
    return content_problem(post.content)


def _tell_delegate(simulation: Simulation, post: Post, reason: str) -> Iterator[SimulationEvent]:
    """Who collects answers would wait for ever for one that does not pass."""
    if post.in_reply_to in simulation.parts and post.sender != SYSTEM:
        text = f"the answer of {post.sender} did not pass: {reason}"
        yield from error_to(simulation, post.target, post.in_reply_to, text, post.tick, post.due)
