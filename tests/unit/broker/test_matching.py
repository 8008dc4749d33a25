"""Gates, factors, ties and the record of a choice."""

import itertools
import random
from types import SimpleNamespace

import msgspec
import pytest

from hivewire.errors import BadUsage
from hivewire_broker import scoring
from hivewire_broker.decision import Decision
from hivewire_broker.evolve import kinship
from hivewire_broker.matching import TIE
from hivewire_broker.scoring import DEFAULT_WEIGHTS, FACTORS
from hivewire_broker.state import History
from hivewire_broker.task import Requirements
from unit.broker.driver import Driver


# factors by hand ------------------------------------------------------------------------------------
def test_availability():
    assert [scoring.availability(busy, 4) for busy in range(4)] == [1.0, 0.375, 0.25, 0.125]
    assert scoring.availability(0, 4, degraded=True) == 0.0


def test_cost():
    assert [scoring.cost(*seen) for seen in ((0, 0.0), (2, 2.0), (1, 0.0), (1, 3.0))] == [0.5, 0.5, 1.0, 0.25]


def test_policy():
    assert (scoring.policy("always-on"), scoring.policy("on-demand")) == (1.0, 0.5)


def test_trust_starts_in_the_middle_and_matters_with_risk():
    assert [scoring.trust(*seen) for seen in ((0, 0), (1, 1), (8, 8), (0, 8))] == [0.5, 2 / 3, 0.9, 0.1]
    assert scoring.trust_for_risk(0.1, 0.0) == 1.0
    assert scoring.trust_for_risk(0.1, 1.0) == pytest.approx(0.1)


def test_duration():
    assert scoring.duration(0, 0) == 0.5
    assert scoring.duration(2, 2 * 60_000_000) == 0.5
    assert scoring.duration(1, 0) == 1.0


def test_breadth_suits_complexity():
    assert [scoring.breadth(count) for count in (0, 3, 9)] == [0.0, 0.5, 0.75]
    assert scoring.breadth_for_complexity(0.75, 1.0) == 0.75
    assert scoring.breadth_for_complexity(0.75, 0.0) == 0.25
    assert scoring.breadth_for_complexity(0.75, 0.5) == 0.5


def test_affinity():
    assert (scoring.affinity(1, 4), scoring.affinity(0, 0)) == (0.25, 0.0)


def test_specialisation_spares_who_has_what_other_work_needs():
    assert [scoring.pressure(*seen) for seen in ((1, 1), (3, 1), (1, 9))] == [0.5, 0.75, 0.1]
    assert [scoring.specialisation(spare) for spare in ((), (0.0,), (0.5, 0.75))] == [1.0, 1.0, 0.25]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"trust": 0.5}, "sum to 1"),
        ({"trust": -0.1}, "0 or more"),
        ({"trust": float("nan")}, "0 or more"),
        ({"luck": 0.0}, "exactly"),
    ],
)
def test_bad_weights_are_refused(change, what):
    with pytest.raises(BadUsage, match=what):
        scoring.weights_in_order(DEFAULT_WEIGHTS | change)


# gates ----------------------------------------------------------------------------------------------
def test_capabilities_do_not_depend_on_case(hive):
    hive.spawn("ann", "python")
    hive.submit("t1", required_capabilities=["PYTHON"])
    assert hive.status("t1") == "assigned"


def test_an_agent_with_an_owner_works_for_that_owner_only(hive):
    hive.spawn("ann", owner="kim")
    hive.submit("t1")
    hive.submit("t2", owner="kim")
    assert (hive.status("t1"), hive.status("t2")) == ("pending", "assigned")


def test_the_record_counts_by_gate_and_names_the_best_eight(hive):
    for number in range(10):
        hive.spawn(f"free-{number}", "python")
    hive.spawn("drained", "python")
    hive.drain("drained")
    hive.spawn("away", "python")
    hive.stop("away")
    hive.spawn("kims", "python", owner="kim")
    hive.spawn("cook", "cooking")
    hive.submit("t1", required_capabilities=["python"])
    hive.submit("t2", required_capabilities=["python"])
    first, second = hive.take(Decision)
    assert first.gated == {"capabilities": 1, "owner": 1, "presence": 1, "drained": 1}
    assert second.gated == first.gated | {"slots": 1}
    assert (first.scored, len(first.candidates), second.scored) == (10, 8, 9)
    assert len(msgspec.json.encode(first)) < 4096
    assert hive.last("task.assigned").reason.startswith("best of 9 free agents")


def test_the_record_stays_small_with_the_longest_names(hive):
    for number in range(20):
        hive.spawn(f"{number:02}" + "x" * 126)
    hive.submit("t" * 128, risk=1 / 3, complexity=1 / 7)
    (decision,) = hive.take(Decision)
    assert len(msgspec.json.encode(decision)) < 4096


