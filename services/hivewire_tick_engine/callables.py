"""Registered callables: what operators allowed simulated agents to run, each call in a child process.

A call that a crash cut short is made again. Its answer comes into the simulation like one of a remote agent, and is
recorded: a replay needs no callable.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec
import structlog

from hivewire import codec
from hivewire.events import Event
from hivewire.events.simulation import DispatchSent
from hivewire.simulation import CONTENT_BYTES_MAX, Registered, content_problem
from hivewire_service.service import Service
from hivewire_tick_engine import child
from hivewire_tick_engine.core import TickEngine
from hivewire_tick_engine.questions import surroundings
from hivewire_tick_engine.remote import Answer
from hivewire_tick_engine.state import Place

log = structlog.get_logger()

ENTRY_POINTS: Final = "hivewire.callables"
RUNNING_MAX: Final = 4
"""Child processes at a time."""
ERROR_CHARS_MAX: Final = 500
SECRETS: Final = ("HIVEWIRE_", "NATS_")
"""Beginnings of variables that hold our own credentials, which are none of a callable's business."""
END_S: Final = 1.0
PIECE_BYTES: Final = 64 * 1024
TAIL_BYTES: Final = 4_096
"""Of what a callable prints."""


def registered(allowed: Mapping[str, str]) -> dict[str, str]:
    """Names with their `module:function`, from installed entry points and the operator's settings, which win."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | dict(allowed)


class Callables:
    """Runs what the core's simulations wait for, as long as this process owns the service."""

    def __init__(self, core: TickEngine, targets: Mapping[str, str]) -> None:
        self._core = core
        self._targets = targets
        self._slots = asyncio.Semaphore(RUNNING_MAX)
        self._committed: asyncio.Queue[Place] = asyncio.Queue()

    def committed(self, events: Sequence[Event], records: Sequence[Any]) -> None:
        """Take note of committed dispatches."""
        del records
        for event in events:
            if isinstance(event, DispatchSent) and event.callable is not None:
                self._committed.put_nowait(self._core.place_of(event))

    async def run(self, service: Service) -> None:
        """Make the calls until cancelled, those first that an earlier owner left."""
        self._committed = asyncio.Queue()
        for place, dispatch in self._core.open_places():
            if dispatch.callable is not None:
                self._committed.put_nowait(place)
        async with asyncio.TaskGroup() as calls:
            while True:
                waiting = await self._committed.get()
                await self._slots.acquire()
                calls.create_task(self._answer(service, waiting)).add_done_callback(lambda _: self._slots.release())

    async def _answer(self, service: Service, place: Place) -> None:
        found = self._core.open_dispatch(place)
        if found is None:
            return
        simulation, dispatch = found
        behaviour = simulation.agents[dispatch.agent_id].behaviour
        assert isinstance(behaviour, Registered)
        try:
            content = await self._call(
                behaviour, codec.encode(surroundings(simulation, dispatch) | {"content": dispatch.content})
            )
        except CallFailed as error:
            log.info("callable failed", callable=behaviour.name, error=str(error))
            service.observe(Answer(**place._asdict(), error=str(error)[:ERROR_CHARS_MAX]))
        else:
            service.observe(Answer(**place._asdict(), content=content))

    async def _call(self, behaviour: Registered, question: bytes) -> msgspec.Raw:
        target = self._targets.get(behaviour.name)
        if target is None:
            raise CallFailed(f"the callable {behaviour.name!r} is not registered any more")
        try:
            process = await _started(target, behaviour.timeout_s)
        except OSError as error:
            raise CallFailed(f"its process could not be started: {error}") from error
        talking = asyncio.gather(
            _read(process.stdout, CONTENT_BYTES_MAX + 1), _read_tail(process.stderr), _write(process.stdin, question)
        )
        try:
            async with asyncio.timeout(behaviour.timeout_s):
                answer, said, _ = await asyncio.shield(talking)
                await process.wait()
        except TimeoutError:
            raise CallFailed(f"it did not return within {behaviour.timeout_s:g} s") from None
        finally:
            await _end(process, talking)
        if process.returncode:
            raise CallFailed(_last_line(said) or f"its process ended with status {process.returncode}")
        return _checked(answer)


class CallFailed(Exception):
    """A call gave no answer; the text says why."""


async def _started(target: str, timeout_s: float) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        child.__name__,
        target,
        str(timeout_s),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(SECRETS)},
    )


async def _end(process: asyncio.subprocess.Process, talking: "asyncio.Future[Any]") -> None:
    """End the process with all that it started. Who fled into a session of his own is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await talking
            await process.wait()


async def _write(stream: asyncio.StreamWriter | None, body: bytes) -> None:
    assert stream is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it did not want to read
        stream.write(body)
        await stream.drain()
    stream.close()


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """The first so many bytes of a stream, which is read to its end: a callable cannot fill our memory."""
    assert stream is not None
    found = b""
    while more := await stream.read(PIECE_BYTES):
        found += more[: most - len(found)]
    return found


async def _read_tail(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    found = b""
    while more := await stream.read(PIECE_BYTES):
        found = (found + more)[-TAIL_BYTES:]
    return found


def _checked(answer: bytes) -> msgspec.Raw:
    value = codec.decode_as(answer, msgspec.Raw, "its answer")
    wrong = content_problem(msgspec.Raw(answer)) or (value.reason if isinstance(value, codec.Malformed) else None)
    if wrong:
        raise CallFailed(f"its answer cannot be taken: {wrong}")
    return msgspec.Raw(answer)


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "").replace("\0", "")
