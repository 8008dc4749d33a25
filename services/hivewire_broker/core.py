"""The broker's core: what the loop drives. Wires the pure modules together and holds no rule of its own."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from hivewire.commands.broker import VERBS
from hivewire.events import Event
from hivewire.events.task import TaskTimeout
from hivewire.views import Batch as BatchReply
from hivewire.views import BatchItem, InitiativeBrief, PhaseBrief, ReplayBrief, ReportRefused, ReportsTaken, TaskBrief
from hivewire_broker import approval, control, dependents, initiatives, phases, presence, replays, reports, waking
from hivewire_broker.assign import Assigner
from hivewire_broker.batch import Batch
from hivewire_broker.dispatching import dispatch, dispatch_next
from hivewire_broker.draft import Draft
from hivewire_broker.evolve import evolve
from hivewire_broker.fleet import AgentSeen, Fleet
from hivewire_broker.matching import Matcher
from hivewire_broker.replays import ReplayMoved
from hivewire_broker.retry import after_attempt, dead_letter
from hivewire_broker.scoring import DEFAULT_WEIGHTS, weights_in_order
from hivewire_broker.state import State
from hivewire_broker.submit import Intake
from hivewire_broker.task import Task
from hivewire_broker.timeouts import due_at, expires_at
from hivewire_service.core import Command, Refusal, Step

AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
TIMERS_MAX: Final = 1_000
"""Tasks that one step looks at because their time has come; the others follow in the next step."""
DEADLINE_PASSED: Final = "its deadline passed"

Decider = Callable[[State, Command, datetime], Step | Refusal]

_DECIDERS: Final[Mapping[str, Decider]] = {
    "start": reports.start,
    "progress": reports.progress,
    "complete": reports.complete,
    "fail": reports.fail,
    "cancel": control.cancel,
    "retry": control.retry,
    "approve": approval.approve,
    "reject": approval.reject,
    "block": control.block,
    "unblock": control.unblock,
    "queue": control.queue,
    "update": control.update,
    "create_initiative": initiatives.create,
    "approve_initiative": initiatives.approve,
    "queue_initiative": initiatives.queue,
    "block_initiative": initiatives.block,
    "unblock_initiative": initiatives.unblock,
    "complete_initiative": initiatives.complete,
    "create_phase": phases.create,
    "update_phase": phases.update,
    "approve_phase": phases.approve,
    "queue_phase": phases.queue,
    "block_phase": phases.block,
    "unblock_phase": phases.unblock,
    "complete_phase": phases.complete,
    "dispatch_phase": phases.dispatch,
    "dispatch_next_phase": phases.dispatch_next,
}


class Broker:
    """The tasks of one hive: queued, matched to agents, followed to their end. Implements `Core`."""

    verbs: Mapping[str, type[msgspec.Struct]] = VERBS
    naturally_idempotent = frozenset(
        {
            "submit",
            "submit_batch",
            "start",
            "progress",
            "complete",
            "fail",
            "report_batch",
            "create_initiative",
            "create_phase",
        }
    )
    decided_ahead = frozenset({"submit", "submit_batch", "start", "progress", "complete", "fail", "report_batch"})

    def __init__(
        self,
        hive: str,
        weights: Mapping[str, float] = DEFAULT_WEIGHTS,
        owner_rate: float | None = None,
        wake_timeout_s: float = waking.WAKE_TIMEOUT_S,
    ) -> None:
        """`owner_rate`: how many tasks a second each owner may be given; None: any number. `wake_timeout_s`: how long a
        task waits for an agent that is woken for it, in seconds."""
        self.hive = hive
        self._weights = weights_in_order(weights)
        self._owner_rate = owner_rate
        self._wake_timeout_s = wake_timeout_s
        self.restore(State(), ())

    def restore(self, state: State, agents: Iterable[AgentSeen]) -> None:
        """Go on from a loaded state and the agents as they are now."""
        self.state = state
        self.fleet = Fleet()
        for agent in agents:
            self.fleet.put(agent)
        matcher = Matcher(state, self.fleet, self._weights)
        self._assigner = Assigner(state, matcher, self._owner_rate, self._wake_timeout_s)
        self._loaded = bool(state.held or state.awaited)
        """The state was loaded, and nothing was compared with the fleet yet."""
        self._verdict: list[BatchItem] = []
        self._refused: list[ReportRefused] = []
        self._about = ""
        self._created = False

    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. It also notes what `reply` has to tell."""
        match command.verb:
            case "submit":
                return self._submit(command, now)
            case "submit_batch":
                batch = Batch(self.state, self.hive, command, now)
                step = batch.decide()
                self._verdict = batch.items
                return step
            case "report_batch":
                self._refused = []
                return reports.batch(self.state, command, now, self._refused)
            case "dispatch":
                answer = dispatch(self.state, self._assigner, command, now)
            case "dispatch_next":
                answer = dispatch_next(self._assigner, command, now)
            case "replay":
                answer = replays.start(self.state.replays, command, now)
            case "stop_replay":
                answer = replays.stop(self.state.replays, command, now)
            case verb:
                answer = _DECIDERS[verb](self.state, command, now)
        if isinstance(answer, Step):
            self._note_subject(command, answer)
        return answer

    def _note_subject(self, command: Command, step: Step) -> None:
        """What a command that named nothing was about is what its last event is about."""
        data, events = command.data, list(step.events)
        named = (getattr(data, name, None) for name in ("task_id", "phase_id", "replay_id", "id"))
        self._about = next((name for name in named if name), None) or (events[-1].entity_id if events else command.id)
        self._created = bool(events)

    def evolve(self, event: Event) -> None:
        """What did happen."""
        evolve(self.state, event)

    def observe(self, observation: Any, now: datetime) -> Step:
        """Take in an agent's event or beat, or how far a replay is."""
        if isinstance(observation, ReplayMoved):
            return replays.observe(self.state.replays, observation, now)
        draft = Draft()
        presence.observe(draft, self.state, self.fleet, observation, now)
        return draft.step()

    def advance(self, now: datetime) -> Step:
        """Lost attempts, timeouts and assignments. The events must be evolved, or the state loaded anew."""
        draft = Draft()
        self.fleet.may_wake(now)
        self._compare_with_fleet(draft, now)
        self._run_timers(draft, now)
        self.state.release()
        dependents.review(draft, self.state, now)
        phases.advance(draft, self.state, now)
        self._assigner.assign(draft, self.fleet.composition, now)
        return draft.step()

    def next_due(self) -> datetime | None:
        """When `advance` has something to do again."""
        if self._assigner.pending() or self._loaded or self.state.unsettled or phases.pending(self.state):
            return AT_ONCE
        due = (self.state.timers.next_due(), self._assigner.next_due(), self.fleet.next_due())
        return min((moment for moment in due if moment is not None), default=None)

    def extend(self, silence_s: float, now: datetime) -> None:
        """Agents could not be heard: their open attempts get as much more time."""
        del now
        for held in self.state.held.values():
            for task in held.values():
                task.attempts[-1].grace_s += silence_s

    def reply(
        self, command: Command
    ) -> TaskBrief | BatchReply | ReportsTaken | PhaseBrief | InitiativeBrief | ReplayBrief:
        """How what a command is about stands now; for a batch the verdict on each of its tasks."""
        if command.verb.endswith("_phase"):
            return self._phase_brief(self._about, self._created if command.verb == "create_phase" else None)
        if command.verb.endswith("_initiative"):
            return self._initiative_brief(command)
        if command.verb in {"replay", "stop_replay"}:
            replay = self.state.replays[self._about]
            return ReplayBrief(replay.replay_id, replay.status, replay.replayed, replay.refused)
        if command.verb == "submit_batch":
            for item in self._verdict:
                item.status = self.state.tasks[item.task_id].status if item.task_id else None
            return BatchReply(self._verdict)
        if command.verb == "report_batch":
            return ReportsTaken(self._refused)
        return _brief(self.state.tasks[self._about], created=self._created if command.verb == "submit" else None)

    def _phase_brief(self, phase_id: str, created: bool | None = None) -> PhaseBrief:
        phase = self.state.phases[phase_id]
        return PhaseBrief(phase_id, phase.status, phase.approved, phase.queued, created)

    def _initiative_brief(self, command: Command) -> InitiativeBrief:
        creates = command.verb == "create_initiative"
        initiative = self.state.initiatives[self._about if creates else command.data.initiative_id]
        of_it = [self._phase_brief(phase_id) for phase_id in initiative.phases]
        return InitiativeBrief(initiative.initiative_id, initiative.status, of_it, self._created if creates else None)

    def _submit(self, command: Command, now: datetime) -> Step | Refusal:
        intake = Intake(self.state, self.hive, command, now)
        task_id = intake.task_id(command.data, lambda: command.id)
        if isinstance(task_id, Refusal):
            return task_id
        created = intake.accept(task_id, command.data)
        if isinstance(created, Refusal):
            return created
        self._about, self._created = task_id, created
        return intake.draft.step()

    def _compare_with_fleet(self, draft: Draft, now: datetime) -> None:
        """After a load: agents may have come or gone while nobody looked."""
        if self._loaded:
            self._loaded = False
            for agent_id in self.state.held:
                presence.lose_absent(draft, self.state, self.fleet, agent_id, f"agent {agent_id} is gone", now)
            waking.wake_again(draft, self.state, self.fleet)

    def _run_timers(self, draft: Draft, now: datetime) -> None:
        for _ in range(TIMERS_MAX):
            task = self.state.timers.pop(now)
            if task is None:
                return
            if task.task_id not in draft.fates:
                self._time_has_come(draft, task, now)

    def _time_has_come(self, draft: Draft, task: Task, now: datetime) -> None:
        due = due_at(task)
        if due is None:
            return
        if due > now:
            self.state.timers.arm(task, due)
        elif task.open_attempt is not None:
            self._expire(draft, task, now)
        elif task.deadline is not None and task.deadline <= now:
            dead_letter(draft, task, DEADLINE_PASSED, now)
        elif task.waits_until is not None:
            waking.ran_out(draft, self.fleet, task, now)
        else:
            self.state.queue.push(task)
            self.state.settle(task)

    def _expire(self, draft: Draft, task: Task, now: datetime) -> None:
        """End an attempt whose time is over, and tell its agent."""
        attempt = task.attempts[-1]
        kind = expires_at(task, attempt)[1]
        draft.events.append(
            TaskTimeout(
                task_id=task.task_id, attempt=attempt.number, agent_id=attempt.agent_id, kind=kind, ended_at=now
            )
        )
        draft.tell_cancel(task, attempt, f"timed out: {kind}")
        if kind == "deadline":
            dead_letter(draft, task, DEADLINE_PASSED, now, attempt=attempt, ended="timed_out", error=DEADLINE_PASSED)
        else:
            after_attempt(draft, task, "timed_out", _TIMEOUT_ERRORS[kind], now)


_TIMEOUT_ERRORS: Final = {
    "start": "the agent did not start it in time",
    "run": "the agent did not finish it in time",
}


def _brief(task: Task, *, created: bool | None = None) -> TaskBrief:
    attempt = task.open_attempt or (task.attempt if task.status == "completed" else None)
    return TaskBrief(
        task_id=task.task_id,
        status=task.status,
        attempt=len(task.attempts),
        agent_id=attempt.agent_id if attempt else None,
        created=created,
    )
