"""Drives the broker's core as the loop does, without the loop: decide, evolve, advance, at times of the test's choosing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from hivewire.commands import broker as commands
from hivewire.commands.broker import Cancel, Complete, Fail, Progress, Retry, Start, Submit, SubmitBatch
from hivewire.events import Event
from hivewire.events.agent import (
    AgentCrashed,
    AgentDeleted,
    AgentDrained,
    AgentResumed,
    AgentSpawned,
    AgentStopped,
    AgentUndrained,
    AgentUpdated,
    Card,
)
from hivewire.events.task import TaskAssigned
from hivewire.inbox import Beat, Held
from hivewire_broker.core import Broker
from hivewire_broker.task import Task
from hivewire_service.core import Command, Refusal, Step

START = datetime(2026, 1, 1, tzinfo=UTC)


class Driver:
    """A broker with a clock. Every input is followed by `advance` until nothing more follows."""

    def __init__(self, **settings: Any) -> None:
        self.broker = Broker("hive", **settings)
        self.now = START
        self.events: list[Event] = []
        self.records: list[Any] = []
        self._commands = 0

    # the loop ---------------------------------------------------------------------------------------
    def follow(self, step: Step) -> Step:
        for event in step.events:
            self.broker.evolve(event)
            self.events.append(event)
        self.records += step.records
        return step

    def settle(self) -> None:
        while self.follow(self.broker.advance(self.now)).events or self.broker.state.unsettled:
            pass
        self.broker.state.turn_is_over()

    def send(self, verb: str, data: msgspec.Struct, sender: str = "boss", command_id: str | None = None) -> Any:
        """The reply, or the refusal."""
        self._commands += 1
        command = Command(command_id or f"command-{self._commands}", verb, sender, data)
        answer = self.broker.decide(command, self.now)
        if isinstance(answer, Refusal):
            return answer
        self.follow(answer)
        reply = self.broker.reply(command)
        self.settle()
        return reply

    def see(self, observation: Any) -> Step:
        step = self.follow(self.broker.observe(observation, self.now))
        self.settle()
        return step

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.now + timedelta(seconds=seconds)
        while (due := self.broker.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.settle()
        self.now = end
        self.settle()

    def jump(self, seconds: float) -> None:
        """Let time pass while nobody looks: what became due is found together with the next input."""
        self.now += timedelta(seconds=seconds)

    # commands ---------------------------------------------------------------------------------------
    def submit(self, task_id: str | None = None, *, sender: str = "boss", **fields: Any) -> Any:
        return self.send("submit", Submit(**{"title": "a task", "id": task_id} | fields), sender)

    def submit_batch(self, *tasks: dict[str, Any], command_id: str | None = None) -> Any:
        items = [msgspec.Raw(msgspec.json.encode({"title": "a task"} | task)) for task in tasks]
        return self.send("submit_batch", SubmitBatch(items), command_id=command_id)

    def start(self, task_id: str, **fence: Any) -> Any:
        return self._report("start", Start, task_id, fence)

    def progress(self, task_id: str, progress: float | None, message: str = "", **fence: Any) -> Any:
        return self._report("progress", Progress, task_id, fence, progress=progress, message=message)

    def complete(self, task_id: str, *, cost: float | None = None, result: bytes = b"null", **fence: Any) -> Any:
        return self._report("complete", Complete, task_id, fence, cost=cost, result=msgspec.Raw(result))

    def fail(self, task_id: str, error: str = "it broke", *, retry: bool = True, **fence: Any) -> Any:
        return self._report("fail", Fail, task_id, fence, error=error, retry=retry)

    def cancel(self, task_id: str, reason: str = "") -> Any:
        return self.send("cancel", Cancel(task_id, reason))

    def retry(self, task_id: str) -> Any:
        return self.send("retry", Retry(task_id))

    def ask(self, verb: str, *arguments: Any, sender: str = "boss", **fields: Any) -> Any:
        """Any other verb, with the fields of its command."""
        return self.send(verb, commands.VERBS[verb](*arguments, **fields), sender)

    def phase(self, phase_id: str, *, up_to: str = "queue", **fields: Any) -> Any:
        """A new phase, created, approved and queued, or less."""
        reply = self.ask("create_phase", title="a phase", id=phase_id, **fields)
        for verb in ("approve", "queue")[: ("create", "approve", "queue").index(up_to)]:
            reply = self.ask(f"{verb}_phase", phase_id)
        return reply

    def _report(self, verb: str, data: type, task_id: str, fence: dict[str, Any], **fields: Any) -> Any:
        """A report of the task's last attempt, unless the fence says otherwise."""
        last = self.task(task_id).attempt if task_id in self.broker.state.tasks else None
        attempt = fence.get("attempt", last.number if last else 1)
        instance = fence.get("instance", last.instance if last else "none")
        sender = fence.get("agent", last.agent_id if last else "nobody")
        return self.send(verb, data(task_id=task_id, attempt=attempt, instance=instance, **fields), sender)

    # agents -----------------------------------------------------------------------------------------
    def spawn(self, agent_id: str, *capabilities: str, instance: str | None = None, **card: Any) -> Step:
        full = Card(name=agent_id, capabilities=sorted(capabilities), **card)
        return self.see(
            AgentSpawned(agent_id=agent_id, instance=instance or f"{agent_id}-1", card=full, spawned_at=self.now)
        )

    def update(self, agent_id: str, *capabilities: str, **card: Any) -> Step:
        full = Card(name=agent_id, capabilities=sorted(capabilities), **card)
        return self.see(AgentUpdated(agent_id=agent_id, instance=self.instance(agent_id), card=full))

    def resume(self, agent_id: str) -> Step:
        return self.see(AgentResumed(agent_id=agent_id, instance=self.instance(agent_id), resumed_at=self.now))

    def crash(self, agent_id: str) -> Step:
        return self.see(
            AgentCrashed(agent_id=agent_id, instance=self.instance(agent_id), reason="silent", crashed_at=self.now)
        )

    def stop(self, agent_id: str) -> Step:
        return self.see(AgentStopped(agent_id=agent_id, instance=self.instance(agent_id), stopped_at=self.now))

    def delete(self, agent_id: str) -> Step:
        return self.see(AgentDeleted(agent_id=agent_id, by="boss"))

    def drain(self, agent_id: str) -> Step:
        return self.see(AgentDrained(agent_id=agent_id, by="boss"))

    def undrain(self, agent_id: str) -> Step:
        return self.see(AgentUndrained(agent_id=agent_id, by="boss"))

    def beat(self, agent_id: str, *held: tuple[str, int], instance: str | None = None, loop_count: int = 0) -> Step:
        listed = [Held(task_id, attempt) for task_id, attempt in held]
        return self.see(Beat(agent_id, instance or self.instance(agent_id), listed, loop_count=loop_count))

    def instance(self, agent_id: str) -> str:
        agent = self.broker.fleet.get(agent_id)
        return agent.instance if agent else "none"

    # looking ----------------------------------------------------------------------------------------
    def task(self, task_id: str) -> Task:
        return self.broker.state.tasks[task_id]

    def status(self, task_id: str) -> str:
        return self.task(task_id).status

    def types(self, task_id: str) -> list[str]:
        """The types of all events of a task, or of something else, without what they are about."""
        return [event.type.partition(".")[2] for event in self.events if event.entity_id == task_id]

    def last(self, event_type: str) -> Any:
        return next(event for event in reversed(self.events) if event.type == event_type)

    def assigned(self) -> list[tuple[str, str]]:
        return [(event.task_id, event.agent_id) for event in self.events if isinstance(event, TaskAssigned)]

    def take(self, kind: type) -> list[Any]:
        """The records of a kind since the last look."""
        found = [record for record in self.records if isinstance(record, kind)]
        self.records = [record for record in self.records if not isinstance(record, kind)]
        return found
