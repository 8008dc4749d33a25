"""Any command as an agent: each task is one run of it.

The command gets the task's JSON on stdin, and HIVEWIRE_TASK_ID and HIVEWIRE_ATTEMPT in its environment. Exit status 0
completes the task with what was written to stdout: as JSON if it is, else as a text. 100 fails it for good; anything
else fails the attempt, with the tail of stderr. A line `::progress 0.4 text` on stderr reports progress.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hivewire import codec, limits
from hivewire.agent import Agent
from hivewire.errors import BadUsage, HivewireError, Permanent
from hivewire.task import Task, TaskContext

PERMANENT_STATUS = 100
KILL_AFTER_S = 5.0
"""From SIGTERM to SIGKILL for the processes of a cancelled task."""
OUTPUT_AFTER_EXIT_S = 1.0
"""A process that the command left running may hold its output open; this long the rest of it is waited for."""
LINE_BYTES_MAX = 64 * 1024
CHUNK_BYTES = 64 * 1024
GIST_CHARS_MAX = 200

_PROGRESS = re.compile(r"::progress\s+([0-9]*\.?[0-9]+)\s*(.*)")


def progress_of(line: str) -> tuple[float, str] | None:
    """The fraction, within 0 and 1, and the text that a line of stderr reports; None: it reports no progress."""
    found = _PROGRESS.match(line)
    return (min(float(found[1]), 1.0), found[2]) if found else None


class CommandFailed(HivewireError):
    """The command ended with an exit status that means failure."""


class OutputTooLarge(Permanent):
    """The command wrote more than a result can hold."""


def exec_agent(agent_id: str, command: Sequence[str], *, can: Iterable[str], slots: int = 1, **options: Any) -> Agent:
    """An agent that runs `command` for every task. `options` are those of `Agent`.

    Raises:
        BadUsage: there is no such command.
    """
    if not command:
        raise BadUsage("an exec agent needs a command: hivewire agent exec --id ID --can CAP -- COMMAND...")
    program = shutil.which(command[0])
    if program is None:
        if Path(command[0]).is_file():
            raise BadUsage(f"{command[0]!r} may not be executed: chmod +x makes a script a command")
        raise BadUsage(f"there is no command {command[0]!r}: give its path, or add it to PATH")
    agent = Agent(agent_id, can=can, slots=slots, **options)

    @agent.task
    async def run(task: Task, context: TaskContext) -> Any:
        return await Run([program, *command[1:]], task, context).result()

    return agent


class Run:
    """One run of a command."""

    def __init__(self, command: Sequence[str], task: Task, context: TaskContext) -> None:
        self._command = command
        self._task = task
        self._context = context
        self._output = bytearray()
        self._errors = Tail(limits.ERROR_CHARS_MAX // 2)

    async def result(self) -> Any:
        """What the command said.

        Raises:
            CommandFailed: the attempt failed, another may not.
            Permanent: the command says that another attempt would fail as well, or said too much.
        """
        command = await self._start()
        try:
            status = await self._communicate(command)
        finally:
            await command.end()
        if status == 0:
            return parsed(bytes(self._output))
        if status == PERMANENT_STATUS:
            raise Permanent(explained(self._errors.text))
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise CommandFailed(f"{how}: {explained(self._errors.text)}")

    async def _start(self) -> "Command":
        mine = {"HIVEWIRE_TASK_ID": self._task.id, "HIVEWIRE_ATTEMPT": str(self._task.attempt)}
        try:
            return await Command.start(self._command, {**os.environ, **mine})
        except OSError as error:
            raise CommandFailed(f"cannot start {self._command[0]}: {error.strerror}") from error

    async def _communicate(self, command: "Command") -> int:
        """Talk with the command until it has ended; its exit status."""
        ended = asyncio.create_task(command.ended())
        feeding = asyncio.create_task(_feed(command.stdin, codec.encode(self._task.dispatch) + b"\n"))
        output = asyncio.create_task(self._read_output(command.stdout))
        errors = asyncio.create_task(self._read_errors(command.stderr))
        try:
            await asyncio.wait((ended, output), return_when=asyncio.FIRST_COMPLETED)
            if output.done():
                output.result()  # too much of it ends the run here
            status = await ended
            command.kill()  # what it left running
            await asyncio.wait((output, errors), timeout=OUTPUT_AFTER_EXIT_S)
            return status
        finally:
            for part in (ended, feeding, output, errors):
                part.cancel()

    async def _read_output(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(CHUNK_BYTES):
            self._output += chunk
            if len(self._output) > self._context.result_bytes_max:
                raise OutputTooLarge(f"stdout is larger than a result may be: {self._context.result_bytes_max} bytes")

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        async for line in lines(stream):
            progress = progress_of(line)
            if progress:
                await self._context.progress(*progress)
            else:
                self._errors.add(line)


class Command:
    """A command and all that it starts, in a session of its own: the terminal's Ctrl-C does not reach it.

    Its end is taken from the process, not from its pipes, which a process that it left running may keep open.
    """

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: "_Ends", process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self._pid = process.pid
        self._transport = transport
        self._exited = protocol.exited

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str]) -> "Command":
        """Start it. Raises OSError when that cannot be done."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: _Ends(LINE_BYTES_MAX, loop),
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(env),
            start_new_session=True,
        )
        return cls(transport, protocol, Process(transport, protocol, loop))

    async def ended(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        await self._exited.wait()
        status = self._transport.get_returncode()
        assert status is not None
        return status

    async def end(self) -> None:
        """End what still runs: politely, then for good."""
        try:
            if not self._exited.is_set():
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._exited.wait(), KILL_AFTER_S)
        finally:
            self.kill()
            self._transport.close()
        await self._exited.wait()

    def kill(self) -> None:
        """End all of it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


class _Ends(SubprocessStreamProtocol):
    """Tells when the process has ended."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class Tail:
    """The last lines of a text, up to a number of characters."""

    def __init__(self, chars_max: int) -> None:
        self._chars_max = chars_max
        self._lines: deque[str] = deque()
        self._size = 0

    def add(self, line: str) -> None:
        line = line[-self._chars_max :]
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size > self._chars_max + 1:
            self._size -= len(self._lines.popleft()) + 1

    @property
    def text(self) -> str:
        return "\n".join(self._lines).strip()


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream; of one that is too long for the reader's bound a part is dropped."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line.decode(errors="replace").rstrip("\r\n")


def explained(errors: str) -> str:
    """What a command wrote to stderr as an error, whose first line is what lists and logs have room for: the last one of
    it, where commands usually say what was wrong, is put in front of all of it."""
    *before, last = errors.splitlines() or ["stderr is empty"]
    return f"{last[:GIST_CHARS_MAX]}\n{errors}" if before else last


def parsed(output: bytes) -> Any:
    """What a command wrote as a result: JSON as it is, anything else as a text, nothing as null."""
    text = output.strip()
    if not text:
        return None
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return output.decode(errors="replace")
    return msgspec.Raw(text)


async def _feed(stream: asyncio.StreamWriter, body: bytes) -> None:
    """A command need not read its stdin."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(body)
        await stream.drain()
        stream.close()
