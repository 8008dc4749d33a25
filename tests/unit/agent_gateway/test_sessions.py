"""Sessions in the core: dispatched within bounds, answered once, retried, timed out, lost and reported."""

from datetime import timedelta
from itertools import count

import msgspec
import pytest

from hivewire import limits
from hivewire.inbox import Beat, DoorBeat, TaskDispatch
from hivewire.views import SessionBatch, SessionBrief
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.sessions.dispatching import Bounds
from hivewire_agent_gateway.sessions.records import Act, Acted, GivenTask, Halt, Report, Reported, Send, TakenBack
from hivewire_agent_gateway.sessions.states import TRANSITIONS, IllegalTransition, following
from hivewire_service.core import Command, Refusal

from .conftest import Driver


class Gateway(Driver):
    """Drives sessions; turns are run until nothing is left to do at once, as the loop does."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.core = AgentGateway(bounds or Bounds())
        self.records: list = []

    def call(self, sender: str, verb: str, **data):
        """The reply to a command, and all that follows from it at once."""
        command = Command(f"c{next(self._ids)}", verb, sender, self.core.verbs[verb](**data))
        step = self.core.decide(command, self.now)
        if isinstance(step, Refusal):
            return step
        self._take(step)
        reply = self.core.reply(command)
        self.settle()
        return reply

    def see(self, observation) -> None:
        self._take(self.core.observe(observation, self.now))
        self.settle()

    def settle(self) -> None:
        for _ in range(50):
            due = self.core.next_due()
            if due is None or due > self.now:
                return
            self._take(self.core.advance(self.now))
        raise AssertionError("the core never comes to rest")

    def after(self, seconds: float):
        before = len(self.history)
        self.now += timedelta(seconds=seconds)
        self.settle()
        return self.history[before:]

    def remote(self, agent_id="ann", instance="a", **card) -> None:
        self.call(agent_id, "register", instance=instance, agent_type="remote", **card)

    def dispatch(self, agent_id="ann", **data):
        return self.call("pub", "dispatch", agent_id=agent_id, content=msgspec.Raw(b'"hi"'), **data)

    def state(self, session_id: str) -> str:
        return self.core.sessions.by_id[session_id].state

    def drain_records(self, kind) -> list:
        found = [record for record in self.records if isinstance(record, kind)]
        self.records = [record for record in self.records if not isinstance(record, kind)]
        return found

    def _take(self, step) -> None:
        self.records += step.records
        self._evolve(step.events)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def respond(gateway, session_id, attempt=1, content=b'{"ok":1}', sender="ann", **data):
    return gateway.call(sender, "respond", session_id=session_id, attempt=attempt, content=msgspec.Raw(content), **data)


def test_every_state_can_be_left_or_is_an_end_and_a_missing_entry_refuses():
    reached = {state for events in TRANSITIONS.values() for state in events.values()} | {None}
    assert reached == set(TRANSITIONS)
    with pytest.raises(IllegalTransition, match="session.idle cannot happen to a session that is completed"):
        following("completed", "session.idle")


def test_a_session_goes_from_created_to_completed(gateway):
    gateway.remote()
    assert gateway.dispatch(id="s1") == SessionBrief("s1", "created", 0, created=True)
    assert gateway.state("s1") == "dispatched"
    assert gateway.drain_records(Send) == [Send("s1")]
    gateway.call("ann", "progress", session_id="s1", attempt=1, text="reading")
    assert gateway.state("s1") == "running"
    assert respond(gateway, "s1") == SessionBrief("s1", "completed", 1)
    assert [event.type for event in gateway.history if event.entity == "session"] == [
        "session.created",
        "session.dispatched",
        "session.running",
        "session.progress",
        "session.idle",
        "session.completed",
    ]


def test_the_same_session_again_is_known_and_another_under_its_id_is_refused(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    assert gateway.dispatch(id="s1").created is False
    assert gateway.dispatch(id="s1", timeout_seconds=1.0).status == 409


def test_unknown_and_native_agents_take_no_sessions(gateway):
    assert gateway.dispatch("nobody").status == 404
    gateway.call("bob", "register", instance="a")
    assert gateway.dispatch("bob").status == 422


def test_beyond_the_bounds_sessions_wait_and_agents_take_turns():
    gateway = Gateway(Bounds(overall=3, per_agent=2))
    gateway.remote("ann")
    gateway.remote("eve")
    for number in range(4):
        gateway.dispatch("ann", id=f"a{number}")
    gateway.dispatch("eve", id="e0")
    gateway.dispatch("eve", id="e1")
    open_ = [s for s in gateway.core.sessions.by_id if gateway.state(s) == "dispatched"]
    assert open_ == ["a0", "a1", "e0"]
    respond(gateway, "a0")
    assert gateway.state("a2") == "dispatched"
    respond(gateway, "a1")
    assert gateway.state("e1") == "dispatched"


def test_a_batch_has_a_bound_of_its_own_and_names_what_it_refuses(gateway):
    gateway.remote()
    item = {"agent_id": "ann", "content": msgspec.Raw(b"1")}
    kind = gateway.core.verbs["dispatch"]
    batch = [
        kind(**item, external_ref="7"),
        kind(**item, external_ref="7"),
        kind(agent_id="no", content=msgspec.Raw(b"1")),
    ]
    batch += [kind(**item) for _ in range(3)]
    reply = gateway.call("pub", "dispatch_batch", sessions=batch, max_concurrent=2)
    assert isinstance(reply, SessionBatch)
    assert [item.status for item in reply.items] == [None, 409, 404, None, None, None]
    assert sum(gateway.state(i.session_id) == "dispatched" for i in reply.items if i.session_id) == 2


def test_an_external_reference_is_unique_while_its_session_lives(gateway):
    gateway.remote()
    gateway.dispatch(id="s1", external_ref="42")
    assert gateway.dispatch(external_ref="42").detail == {"session_id": "s1"}
    respond(gateway, "s1")
    assert gateway.dispatch(external_ref="42").created


def test_a_session_waits_for_its_agent(gateway):
    gateway.remote()
    gateway.call("ann", "leave", instance="a")
    gateway.dispatch(id="s1")
    assert gateway.state("s1") == "created"
    gateway.remote()
    assert gateway.state("s1") == "dispatched"


def test_an_answer_in_vain_is_refused_and_recorded(gateway):
    gateway.remote()
    gateway.remote("eve")
    gateway.dispatch(id="s1")
    assert respond(gateway, "s1", sender="eve").status == 403
    assert respond(gateway, "s1", attempt=2).status == 409
    respond(gateway, "s1")
    assert respond(gateway, "s1") == SessionBrief("s1", "completed", 1)  # a repeat
    assert respond(gateway, "s1", content=b'"other"').status == 409
    refused = [e for e in gateway.history if e.type == "session.response_refused"]
    assert [(e.agent_id, e.attempt) for e in refused] == [("eve", 1), ("ann", 2), ("ann", 1)]
    assert respond(gateway, "nothing").status == 404


def test_errors_are_retried_after_the_delay_and_then_final(gateway):
    gateway.remote()
    gateway.dispatch(id="s1", max_retries=1, retry_delay_seconds=5.0)
    respond(gateway, "s1", error="no")
    assert gateway.state("s1") == "created"
    gateway.after(4.9)
    assert gateway.state("s1") == "created"
    gateway.after(0.1)
    assert gateway.state("s1") == "dispatched"
    respond(gateway, "s1", attempt=2, error="still no")
    assert (gateway.state("s1"), gateway.core.sessions.by_id["s1"].error) == ("failed", "still no")


def keep_alive(gateway, seconds: float, sessions=(), agent_id="ann") -> None:
    for _ in range(int(seconds / 5)):
        gateway.after(5)
        gateway.see(Beat(agent_id, "a", sessions=list(sessions)))


def test_what_is_not_answered_in_time_ends_and_its_agent_is_told(gateway):
    gateway.remote()
    gateway.dispatch(id="s1", timeout_seconds=30.0)
    keep_alive(gateway, 30, ["s1.1"])
    assert gateway.state("s1") == "timed_out"
    assert [halt.message_id for halt in gateway.drain_records(Halt)][:1] == ["s1.1"]
    assert respond(gateway, "s1").status == 409


def test_silence_of_the_bus_moves_deadlines(gateway):
    gateway.remote()
    gateway.dispatch(id="s1", timeout_seconds=30.0)
    gateway.core.extend(100.0, gateway.now)
    keep_alive(gateway, 40, ["s1.1"])
    assert gateway.state("s1") == "dispatched"


def test_a_lost_agents_session_is_given_again_without_spending_a_retry(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.after(60)
    assert gateway.state("s1") == "created"
    gateway.remote()
    assert (gateway.state("s1"), gateway.core.sessions.by_id["s1"].attempt) == ("dispatched", 2)
    for number in range(2):
        gateway.remote(instance=f"i{number}")
    assert gateway.state("s1") == "failed"


def test_a_pause_that_was_over_stays_over_when_the_clock_is_set_back(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.after(60)
    gateway.now -= timedelta(seconds=30)
    gateway.remote()
    assert gateway.state("s1") == "dispatched"


def test_an_answer_that_comes_too_late_does_not_begin_the_pause_anew(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.after(60)
    gateway.now -= timedelta(seconds=30)
    gateway.call("ann", "respond", session_id="s1", attempt=1, content=msgspec.Raw(b"1"))
    assert gateway.history[-1].type == "session.response_refused"
    gateway.remote()
    assert gateway.state("s1") == "dispatched"


def test_a_returning_agent_is_sent_what_is_open_again(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.drain_records(Send)
    gateway.remote()
    assert gateway.drain_records(Send) == [Send("s1")]


def test_beats_and_sessions_are_compared(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.drain_records(Send)
    keep_alive(gateway, 5)
    assert gateway.drain_records(Send) == []
    keep_alive(gateway, 5)
    assert gateway.drain_records(Send) == [Send("s1")]
    gateway.see(Beat("ann", "a", sessions=["s1.1", "gone.1"]))
    assert [halt.message_id for halt in gateway.drain_records(Halt)] == ["gone.1"]


def test_a_response_is_taken_once(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    assert gateway.call("pub", "take", session_id="s1").status == 409
    respond(gateway, "s1")
    assert gateway.call("pub", "take", session_id="s1").state == "completed"
    assert gateway.call("pub", "take", session_id="s1").status == 409


def test_cancel_reaches_the_agent_and_is_repeatable(gateway):
    gateway.remote()
    gateway.dispatch(id="s1")
    assert gateway.call("pub", "cancel", session_id="s1", reason="enough").state == "cancelled"
    assert gateway.call("pub", "cancel", session_id="s1").state == "cancelled"
    assert gateway.drain_records(Halt) == [Halt("s1", "ann", "s1.1", "enough")]
    gateway.dispatch(id="s2")
    respond(gateway, "s2")
    assert gateway.call("pub", "cancel", session_id="s2").status == 409


def test_a_completion_action_runs_until_it_succeeds_or_never_will(gateway):
    hook = {"type": "webhook", "url": "http://example.org"}
    gateway.remote()
    for name in ("s1", "s2"):
        gateway.dispatch(
            id=name,
            completion_action=msgspec.convert(
                hook, gateway.core.verbs["dispatch"].__annotations__["completion_action"]
            ),
        )
        respond(gateway, name)
    assert gateway.drain_records(Act) == [Act("s1"), Act("s2")]
    gateway.see(Acted("s1"))
    assert gateway.state("s1") == "completed"
    for _ in range(limits.ACTION_TRIES_MAX - 1):
        gateway.see(Acted("s2", "down"))
        assert gateway.state("s2") == "idle"
        assert gateway.drain_records(Act) == []
        keep_alive(gateway, 40)
        assert gateway.drain_records(Act) == [Act("s2")]
    gateway.see(Acted("s2", "down"))
    assert gateway.state("s2") == "failed"


def given(attempt=1, **task) -> GivenTask:
    return GivenTask(
        f"t1-{attempt}", "ann", TaskDispatch(task_id="t1", attempt=attempt, instance="a", title="Do", **task)
    )


def test_a_task_becomes_a_session_whose_end_is_reported_until_it_is_known(gateway):
    gateway.remote()
    gateway.see(given())
    gateway.see(given())
    assert gateway.drain_records(Report) == [Report("t1-1", "start")]
    respond(gateway, "t1-1")
    assert gateway.drain_records(Report) == [Report("t1-1", "end")]
    gateway.see(given())
    assert gateway.drain_records(Report) == [Report("t1-1", "end")]
    assert list(gateway.core.sessions.unreported) == ["t1-1"]
    gateway.see(Reported("t1-1"))
    assert not gateway.core.sessions.unreported


def test_a_tasks_session_never_retries_and_is_ended_with_its_attempt(gateway):
    gateway.remote()
    gateway.see(given())
    respond(gateway, "t1-1", error="no")
    assert gateway.state("t1-1") == "failed"
    gateway.see(given(2))
    gateway.see(TakenBack("t1-2", "timed out: run"))
    assert gateway.state("t1-2") == "cancelled"
    assert "t1-2" not in gateway.core.sessions.unreported


def test_tasks_are_not_bounded_by_the_limits_of_direct_sessions():
    gateway = Gateway(Bounds(overall=1, per_agent=1))
    gateway.remote()
    gateway.dispatch(id="s1")
    gateway.see(given())
    assert gateway.state("t1-1") == "dispatched"


def test_a_task_for_another_instance_is_not_taken(gateway):
    gateway.remote(instance="b")
    gateway.see(given())
    assert gateway.core.sessions.get("t1-1") is None


def test_posts_go_to_a_living_door_and_to_another_when_it_dies(gateway):
    gateway.remote(endpoint_url="http://127.0.0.1:1/")
    gateway.dispatch(id="s1")
    assert gateway.drain_records(Send) == []
    gateway.see(DoorBeat("d1"))
    assert gateway.drain_records(Send) == [Send("s1", "d1")]
    gateway.after(2)
    gateway.see(DoorBeat("d2"))
    gateway.see(Beat("ann", "a"))
    gateway.after(5)
    assert gateway.drain_records(Send) == [Send("s1", "d2")]


def test_a_door_that_does_not_know_its_post_is_sent_it_again(gateway):
    gateway.remote(endpoint_url="http://127.0.0.1:1/")
    gateway.see(DoorBeat("d1"))
    gateway.dispatch(id="s1")
    gateway.drain_records(Send)
    gateway.after(4)
    gateway.see(DoorBeat("d1", ["s1.1"]))
    assert gateway.drain_records(Send) == []
    gateway.see(DoorBeat("d1"))
    assert gateway.drain_records(Send) == [Send("s1", "d1")]
    gateway.see(DoorBeat("d2"))
    gateway.see(DoorBeat("d1", leaving=True))
    assert gateway.drain_records(Send) == [Send("s1", "d2")]


def test_a_removed_agents_waiting_sessions_fail(gateway):
    gateway.remote()
    gateway.call("ann", "leave", instance="a")
    gateway.dispatch(id="s1")
    gateway.call("operator", "remove", agent_id="ann")
    assert gateway.state("s1") == "failed"


def test_ended_sessions_are_forgotten_in_time(gateway, monkeypatch):
    monkeypatch.setattr("hivewire_agent_gateway.sessions.sessions.ENDED_REMEMBERED_MAX", 3)
    gateway.remote()
    for number in count():
        gateway.dispatch(id=f"s{number}")
        respond(gateway, f"s{number}")
        if number == 9:
            break
    assert len(gateway.core.sessions.by_id) <= 5
