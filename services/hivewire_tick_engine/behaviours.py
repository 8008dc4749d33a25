"""What simulated agents do with a message. Chance comes from the seed and the place where it is needed."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from hivewire import codec
from hivewire.events.simulation import SimulationEvent
from hivewire.graph import ANYBODY
from hivewire.simulation import AgentSpec, Delegation, Scripted, ScriptedReply, Stub, content_problem
from hivewire_tick_engine.sending import Post, error_to, send
from hivewire_tick_engine.state import TOO_MUCH, Simulation
from hivewire_tick_engine.waiting import Waiting


def answer(
    simulation: Simulation, agent: AgentSpec, message: Waiting, tick: int, root: str | None
) -> Iterator[SimulationEvent]:
    """What an agent says to a message that it just got; `root`: the delegated message that it answers a part of."""
    match agent.behaviour:
        case Stub() if message.kind == "message":
            text = f"{agent.id} got {message.message_id}"
            yield from send(simulation, _reply(message, codec.raw(text), tick, tick + 1))
        case Scripted(replies=replies) if message.kind != "error":
            yield from _scripted(simulation, replies, message, tick)
        case Delegation() if root is not None:
            yield from _finish(simulation, root, tick)
        case Delegation() as behaviour if message.kind == "message":
            yield from _delegate(simulation, behaviour, message, tick)


def _reply(message: Waiting, content: msgspec.Raw, tick: int, due: int) -> Post:
    return Post(
        sender=message.target,
        target=message.sender,
        content=content,
        tick=tick,
        due=due,
        kind="reply",
        in_reply_to=message.message_id,
    )


# --- scripted ---------------------------------------------------------------------------------------
def _scripted(
    simulation: Simulation, replies: list[ScriptedReply], message: Waiting, tick: int
) -> Iterator[SimulationEvent]:
    said = text_of(message.content)
    reply = next((reply for reply in replies if fits(reply.pattern, said)), None)
    if reply is None:
        return
    rate = reply.failure_rate
    if rate and chance(simulation.config.seed, message.message_id, message.target) < rate:
        text = f"{message.target} failed"
        yield from error_to(simulation, message.sender, message.message_id, text, tick, tick + reply.after_ticks)
        return
    post = _reply(message, reply.reply, tick, tick + reply.after_ticks)
    if reply.to not in (None, message.sender):
        post = msgspec.structs.replace(post, target=reply.to, kind="message", in_reply_to=None)
    yield from send(simulation, post)


def text_of(content: msgspec.Raw) -> str:
    """What a pattern is held against: a text as it is, all else as JSON."""
    value = msgspec.json.decode(content)
    return value if isinstance(value, str) else bytes(content).decode()


def fits(pattern: str, text: str) -> bool:
    """Whether `text` contains `pattern`, in which `*` and `?` stand for anything; case does not matter."""
    place = 0
    lowered = text.lower()
    for piece in _pieces(pattern.lower()):
        found = piece.search(lowered, place)
        if found is None:
            return False
        place = found.end()
    return True


@lru_cache(maxsize=10_000)
def _pieces(pattern: str) -> list[re.Pattern[str]]:
    """The parts between the stars. Each is found at its first place, so no pattern can take long."""
    return [
        re.compile("".join("." if char == "?" else re.escape(char) for char in piece), re.DOTALL)
        for piece in pattern.split("*")
        if piece
    ]


def chance(seed: int, *place: str) -> float:
    """A number in [0, 1) that the seed and the place fix."""
    digest = hashlib.blake2b("/".join((str(seed), *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


# --- delegation -------------------------------------------------------------------------------------
def _delegate(simulation: Simulation, behaviour: Delegation, message: Waiting, tick: int) -> Iterator[SimulationEvent]:
    """Split a message. When no part of it passes the graph, the final answer is there at once."""
    root = message.message_id
    targets = _targets(simulation, behaviour, message)
    if not targets or simulation.is_crowded:
        text = f"{message.target} {f'delegates nothing: {TOO_MUCH}' if targets else 'has nobody to delegate to'}"
        yield from error_to(simulation, message.sender, root, text, tick, tick + 1)
        return
    for target, content in _split(message.content, targets):
        part = Post(sender=message.target, target=target, content=content, tick=tick, due=tick + 1, part_of=root)
        yield from send(simulation, part)
    yield from _finish(simulation, root, tick)


def _targets(simulation: Simulation, behaviour: Delegation, message: Waiting) -> list[str]:
    me = message.target
    named: Iterable[str] = behaviour.targets
    if not named:
        reached = simulation.graph.reached_from(me)
        named = [agent_id for agent_id in simulation.agents if not reached or {agent_id, ANYBODY} & reached]
    return [target for target in dict.fromkeys(named) if target != me]


def _split(content: msgspec.Raw, targets: list[str]) -> list[tuple[str, msgspec.Raw]]:
    """A JSON array is dealt out item by item, anything else goes to everybody whole."""
    if not bytes(content).lstrip().startswith(b"["):
        return [(target, content) for target in targets]
    items = msgspec.json.decode(content, type=list[msgspec.Raw])
    shares = [items[place :: len(targets)] for place in range(len(targets))]
    return [(target, codec.raw(share)) for target, share in zip(targets, shares, strict=True) if share]


def _finish(simulation: Simulation, root: str, tick: int) -> Iterator[SimulationEvent]:
    """The final answer, once nothing is missing."""
    delegated = simulation.delegated.get(root)
    if delegated is None or delegated.parts:
        return
    answers = {target: delegated.answers[target] for target in sorted(delegated.answers)}
    content = codec.raw({"answers": answers})
    if wrong := content_problem(content):
        text = f"the answers that {delegated.agent_id} collected cannot be passed on: {wrong}"
        yield from error_to(simulation, delegated.asked_by, root, text, tick, tick + 1)
        return
    final = Post(
        sender=delegated.agent_id,
        target=delegated.asked_by,
        content=content,
        tick=tick,
        due=tick + 1,
        kind="reply",
        in_reply_to=root,
    )
    yield from send(simulation, final)
