"""Random lives of a hive: any command, often twice, agents that come and go, beats, and time that jumps."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from hivewire import limits
from hivewire.events.agent import AgentWakeFailed
from hivewire.events.task import TaskAssigned, TaskCompleted, TaskUpdated
from hivewire.views import TERMINAL
from hivewire_broker.evolve import evolve
from hivewire_broker.fold import compare
from hivewire_broker.state import State
from hivewire_service.core import Refusal
from unit.broker.driver import Driver

AGENTS = st.sampled_from(["ann", "bob", "cid"])
SKILLS = st.frozensets(st.sampled_from(["python", "review"]))
CARDS = st.sampled_from([{}, {"policy": "on-demand", "wake": "start"}])
TIMES = st.sampled_from([range(1), range(2)])
"""How often a command is sent."""
TASK_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, 10),
        "required_capabilities": SKILLS.map(list),
        "owner": st.sampled_from(["boss", "kim"]),
        "max_retries": st.integers(0, 2),
        "on_dependency_failure": st.sampled_from(["block", "cancel"]),
        "timeout_seconds": st.sampled_from([5.0, 300.0]),
        "risk": st.floats(0, 1),
        "labels": st.just({"team": "a"}),
        "category": st.sampled_from(["execute", "plan"]),
        "requires_approval": st.booleans(),
        "concurrency_key": st.sampled_from(["k", "l"]),
        "phase_id": st.sampled_from(["p0", "p1", "p2"]),
    },
)


class BrokerMachine(RuleBasedStateMachine):
    """Checks after every step what must always hold."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.hive = Driver()
        self.count = 0
        self.hive.ask("create_initiative", title="an initiative", id="i", requires_approval=True)
        self.hive.phase("p0", up_to="create", initiative_id="i")
        self.hive.phase("p1", depends_on=["p0"])
        self.hive.phase("p2")

    # tasks ------------------------------------------------------------------------------------------
    @rule(target=tasks, fields=TASK_FIELDS, data=st.data(), due_s=st.sampled_from([None, 20, 300]))
    def submit(self, fields: dict[str, Any], data: st.DataObject, due_s: float | None) -> str:
        self.count += 1
        task_id = f"t{self.count}"
        known = sorted(self.hive.broker.state.tasks)
        depends_on = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
        deadline = None if due_s is None else self.hive.now + timedelta(seconds=due_s)
        phase = self.hive.broker.state.phases.get(fields.get("phase_id", ""))
        if phase is not None and phase.status == "completed":
            del fields["phase_id"]
        for _ in range(2):
            reply = self.hive.submit(task_id, depends_on=depends_on, deadline=deadline, **fields)
            assert reply.task_id == task_id
        assert reply.created is False
        return task_id

    @rule(task=tasks, twice=st.booleans())
    def start(self, task: str, twice: bool) -> None:
        self._send(self.hive.start, task, twice=twice)

    @rule(task=tasks, progress=st.sampled_from([0.25, 0.5]), twice=st.booleans())
    def progress(self, task: str, progress: float, twice: bool) -> None:
        self._send(self.hive.progress, task, progress, twice=twice)

    @rule(task=tasks, twice=st.booleans())
    def complete(self, task: str, twice: bool) -> None:
        self._send(self.hive.complete, task, twice=twice)

    @rule(task=tasks, retry=st.booleans(), twice=st.booleans())
    def fail(self, task: str, retry: bool, twice: bool) -> None:
        self._send(self.hive.fail, task, retry=retry, twice=twice)

    @rule(task=tasks, attempt=st.integers(1, 3), agent=AGENTS, verb=st.sampled_from(["start", "complete", "fail"]))
    def stray_report(self, task: str, attempt: int, agent: str, verb: str) -> None:
        known = self.hive.task(task).attempt
        if known is not None and (known.number, known.agent_id) != (attempt, agent):
            before = len(self.hive.events)
            reply = getattr(self.hive, verb)(task, attempt=attempt, agent=agent)
            assert isinstance(reply, Refusal) or len(self.hive.events) == before

    @rule(task=tasks, times=TIMES)
    def cancel(self, task: str, times: range) -> None:
        for _ in times:
            self.hive.cancel(task)
        assert self.hive.types(task).count("cancelled") <= 1 + self.hive.types(task).count("reopened")

    @rule(task=tasks, times=TIMES)
    def retry(self, task: str, times: range) -> None:
        for _ in times:
            self.hive.retry(task)

    @rule(
        task=tasks,
        verb=st.sampled_from(["approve", "reject", "block", "unblock", "queue", "dispatch", "update"]),
        choice=st.booleans(),
        agent=st.none() | AGENTS,
        priority=st.integers(0, 10),
        times=TIMES,
    )
    def steer(self, task: str, verb: str, choice: bool, agent: str | None, priority: int, times: range) -> None:
        fields: dict[str, dict[str, Any]] = {
            "reject": {"final": choice, "reason": "no"},
            "dispatch": {"agent_id": agent},
            "update": {"priority": priority, "labels": {"team": "b"}},
        }
        for _ in times:
            self.hive.ask(verb, task_id=task, **fields.get(verb, {}))

    @rule(task=tasks, data=st.data(), times=TIMES)
    def rearrange_task(self, task: str, data: st.DataObject, times: range) -> None:
        known = sorted(self.hive.broker.state.tasks)
        needs = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
        for _ in times:
            self.hive.ask("update", task_id=task, depends_on=needs)

    @rule(agent=st.none() | AGENTS, times=TIMES)
    def dispatch_next(self, agent: str | None, times: range) -> None:
        for _ in times:
            self.hive.ask("dispatch_next", agent)

    @rule(
        phase=st.sampled_from(["p0", "p1", "p2"]),
        verb=st.sampled_from(["approve", "queue", "block", "unblock", "complete", "dispatch"]),
        times=TIMES,
    )
    def steer_phase(self, phase: str, verb: str, times: range) -> None:
        for _ in times:
            self.hive.ask(f"{verb}_phase", phase)

    @rule(verb=st.sampled_from(["approve", "queue", "block", "unblock", "complete"]), times=TIMES)
    def steer_initiative(self, verb: str, times: range) -> None:
        for _ in times:
            self.hive.ask(f"{verb}_initiative", "i")

    @rule(
        phase=st.sampled_from(["p0", "p1", "p2"]),
        needs=st.lists(st.sampled_from(["p0", "p1", "p2"]), max_size=2),
        times=TIMES,
    )
    def rearrange(self, phase: str, needs: list[str], times: range) -> None:
        for _ in times:
            self.hive.ask("update_phase", phase, needs)

    def _send(self, verb: Any, task: str, *values: Any, twice: bool, **named: Any) -> None:
        """A report of the last attempt, perhaps repeated: the repeat changes nothing, if it comes in time."""
        if twice:
            self.hive.settle()
        last = self.hive.task(task).attempt
        fence = {"attempt": last.number, "agent": last.agent_id, "instance": last.instance} if last else {}
        first = verb(task, *values, **fence, **named)
        if twice and not isinstance(first, Refusal):
            before = len(self.hive.events)
            assert not isinstance(verb(task, *values, **fence, **named), Refusal)
            assert len(self.hive.events) == before

    # agents and time --------------------------------------------------------------------------------
    @rule(agent=AGENTS, skills=SKILLS, slots=st.integers(1, 3), owner=st.sampled_from([None, None, "kim"]), card=CARDS)
    def spawn(self, agent: str, skills: frozenset[str], slots: int, owner: str | None, card: dict[str, str]) -> None:
        self.count += 1
        self.hive.spawn(agent, *skills, instance=f"{agent}-{self.count}", slots=slots, owner=owner, **card)

    @rule(agent=AGENTS, skills=SKILLS)
    def update(self, agent: str, skills: frozenset[str]) -> None:
        known = self.hive.broker.fleet.get(agent)
        if known is not None:
            self.hive.update(agent, *skills, slots=max(known.slots, len(self.hive.broker.state.held.get(agent, ()))))

    @rule(agent=AGENTS)
    def fail_to_wake(self, agent: str) -> None:
        known = self.hive.broker.fleet.get(agent)
        if known is not None and known.presence != "present":
            self.hive.see(AgentWakeFailed(agent_id=agent, reason="no answer"))

    @rule()
    def restart(self) -> None:
        """The next owner finds the same state, and the agents as they are."""
        broker = self.hive.broker
        broker.restore(broker.state, list(broker.fleet))
        self.hive.settle()

    @rule(agent=AGENTS, change=st.sampled_from(["crash", "stop", "delete", "drain", "undrain", "resume"]))
    def change(self, agent: str, change: str) -> None:
        getattr(self.hive, change)(agent)

    @rule(agent=AGENTS, all_held=st.booleans())
    def beat(self, agent: str, all_held: bool) -> None:
        held = self.hive.broker.state.held.get(agent, {}).values()
        self.hive.beat(agent, *((task.task_id, task.attempts[-1].number) for task in held if all_held))

    @rule(seconds=st.sampled_from([0.1, 3.0, 61.0, 61.0]), watched=st.booleans())
    def wait(self, seconds: float, watched: bool) -> None:
        (self.hive.wait if watched else self.hive.jump)(seconds)

    @rule(silence_s=st.sampled_from([3.0, 120.0]))
    def silence(self, silence_s: float) -> None:
        self.hive.broker.extend(silence_s, self.hive.now)

    # what always holds ------------------------------------------------------------------------------
    @invariant()
    def each_task_completes_at_most_once(self) -> None:
        completed = Counter(event.task_id for event in self.hive.events if isinstance(event, TaskCompleted))
        assert all(count == 1 for count in completed.values())

    @invariant()
    def no_agent_has_more_than_its_slots(self) -> None:
        for agent in self.hive.broker.fleet:
            held = self.hive.broker.state.held.get(agent.agent_id, {})
            assert len(held) <= agent.slots

    @invariant()
    def held_is_what_is_open(self) -> None:
        state = self.hive.broker.state
        opened = {task.task_id: task.attempts[-1].agent_id for task in state.tasks.values() if task.open_attempt}
        assert opened == {task_id: agent for agent, held in state.held.items() for task_id in held}

    @invariant()
    def assignments_respect_dependencies_and_presence(self) -> None:
        rearranged = set()
        for event in reversed(self.hive.events[-5:]):
            if isinstance(event, TaskUpdated):
                rearranged.add(event.task_id)
            elif isinstance(event, TaskAssigned) and event.task_id not in rearranged:
                for needed in self.hive.task(event.task_id).depends_on:
                    assert self.hive.status(needed) == "completed"

    @invariant()
    def live_tasks_are_not_stuck_behind_ended_ones(self) -> None:
        """A pending task never waits for one that ended without success."""
        state = self.hive.broker.state
        for task in state.tasks.values():
            if task.status == "pending":
                assert all(state.tasks[needed].status not in TERMINAL - {"completed"} for needed in task.depends_on)

    @invariant()
    def nothing_free_is_left_waiting(self) -> None:
        """No ready task and free agent that fit each other."""
        state, fleet = self.hive.broker.state, self.hive.broker.fleet
        due = self.hive.broker.next_due()
        if due is not None and due <= self.hive.now:
            return
        free = [
            agent
            for agent in fleet
            if agent.presence == "present"
            and not agent.drained
            and len(state.held.get(agent.agent_id, ())) < agent.slots
        ]
        for task in state.tasks.values():
            due = task.wakes_at is None or task.wakes_at <= self.hive.now
            if task.dispatchable and due and state.keys.has_room(task):
                needs = task.requirements
                assert not any(
                    needs.capabilities <= agent.capabilities and agent.owner in (None, needs.owner) for agent in free
                )

    @invariant()
    def whoever_is_awaited_is_away(self) -> None:
        state, fleet = self.hive.broker.state, self.hive.broker.fleet
        waiting = {task.task_id: task.waits_for for task in state.tasks.values() if task.waits_until is not None}
        assert waiting == {task_id: agent_id for agent_id, tasks in state.awaited.items() for task_id in tasks}
        for agent_id in state.awaited:
            assert fleet.get(agent_id).presence != "present"

    @invariant()
    def demand_is_what_is_pending(self) -> None:
        state = self.hive.broker.state
        pending = [task for task in state.tasks.values() if task.status == "pending"]
        assert state.demand == Counter(skill for task in pending for skill in task.requirements.capabilities)

    @invariant()
    def keys_are_not_overrun(self) -> None:
        held = Counter(
            task.concurrency_key
            for tasks in self.hive.broker.state.held.values()
            for task in tasks.values()
            if task.concurrency_key
        )
        assert held == self.hive.broker.state.keys.held
        assert all(count == 1 for count in held.values())

    @invariant()
    def phases_start_after_those_they_depend_on_and_end_after_their_tasks(self) -> None:
        state = self.hive.broker.state
        for phase in state.phases.values():
            if phase.status == "running":
                assert all(state.phases[needed].status == "completed" for needed in phase.depends_on)
                assert not phase.bad
                assert phase.open or not phase.completed
            live = {task.task_id for task in state.tasks.values() if task.phase_id == phase.phase_id and not task.ended}
            assert live == set(phase.open)
            if phase.started_at is not None and phase.status != "completed":
                assert all(state.tasks[task].queued or state.tasks[task].planning for task in phase.open)

    @invariant()
    def losses_and_retries_are_bounded(self) -> None:
        for task in self.hive.broker.state.tasks.values():
            assert task.lost_count <= limits.LOST_ATTEMPTS_MAX
            assert task.retries_used <= task.max_retries

    def teardown(self) -> None:
        folded = State()
        for event in self.hive.events:
            evolve(folded, event)
        for state in (folded, self.hive.broker.state):
            while state.released:  # some of them a step
                state.release()
        assert compare(folded, self.hive.broker.state) == []