# choices --------------------------------------------------------------------------------------------
def test_equals_take_turns_and_start_in_the_order_of_their_ids(hive):
    for name in ("cid", "ann", "bob"):
        hive.spawn(name)
    for number in range(6):
        hive.submit(f"t{number}", max_retries=0)
        hive.now += hive.now.resolution
        hive.cancel(f"t{number}")
    assert [agent for _, agent in hive.assigned()] == ["ann", "bob", "cid"] * 2


def test_the_idle_agent_is_preferred(hive):
    hive.spawn("ann", slots=4)
    hive.spawn("bob", slots=4)
    for number in range(4):
        hive.submit(f"t{number}")
    assert [agent for _, agent in hive.assigned()] == ["ann", "bob", "ann", "bob"]


def test_a_trusted_agent_is_preferred_for_what_is_risky(hive):
    hive.spawn("ann")
    hive.spawn("bob")
    hive.broker.state.history.update(ann=History(completed=0, ended=8), bob=History(completed=8, ended=8))
    hive.broker.state.changed_agents.update(("ann", "bob"))
    hive.submit("t1", risk=1.0)
    assert hive.assigned() == [("t1", "bob")]


def test_whoever_did_the_dependency_gets_what_follows(hive):
    hive.spawn("ann")
    hive.spawn("bob")
    hive.submit("t1")
    hive.submit("t2", depends_on=["t1"])
    hive.complete("t1")
    assert hive.assigned() == [("t1", "ann"), ("t2", "ann")]


def test_whoever_has_a_skill_that_other_work_waits_for_is_spared(hive):
    for _ in range(3):
        hive.submit(required_capabilities=["cobol", "fortran"])
    hive.spawn("ann", "python", "cobol")
    hive.spawn("bob", "python", "lisp")
    hive.submit("t1", required_capabilities=["python"])
    assert hive.assigned() == [("t1", "bob")]
    (decision,) = hive.take(Decision)
    assert [values[-1] for values in decision.factors] == [1.0, 0.25]


def test_a_rare_skill_that_nobody_asks_for_spares_nobody(hive):
    hive.spawn("ann", "python", "cobol")
    hive.spawn("bob", "python")
    hive.submit("t1", required_capabilities=["python"], complexity=1.0)
    assert hive.assigned() == [("t1", "ann")]


def test_demand_is_looked_at_again_after_a_second(hive):
    hive.spawn("ann", "python", "cobol")
    hive.spawn("bob", "python")
    for task_id, pause_s in (("t1", 0.0), ("t2", 1.0), ("t3", 0.0)):
        hive.submit(task_id, required_capabilities=["python"], complexity=1.0)
        hive.cancel(task_id)
        hive.submit(required_capabilities=["cobol"], category="plan")
        hive.wait(pause_s)
    assert hive.assigned() == [("t1", "ann"), ("t2", "ann"), ("t3", "bob")]


# the matrix against the formula ---------------------------------------------------------------------
SKILLS = ["a", "b", "c", "d"]
CHOICES_OF_FLEET = 100


def plain_score(hive: Driver, agent, task, weights: dict[str, float]) -> float:
    """The score of one candidate, factor by factor."""
    state = hive.broker.state
    history = state.history.get(agent.agent_id, History())
    trusted = scoring.trust(history.completed, history.ended)
    broad = scoring.breadth(len(agent.capabilities))
    kin = [state.kin.get(kin) for kin in task.kinship]
    kin += [state.tasks[needed].attempt.agent_id for needed in task.depends_on]
    spare = agent.capabilities - task.requirements.capabilities
    pending = [other for other in state.tasks.values() if other.status == "pending"]
    values = {
        "availability": scoring.availability(len(state.held.get(agent.agent_id, ())), agent.slots),
        "policy": scoring.policy(agent.policy),
        "trust": scoring.trust_for_risk(trusted, 0.5 if task.risk is None else task.risk),
        "cost": scoring.cost(history.costed, history.cost),
        "duration": scoring.duration(history.completed, history.run_us),
        "breadth": scoring.breadth_for_complexity(broad, 0.5 if task.complexity is None else task.complexity),
        "affinity": scoring.affinity(kin.count(agent.agent_id), len(kin)),
        "specialisation": scoring.specialisation(
            scoring.pressure(
                sum(skill in other.requirements.capabilities for other in pending),
                sum(skill in other.capabilities for other in hive.broker.fleet),
            )
            for skill in spare
        ),
    }
    return sum(weights[name] * values[name] for name in FACTORS)


