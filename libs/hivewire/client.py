"""The client: submit tasks, wait for them, and see what goes on in the hive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar, Unpack

import msgspec

from hivewire import bulk, codec, history, limits, paging, reads
from hivewire.asking import Answer, Asking
from hivewire.commands import broker as commands
from hivewire.commands import conversation as commands_to_peers
from hivewire.commands.agent_gateway import AgentBrief, Drain, Publish, Published, Remove, Undrain, Wake
from hivewire.commands.broker import Submit
from hivewire.connection import Connection
from hivewire.context import Context, find_context
from hivewire.errors import HivewireError, TaskCancelled, TaskFailed
from hivewire.events import Event
from hivewire.explanations import Explanation, WhatIf, Why
from hivewire.graph import GraphSpec
from hivewire.ids import new_id
from hivewire.membership import join
from hivewire.nats_context import nats_context
from hivewire.paging import PageOf
from hivewire.results import Results
from hivewire.simulations import Simulations
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, token
from hivewire.submission import TaskChanges, TaskOptions, submission, task_update
from hivewire.submitting import Submitting
from hivewire.task_handle import TaskHandle
from hivewire.views import (
    AgentView,
    ConversationView,
    EventView,
    GraphView,
    InitiativeBrief,
    InitiativeView,
    MessageBrief,
    PhaseBrief,
    PhaseQueueView,
    PhaseView,
    QueueView,
    RejectView,
    ReplayBrief,
    ReplayView,
    Stats,
    TaskBrief,
    TaskView,
)

T = TypeVar("T")
PhaseVerb = Literal["approve", "queue", "dispatch", "block", "unblock", "complete"]
InitiativeVerb = Literal["approve", "queue", "block", "unblock", "complete"]

_LISTING = reads.Listing(limits.LIST_ITEMS_MAX)


class Client:
    """A member of a hive that submits and reads.

    Commands are repeated until the service answered, and no repeat can do a thing twice. Every method raises
    RefusedError when the service says no, and NotReachable when it does not answer in time.
    """

    def __init__(
        self, connection: Connection, timeout_s: float = limits.REQUEST_TIMEOUT_S, asking: Asking | None = None
    ) -> None:
        self.connection = connection
        self.timeout_s = timeout_s
        self.simulations = Simulations(connection, timeout_s)
        self._submitting = Submitting(connection, timeout_s)
        self._results = Results(connection)
        self._asking = asking or Asking(connection)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        nats_url: str | None = None,
        creds: str | None = None,
        hive: str | None = None,
        name: str | None = None,
        context: Context | str | None = None,
        *,
        nats_ca: str | None = None,
        nats_cert: str | None = None,
        nats_key: str | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to a hive, by what is said here, else by NATS_URL, NATS_CREDS, NATS_CA, NATS_CERT, NATS_KEY and
        HIVEWIRE_DATA, else to the one that the same user's `hivewire up` runs.

        Args:
            nats_url: one or more server URLs, separated by commas.
            creds: path of a credentials file.
            hive: the hive's name.
            name: who to be; where the local operator's credentials are at hand, a publisher's are made for the name.
            context: all of that, found before; or the name of a context of the `nats` command.
            nats_ca: path of the CA of the servers' certificates; without it the system's are trusted.
            nats_cert: path of a certificate to show to a server that wants one.
            nats_key: path of its key.

        Raises:
            NotReachable: there is no hive, it does not answer, or TLS says not to talk to it.
            BadUsage: the credentials or a file of TLS cannot be used.
        """
        if isinstance(context, str):
            context = nats_context(context, hive)
        found = context or find_context(
            nats_url=nats_url, nats_creds=creds, nats_ca=nats_ca, nats_cert=nats_cert, nats_key=nats_key, hive=hive
        )
        async with await join(found, name) as connection:
            client = cls(connection)
            try:
                yield client
            finally:
                await client.close()

    async def close(self) -> None:
        """Stop waiting for results. The connection stays open for whoever opened it."""
        await self._results.close()
        self._asking.close()

    # --- tasks ----------------------------------------------------------------------------------------
    async def submit(self, title: str, **options: Unpack[TaskOptions]) -> TaskHandle:
        """Submit a task; when this returns it is accepted for good. `TaskOptions` says what else may be said of it.

        Any number may be under way at once: those that come while others are unanswered share a command.

        Raises:
            RefusedError: the task cannot be taken: an unknown dependency, say, or too large a payload.
            BadUsage: an option is unknown or has a value that no task can have.
        """
        return await self.submit_one(submission(title, **options))

    async def submit_one(self, task: Submit) -> TaskHandle:
        """Submit a task that was put together before."""
        taken = await self._submitting.submit(task)
        return TaskHandle(self, taken.task_id, created=taken.created)

    async def submit_many(
        self, tasks: Iterable[Submit | Mapping[str, Any]], progress: bulk.Progress | None = None
    ) -> list[TaskHandle | HivewireError]:
        """Submit any number of tasks. They may depend on one another, by id or by key, in any order.

        Args:
            tasks: mappings with a title and the fields of `TaskOptions`, or tasks put together before.
            progress: is told how many were dealt with each time some were.

        Returns:
            For each task its handle, or why it was not taken. The others are taken all the same.
        """
        outcomes = await bulk.submit(self.connection, list(tasks), progress)
        return [
            outcome
            if isinstance(outcome, HivewireError)
            else TaskHandle(self, outcome.task_id, created=outcome.created)
            for outcome in outcomes
        ]

    def handle(self, task_id: str) -> TaskHandle:
        """A task that was submitted before."""
        return TaskHandle(self, token(task_id, "task id"))

    async def result(self, task_id: str, timeout_s: float | None = None) -> Any:
        """What a task's handler returned, once it is completed. Raises what `TaskHandle.result` raises."""
        task = await self.ended(task_id, timeout_s)
        if task.status == "completed":
            return msgspec.json.decode(task.result)
        if task.status == "cancelled":
            raise TaskCancelled(f"task {task_id} was cancelled{_because(task.reason)}")
        raise TaskFailed(f"task {task_id} {task.status.replace('_', '-')}{_because(task.error or task.reason)}")

    async def ended(self, task_id: str, timeout_s: float | None = None) -> TaskView:
        """A task once it has ended, however it did.

        Raises:
            TimeoutError: it did not end within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            return await self._results.ended(token(task_id, "task id"))

    def watch(self, task_id: str | None = None) -> AsyncIterator[EventView]:
        """The events of a task from its beginning until it has ended; without an id, all events from now on."""
        if task_id is None:
            return history.follow(self.connection, reads.ListEvents(since=datetime.now(UTC)))
        return history.of_task(self.connection, token(task_id, "task id"))

    async def cancel(self, task_id: str, reason: str = "") -> TaskBrief:
        """End a task that has not ended; an agent that works on it is told to stop."""
        return await self._command(BROKER, "cancel", commands.Cancel(task_id, reason), TaskBrief)

    async def retry(self, task_id: str, reason: str = "") -> TaskBrief:
        """Open a task that ended without success again, with a fresh retry budget."""
        return await self._command(BROKER, "retry", commands.Retry(task_id, reason), TaskBrief)

    async def approve(self, task_id: str, reason: str = "") -> TaskBrief:
        """Accept the work of a task that is pending approval."""
        return await self._command(BROKER, "approve", commands.Approve(task_id, reason), TaskBrief)

    async def reject(self, task_id: str, reason: str = "", *, final: bool = False) -> TaskBrief:
        """Refuse the work of a task that is pending approval: it is done again, or has failed."""
        return await self._command(BROKER, "reject", commands.Reject(task_id, reason, final), TaskBrief)

    async def block(self, task_id: str, reason: str = "") -> TaskBrief:
        """Keep a pending task from being dispatched."""
        return await self._command(BROKER, "block", commands.Block(task_id, reason), TaskBrief)

    async def unblock(self, task_id: str, reason: str = "") -> TaskBrief:
        """Let a blocked task go on."""
        return await self._command(BROKER, "unblock", commands.Unblock(task_id, reason), TaskBrief)

    async def enqueue(self, task_id: str) -> TaskBrief:
        """Let a task be dispatched although its phase has not started."""
        return await self._command(BROKER, "queue", commands.Queue(task_id), TaskBrief)

    async def dispatch(self, task_id: str, agent_id: str | None = None) -> TaskBrief:
        """Give a pending task to an agent now: to the one named, else to the best."""
        return await self._command(BROKER, "dispatch", commands.Dispatch(task_id, agent_id), TaskBrief)

    async def dispatch_next(self, agent_id: str | None = None) -> TaskBrief:
        """Give out the first ready task that an agent, or the one named, could take."""
        return await self._command(BROKER, "dispatch_next", commands.DispatchNext(agent_id), TaskBrief)

    async def update(self, task_id: str, **changes: Unpack[TaskChanges]) -> TaskBrief:
        """Change a task that has not ended; see `TaskChanges`."""
        return await self._command(BROKER, "update", task_update(task_id, **changes), TaskBrief)

    async def next(self) -> TaskView:
        """The ready task that would be dispatched first."""
        return await self._read(BROKER, "next", reads.Nothing(), TaskView)

    async def task(self, task_id: str, as_of: datetime | None = None) -> TaskView:
        """A task with its attempts, as it is, or as it was at a moment."""
        return await self._read(BROKER, "task", reads.TaskAsOf(token(task_id, "task id"), as_of), TaskView)

    async def tasks(self, query: reads.ListTasks | None = None) -> PageOf[TaskView]:
        """A page of tasks, newest first."""
        return await self._read(BROKER, "tasks", query or reads.ListTasks(), PageOf[TaskView])

    async def queue(self, limit: int = 100, as_of: datetime | None = None) -> QueueView:
        """What waits, and the head of the queue; or what waited at a moment."""
        return await self._read(BROKER, "queue", reads.QueueAsOf(limit, as_of=as_of), QueueView)

    async def explain(
        self, task_id: str, attempt: int | None = None, weights: dict[str, float] | None = None
    ) -> Explanation:
        """Why an attempt, by default the last, went to its agent, and who would win with other weights."""
        query = reads.Explain(token(task_id, "task id"), attempt, weights)
        return await self._read(BROKER, "explain", query, Explanation)

    async def whatif(self, weights: dict[str, float], since: datetime) -> WhatIf:
        """What the decisions since a moment would have been with other weights."""
        return await self._read(BROKER, "whatif", reads.AskWhatIf(weights, since), WhatIf)

    async def why(self, task_id: str) -> Why:
        """Why a task is where it is, in one sentence."""
        return await self._read(BROKER, "why", reads.OneTask(token(task_id, "task id")), Why)

    def dead(self, at_most: int | None = None) -> AsyncIterator[TaskView]:
        """Tasks that ended failed or dead_lettered, newest first."""
        return paging.items(self.connection, BROKER, "dead", _LISTING, TaskView, at_most)

    async def replay(self, replay: commands.Replay) -> ReplayBrief:
        """Have the broker open dead letters again, no faster than the replay's rate."""
        return await self._command(BROKER, "replay", replay, ReplayBrief)

    async def stop_replay(self, replay_id: str) -> ReplayBrief:
        """Let a replay open no more dead letters."""
        return await self._command(BROKER, "stop_replay", commands.StopReplay(replay_id), ReplayBrief)

    async def replay_of(self, replay_id: str) -> ReplayView:
        """How far a replay is."""
        return await self._read(BROKER, "replay", reads.OneReplay(token(replay_id, "replay id")), ReplayView)

    def replays(self, at_most: int | None = None) -> AsyncIterator[ReplayView]:
        """Replays of dead letters, newest first."""
        return paging.items(self.connection, BROKER, "replays", _LISTING, ReplayView, at_most)

    async def stats(self) -> Stats:
        """Counts over all tasks that are kept."""
        return await self._read(BROKER, "stats", reads.Nothing(), Stats)

    # --- phases and initiatives -----------------------------------------------------------------------
    async def create_phase(self, phase: commands.CreatePhase) -> PhaseBrief:
        """Create a phase; the same one again changes nothing."""
        return await self._command(BROKER, "create_phase", phase, PhaseBrief)

    async def update_phase(self, phase_id: str, depends_on: list[str]) -> PhaseBrief:
        """Change what a phase that has not started depends on."""
        return await self._command(BROKER, "update_phase", commands.UpdatePhase(phase_id, depends_on), PhaseBrief)

    async def steer_phase(self, verb: PhaseVerb, phase_id: str, reason: str = "") -> PhaseBrief:
        """Approve, queue, dispatch (start), block, unblock or complete a phase."""
        return await self._command(BROKER, f"{verb}_phase", commands.OfPhase(phase_id, reason), PhaseBrief)

    async def dispatch_next_phase(self, initiative_id: str | None = None) -> PhaseBrief:
        """Start the first phase that is approved and whose dependencies are complete."""
        wanted = commands.DispatchNextPhase(initiative_id)
        return await self._command(BROKER, "dispatch_next_phase", wanted, PhaseBrief)

    async def phase(self, phase_id: str) -> PhaseView:
        """A phase with its tasks counted."""
        return await self._read(BROKER, "phase", reads.OnePhase(token(phase_id, "phase id")), PhaseView)

    def phases(self, initiative_id: str | None = None, at_most: int | None = None) -> AsyncIterator[PhaseView]:
        """Phases, newest first."""
        query = reads.ListPhases(initiative_id=initiative_id, limit=limits.LIST_ITEMS_MAX)
        return paging.items(self.connection, BROKER, "phases", query, PhaseView, at_most)

    async def phase_queue(self, initiative_id: str | None = None) -> PhaseQueueView:
        """The phases that are queued, ready and blocked."""
        return await self._read(BROKER, "phase_queue", reads.OfInitiative(initiative_id), PhaseQueueView)

    async def next_phase(self, initiative_id: str | None = None) -> PhaseView:
        """The phase that would start first."""
        return await self._read(BROKER, "next_phase", reads.OfInitiative(initiative_id), PhaseView)

    async def create_initiative(self, initiative: commands.CreateInitiative) -> InitiativeBrief:
        """Create an initiative; the same one again changes nothing."""
        return await self._command(BROKER, "create_initiative", initiative, InitiativeBrief)

    async def steer_initiative(self, verb: InitiativeVerb, initiative_id: str, reason: str = "") -> InitiativeBrief:
        """Approve, queue, block or unblock all phases of an initiative, or complete it."""
        wanted = commands.OfInitiative(initiative_id, reason)
        return await self._command(BROKER, f"{verb}_initiative", wanted, InitiativeBrief)

    async def initiative(self, initiative_id: str) -> InitiativeView:
        """An initiative with its phases."""
        query = reads.OneInitiative(token(initiative_id, "initiative id"))
        return await self._read(BROKER, "initiative", query, InitiativeView)

    def initiatives(self, at_most: int | None = None) -> AsyncIterator[InitiativeView]:
        """Initiatives, newest first."""
        return paging.items(self.connection, BROKER, "initiatives", _LISTING, InitiativeView, at_most)

    # --- conversations --------------------------------------------------------------------------------
    async def ask(
        self,
        target: str,
        question: Any,
        *,
        timeout_s: float = limits.ANSWER_TIMEOUT_S,
        thread: str | None = None,
        attempt: tuple[str, int] | None = None,
        id: str | None = None,  # noqa: A002 - the name of the field
    ) -> Answer:
        """Ask an agent and wait for its answer.

        Args:
            target: `agent:ID`; `task:ID` for who runs it or ran it last; `phase:ID` for an agent at work in it.
            question: a text, or any JSON.
            timeout_s: how long the question stays open, in seconds.
            thread: a conversation that this question follows up.
            attempt: the task's id and the number of our attempt that waits for the answer: it is paused meanwhile.
            id: the conversation's id; the same question with the same id again finds the earlier one.

        Raises:
            NoAnswer: nobody answered in time, or nobody ever will.
        """
        return await self._asking.ask(
            commands_to_peers.Ask(
                target=target,
                question=codec.raw(question),
                timeout_seconds=timeout_s,
                thread=thread,
                task_id=attempt[0] if attempt else None,
                attempt=attempt[1] if attempt else None,
                id=token(id, "conversation id") if id else new_id(),
            )
        )

    async def message(self, target: str, content: Any) -> MessageBrief:
        """Say something to an agent without expecting an answer. It waits for one that is away."""
        message = commands_to_peers.SendMessage(target=target, content=codec.raw(content), id=new_id())
        return await self._command(CONVERSATION, "message", message, MessageBrief)

    async def answer(self, conversation_id: str, answer: Any) -> ConversationView:
        """Answer a question that was put to us."""
        said = commands_to_peers.Answer(token(conversation_id, "conversation id"), codec.raw(answer))
        return await self._command(CONVERSATION, "answer", said, ConversationView)

    async def withdraw(self, conversation_id: str, reason: str = "") -> ConversationView:
        """Give up a question of our own."""
        given_up = commands_to_peers.Withdraw(token(conversation_id, "conversation id"), reason)
        return await self._command(CONVERSATION, "withdraw", given_up, ConversationView)

    async def conversation(self, conversation_id: str) -> ConversationView:
        """A question and what became of it."""
        query = reads.OneConversation(token(conversation_id, "conversation id"))
        return await self._read(CONVERSATION, "conversation", query, ConversationView)

    def conversations(
        self, query: reads.ListConversations | None = None, at_most: int | None = None
    ) -> AsyncIterator[ConversationView]:
        """Questions, newest first."""
        query = query or reads.ListConversations(limit=limits.LIST_ITEMS_MAX)
        return paging.items(self.connection, CONVERSATION, "conversations", query, ConversationView, at_most)

    async def graph(self) -> GraphView:
        """Who may talk to whom."""
        return await self._read(CONVERSATION, "graph", reads.Nothing(), GraphView)

    async def set_graph(self, graph: GraphSpec) -> None:
        """From now on questions and messages follow this graph."""
        wanted = commands_to_peers.SetGraph(nodes=graph.nodes, edges=graph.edges)
        await self._command(CONVERSATION, "set_graph", wanted, commands_to_peers.Done)

    async def clear_graph(self) -> None:
        """Let everybody talk to everybody."""
        await self._command(CONVERSATION, "clear_graph", commands_to_peers.ClearGraph(), commands_to_peers.Done)

    # --- history --------------------------------------------------------------------------------------
    async def events(self, query: reads.ListEvents | None = None) -> PageOf[EventView]:
        """A page of the history."""
        return await self._read(BROKER, "events", query or reads.ListEvents(), PageOf[EventView])

    def rejects(self, at_most: int | None = None) -> AsyncIterator[RejectView]:
        """Messages that could not be taken, newest first."""
        return paging.items(self.connection, BROKER, "rejects", _LISTING, RejectView, at_most)

    async def rejected_message(self, reject_id: int) -> RejectView:
        """One of them."""
        return await self._read(BROKER, "reject", reads.OneReject(reject_id), RejectView)

    async def publish(
        self,
        event: Event | str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the name of the field
        entity_id: str | None = None,
    ) -> Published:
        """Publish an event of another service's, or of an agent: it is in history once per publisher and id.

        Args:
            event: one of `hivewire.events`, such as `MergeConflicted(...)`; or a type of the form `entity.event`.
            data: for a type that is given as a text, its data.
            id: the publisher's own id of the event; the same again is the same event.
            entity_id: what an event of a type that the catalogue does not have is about.

        Raises:
            RefusedError: the event cannot be taken; it is among the rejects.
        """
        wanted = Publish(
            type=event if isinstance(event, str) else event.type,
            data=codec.raw({} if data is None else data) if isinstance(event, str) else codec.raw(event),
            id=id or new_id(),
            entity_id=entity_id,
        )
        return await self._command(AGENT_GATEWAY, "publish", wanted, Published)

    # --- agents ---------------------------------------------------------------------------------------
    def agents(self, at_most: int | None = None) -> AsyncIterator[AgentView]:
        """The registry, by id."""
        return paging.items(self.connection, AGENT_GATEWAY, "agents", _LISTING, AgentView, at_most)

    async def agent(self, agent_id: str) -> AgentView:
        """One agent."""
        return await self._read(AGENT_GATEWAY, "agent", reads.OneAgent(token(agent_id, "agent id")), AgentView)

    async def drain(self, agent_id: str) -> AgentBrief:
        """Let an agent finish what it holds, and give it nothing new."""
        return await self._command(AGENT_GATEWAY, "drain", Drain(token(agent_id, "agent id")), AgentBrief)

    async def undrain(self, agent_id: str) -> AgentBrief:
        """Let an agent be given work again."""
        return await self._command(AGENT_GATEWAY, "undrain", Undrain(token(agent_id, "agent id")), AgentBrief)

    async def wake(self, agent_id: str, reason: str = "") -> AgentBrief:
        """Have an agent that is away start, in the way that its card says; it is awake once it is present.

        Raises:
            RefusedError: its card says no way (409), or there is no such agent (404).
        """
        return await self._command(AGENT_GATEWAY, "wake", Wake(token(agent_id, "agent id"), reason), AgentBrief)

    async def remove(self, agent_id: str) -> AgentBrief:
        """Forget an agent. What it holds is given to others."""
        return await self._command(AGENT_GATEWAY, "remove", Remove(token(agent_id, "agent id")), AgentBrief)

    # --- the line -------------------------------------------------------------------------------------
    async def _command(self, service: str, verb: str, data: object, wanted: type[T]) -> T:
        return await self.connection.command(service, verb, data, wanted, timeout_s=self.timeout_s)

    async def _read(self, service: str, query: str, params: object, wanted: type[T]) -> T:
        return await self.connection.read(service, query, params, wanted, timeout_s=self.timeout_s)


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
