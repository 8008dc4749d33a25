"""What happens while the fleet works: it starts, gets its tasks, loses a member, and is asked for what nobody can."""

import asyncio
import contextlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from examples.codebase.board import Board
from examples.codebase.plan import REPORT, Plan
from examples.codebase.stage import Stage
from hivewire import Client, HivewireError, TaskHandle

SDK_AGENTS = ("parser_1", "parser_2", "strong_1", "strong_2", "librarian")
"""Names in the module `agents`; the agents' ids have hyphens."""
EXEC_AGENTS = ("counter-1", "counter-2")
COUNT_LINES = Path(__file__).with_name("count_lines.py")
LOOK_S = 1.0
"""Should an event be lost, what it told is looked up after this pause."""


class Work:
    """The fleet at work."""

    def __init__(self, plan: Plan, stage: Stage, hive: Client, board: Board) -> None:
        self.plan = plan
        self._stage = stage
        self._hive = hive
        self._board = board
        self.tasks: dict[str, TaskHandle] = {}
        """The submitted tasks by their keys."""
        self.unmatched: TaskHandle
        """The task that nobody can take."""

    async def do(self) -> None:
        """Do all of it; the report is there when this returns.

        Raises:
            HivewireError: the work failed.
        """
        async with self._board_kept():
            await self._start_fleet()
            await self._submit()
            await self._ask_too_much()
            await self._crash()
            await self.tasks[REPORT].result()

    @contextlib.asynccontextmanager
    async def _board_kept(self) -> AsyncIterator[None]:
        """Show what happens."""

        async def follow() -> None:
            async for event in self._hive.watch():
                self._board.see(event)

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()

    async def _start_fleet(self) -> None:
        for name in SDK_AGENTS:
            await self._stage.start_agent(name.replace("_", "-"), "run", f"examples.codebase.agents:{name}")
        for agent_id in EXEC_AGENTS:
            command = ("--", sys.executable, str(COUNT_LINES))
            await self._stage.start_agent(agent_id, "exec", "--id", agent_id, "--can", "lines", *command)
        while not await self._all_present():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._board.fleet_changed.wait(), LOOK_S)

    async def _all_present(self) -> bool:
        self._board.fleet_changed.clear()
        present = [agent async for agent in self._hive.agents() if agent.state == "present"]
        return len(present) == len(SDK_AGENTS) + len(EXEC_AGENTS)

    async def _submit(self) -> None:
        kinds = defaultdict(list)
        for task, outcome in zip(self.plan.tasks, await self._hive.submit_many(self.plan.tasks), strict=True):
            if isinstance(outcome, HivewireError):
                raise outcome
            self.tasks[task["key"]] = outcome
            kinds[task["key"].partition("-")[0]].append(outcome.id)
        for kind, task_ids in kinds.items():
            self._board.expect(kind, task_ids)

    async def _crash(self) -> None:
        """Kill the agent that has the endless task in its hands, and start it again."""
        async for event in self.tasks[self.plan.hanging].watch():
            if event.type == "task.progress":
                agent_id = msgspec.json.decode(event.data)["agent_id"]
                await self._stage.kill(agent_id)
                self._board.note(f"{agent_id} was killed in mid-task, and is started again")
                await self._stage.start_again(agent_id)
                return

    async def _ask_too_much(self) -> None:
        """Ask for what nobody can, hear why it waits, and give it up."""
        self.unmatched = task = await self._hive.submit("Translate the report into Latin", needs=["latin"])
        async for event in task.watch():
            if event.type == "task.unmatched":
                break
        why = await self._hive.why(task.id)
        self._board.note(f"why does it wait? {why.sentence}")
        await task.cancel("nobody here knows Latin")
