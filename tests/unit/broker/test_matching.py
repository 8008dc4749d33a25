"""Gates, factors, ties and the record of a choice."""

import random
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivewire.errors import BadUsage
from hivewire_broker import scoring
from hivewire_broker.evolve import kinship
from hivewire_broker.matching import TIE, Decision
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


def test_specialisation_spares_the_only_holder_of_a_skill():
    assert [scoring.specialisation(holders) for holders in ((), (1,), (4, 2))] == [1.0, 0.0, 0.5]


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


def test_the_only_holder_of_a_rare_skill_is_spared(hive):
    hive.spawn("ann", "python", "cobol")
    hive.spawn("bob", "python")
    hive.submit("t1", required_capabilities=["python"])
    assert hive.assigned() == [("t1", "bob")]


# the matrix against the formula ---------------------------------------------------------------------
SKILLS = ["a", "b", "c", "d"]
fractions = st.none() | st.floats(0, 1)


def plain_score(hive: Driver, agent, task, weights: dict[str, float]) -> float:
    """The score of one candidate, factor by factor."""
    state = hive.broker.state
    history = state.history.get(agent.agent_id, History())
    trusted = scoring.trust(history.completed, history.ended)
    broad = scoring.breadth(len(agent.capabilities))
    kin = [state.kin.get(kin) for kin in task.kinship]
    kin += [state.tasks[needed].attempt.agent_id for needed in task.depends_on]
    spare = agent.capabilities - task.requirements.capabilities
    values = {
        "availability": scoring.availability(len(state.held.get(agent.agent_id, ())), agent.slots),
        "policy": scoring.policy(agent.policy),
        "trust": scoring.trust_for_risk(trusted, 0.5 if task.risk is None else task.risk),
        "cost": scoring.cost(history.costed, history.cost),
        "duration": scoring.duration(history.completed, history.run_us),
        "breadth": scoring.breadth_for_complexity(broad, 0.5 if task.complexity is None else task.complexity),
        "affinity": scoring.affinity(kin.count(agent.agent_id), len(kin)),
        "specialisation": scoring.specialisation(
            [sum(skill in other.capabilities for other in hive.broker.fleet) for skill in spare]
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
            owner=choice.choice([None, None, "boss", "kim"]),
            policy=choice.choice(["always-on", "on-demand"]),
        )
    return hive


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), risk=fractions, complexity=fractions)
def test_the_matrix_says_what_the_formula_says(seed, risk, complexity):
    choice = random.Random(seed)
    shares = [choice.random() for _ in FACTORS]
    weights = {name: share / sum(shares) for name, share in zip(FACTORS, shares, strict=True)}
    hive = random_fleet(choice, weights)
    done: list[str] = []
    for number in range(20):
        wanted = choice.sample(SKILLS, choice.randrange(3))
        needs = choice.sample(done, min(len(done), choice.randrange(3)))
        labels = {"team": choice.choice("xy")} if choice.random() < 0.5 else {}
        expected = expected_choice(hive, weights, wanted, needs, labels, risk, complexity)
        task_id = f"t{number}"
        hive.submit(
            task_id,
            required_capabilities=wanted,
            depends_on=needs,
            labels=labels,
            risk=risk,
            complexity=complexity,
            requires_approval=False,
        )
        decisions = hive.take(Decision)
        if not expected:
            assert not decisions
            hive.cancel(task_id)
            continue
        best = max(expected.values())
        winner = hive.assigned()[-1][1]
        assert expected[winner] >= best - 2 * TIE
        assert hive.last("task.assigned").score == pytest.approx(expected[winner])
        for agent, score, values in zip(
            decisions[0].candidates, decisions[0].scores, decisions[0].factors, strict=True
        ):
            assert score == pytest.approx(expected[agent], abs=1e-4)
            assert score == pytest.approx(sum(w * v for w, v in zip(weights.values(), values, strict=True)), abs=1e-3)
        hive.now += hive.now.resolution * choice.randrange(10**6)
        if choice.random() < 0.5:
            hive.complete(task_id)
            done.append(task_id)


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
