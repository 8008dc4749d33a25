"""Opening dead letters again, many of them, no faster than was asked for.

A replay remembers how far it is. Whoever carries it out tells the core what became of each lot, so that it goes on from
there after a restart.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from hivewire.commands.broker import Replay as Wanted
from hivewire.commands.broker import StopReplay
from hivewire.events import Event
from hivewire.events import replay as events
from hivewire.subjects import is_token
from hivewire.views import ReplayStatus
from hivewire_broker.states import next_replay_status
from hivewire_service.core import NOTHING, Command, Refusal, Step


class Replay(msgspec.Struct, kw_only=True):
    """One replay. `place` is the ordinal of the last task that was tried."""

    replay_id: str
    by: str
    started_at: datetime
    rate: float
    owner: str | None = None
    phase: str | None = None
    error: str | None = None
    reason: str = ""
    status: ReplayStatus = "running"
    place: int = 0
    replayed: int = 0
    refused: int = 0
    ended_at: datetime | None = None


class ReplayMoved(msgspec.Struct, frozen=True):
    """Observed: a lot of dead letters was tried, the last of them at `place`. `done`: there are no more."""

    replay_id: str
    place: int
    replayed: int
    refused: int
    done: bool = False


Replays = dict[str, Replay]


def start(replays: Replays, command: Command, now: datetime) -> Step | Refusal:
    """Open the dead letters again that fit."""
    data: Wanted = command.data
    replay_id = data.id or command.id
    if not is_token(replay_id):
        return Refusal(f"the command's id {replay_id[:40]!r} can't be a replay's id: give it one", 400)
    if replay_id in replays:
        return Refusal(f"replay {replay_id} is known: take another id", 409)
    started = events.ReplayStarted(
        replay_id=replay_id,
        by=command.sender,
        started_at=now,
        rate=data.rate,
        owner=data.owner,
        phase=data.phase,
        error=data.error,
        reason=data.reason,
    )
    return Step([started])


def stop(replays: Replays, command: Command, now: datetime) -> Step | Refusal:
    """Open no more."""
    data: StopReplay = command.data
    replay = replays.get(data.replay_id)
    if replay is None:
        return Refusal(f"there is no replay {data.replay_id!r}", 404)
    if replay.status == "stopped":
        return NOTHING
    if replay.status != "running":
        return Refusal(f"replay {data.replay_id} is {replay.status}: there is nothing to stop", 409)
    return Step([events.ReplayStopped(replay_id=data.replay_id, by=command.sender, stopped_at=now)])


def observe(replays: Replays, seen: ReplayMoved, now: datetime) -> Step:
    """A lot was tried, also if somebody stopped the replay meanwhile: then it does not count."""
    replay = replays.get(seen.replay_id)
    if replay is None or replay.status != "running":
        return NOTHING
    moved: list[Event] = []
    if seen.place > replay.place:
        moved.append(
            events.ReplayProgressed(
                replay_id=seen.replay_id,
                place=seen.place,
                replayed=replay.replayed + seen.replayed,
                refused=replay.refused + seen.refused,
            )
        )
    if seen.done:
        moved.append(events.ReplayCompleted(replay_id=seen.replay_id, completed_at=now))
    return Step(moved)


def evolve(replays: Replays, event: events.ReplayEvent) -> None:
    """Change the replays by an event.

    Raises:
        IllegalTransition: the event does not fit, and nothing was changed.
    """
    known = replays.get(event.replay_id)
    status = next_replay_status(known.status if known else None, event.type)
    if isinstance(event, events.ReplayStarted):
        replays[event.replay_id] = Replay(**msgspec.structs.asdict(event))
    elif known is not None:
        known.status = status
        _HANDLERS[type(event)](known, event)


def _progressed(replay: Replay, event: events.ReplayProgressed) -> None:
    replay.place, replay.replayed, replay.refused = event.place, event.replayed, event.refused


def _completed(replay: Replay, event: events.ReplayCompleted) -> None:
    replay.ended_at = event.completed_at


def _stopped(replay: Replay, event: events.ReplayStopped) -> None:
    replay.ended_at = event.stopped_at


_HANDLERS: Final[Mapping[type[Event], Callable[[Replay, Any], None]]] = {
    events.ReplayProgressed: _progressed,
    events.ReplayCompleted: _completed,
    events.ReplayStopped: _stopped,
}