def random_fleet(choice: random.Random, weights: dict[str, float]) -> Driver:
    hive = Driver(weights=weights)
    for number in range(choice.randrange(1, 15)):
        agent = f"agent-{number}"
        completed = choice.randrange(5)
        hive.broker.state.history[agent] = History(
            completed, completed + choice.randrange(5), completed * choice.randrange(1, 10**9)
        )
        hive.spawn(
            agent,
            *choice.sample(SKILLS, choice.randrange(len(SKILLS) + 1)),
            slots=choice.randrange(1, 5),
            owner=choice.choice([None, None, "boss", "kim"]) if number else None,
            policy=choice.choice(["always-on", "on-demand"]),
        )
    for _ in range(choice.randrange(6)):
        hive.submit(required_capabilities=choice.sample(SKILLS, choice.randrange(1, 4)), category="plan")
    return hive


@pytest.mark.parametrize("seed", range(100))
def test_the_matrix_says_what_the_formula_says(seed):
    """Ten thousand choices."""
    choice = random.Random(seed)
    shares = [choice.random() for _ in FACTORS]
    weights = {name: share / sum(shares) for name, share in zip(FACTORS, shares, strict=True)}
    hive = random_fleet(choice, weights)
    done: list[str] = []
    chosen = 0
    for number in itertools.count():
        hive.jump(1 + choice.random())  # demand is looked at once a second
        task, expected = random_task(choice, hive, weights, done)
        hive.submit(f"t{number}", **task)
        decisions = hive.take(Decision)
        if not expected:
            assert not decisions
            hive.cancel(f"t{number}")
        else:
            agrees(hive.last("task.assigned"), decisions[0], expected, weights)
            chosen += 1
        if chosen == CHOICES_OF_FLEET:
            return
        for task_id in choice.sample(sorted(busy(hive)), min(len(busy(hive)), choice.randrange(3))):
            hive.complete(task_id)
            done.append(task_id)


def busy(hive: Driver) -> list[str]:
    return [task_id for held in hive.broker.state.held.values() for task_id in held]


def random_task(choice, hive, weights, done) -> tuple[dict, dict[str, float]]:
    """A task, and what the formula says of each agent that could have it."""
    wanted = choice.sample(SKILLS, choice.randrange(3))
    needs = choice.sample(done, min(len(done), choice.randrange(3)))
    labels = {"team": choice.choice("xy")} if choice.random() < 0.5 else {}
    risk, complexity = (choice.choice([None, 0.0, choice.random(), 1.0]) for _ in range(2))
    task = {
        "required_capabilities": wanted,
        "depends_on": needs,
        "labels": labels,
        "risk": risk,
        "complexity": complexity,
        "requires_approval": False,
        "start_timeout_seconds": 1e6,
    }
    return task, expected_choice(hive, weights, wanted, needs, labels, risk, complexity)


def agrees(assigned, decision: Decision, expected: dict[str, float], weights: dict[str, float]) -> None:
    """The choice and its record are those of the formula."""
    best = max(expected.values())
    assert expected[assigned.agent_id] >= best - 2 * TIE
    assert assigned.score == pytest.approx(expected[assigned.agent_id])
    assert decision.scored == len(expected)
    for agent, score, values in zip(decision.candidates, decision.scores, decision.factors, strict=True):
        assert score == pytest.approx(expected[agent], abs=1e-4)
        assert score == pytest.approx(sum(w * v for w, v in zip(weights.values(), values, strict=True)), abs=1e-3)


def expected_choice(hive, weights, wanted, needs, labels, risk, complexity) -> dict[str, float]:
    """The scores of all agents that pass the gates."""
    requirements = Requirements("boss", frozenset(wanted))
    task = SimpleNamespace(
        requirements=requirements, kinship=kinship(labels), depends_on=needs, risk=risk, complexity=complexity
    )
    held = hive.broker.state.held
    return {
        agent.agent_id: plain_score(hive, agent, task, weights)
        for agent in hive.broker.fleet
        if agent.capabilities >= requirements.capabilities
        and agent.owner in (None, "boss")
        and len(held.get(agent.agent_id, ())) < agent.slots
    }


def test_nothing_of_an_agent_that_is_gone_sticks_to_another(hive):
    """Agents come and go; each choice is that of a broker which sees the fleet for the first time."""
    choice = random.Random(1)
    for number in range(60):
        for name in choice.sample(range(200), 20):
            hive.spawn(f"a{name:03}", *choice.sample(SKILLS, 2))
        for agent in choice.sample(list(hive.broker.fleet), 10):
            hive.delete(agent.agent_id)
        fresh = Driver()
        for agent in choice.sample(list(hive.broker.fleet), len(hive.broker.fleet)):
            fresh.spawn(agent.agent_id, *agent.capabilities)
        for driver in (hive, fresh):
            driver.broker.state.history.clear()
            driver.broker.state.changed_agents.update(agent.agent_id for agent in driver.broker.fleet)
            driver.submit(f"t{number}", required_capabilities=["a"])
        assert hive.assigned()[-1] == fresh.assigned()[-1]
        hive.cancel(f"t{number}")
