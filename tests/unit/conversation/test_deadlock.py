"""The search for deadlocks against a plain graph search, and in graphs that have none."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hivewire_conversation.deadlock import Waiter, cycle

AGENTS = [f"a{n}" for n in range(20)]


def one_slot(edges: dict[str, str]) -> dict[str, Waiter]:
    return {agent: Waiter(can_answer=False, attempts=[frozenset([other])]) for agent, other in edges.items()}


def follow(start: str, edges: dict[str, str]) -> list[str] | None:
    """Whether the only way from `start` leads back to it."""
    way, agent = [start], edges.get(start)
    while agent is not None and agent not in way:
        way.append(agent)
        agent = edges.get(agent)
    return [*way, start] if agent == start else None


@given(st.integers(2, 20), st.randoms(use_true_random=False), st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_cycles_of_any_length_are_found_among_others_that_wait(length, rng, data):
    agents = rng.sample(AGENTS, len(AGENTS))
    ring, others = agents[:length], agents[length:]
    edges = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    edges.update({other: data.draw(st.sampled_from(agents)) for other in others if rng.random() < 0.5})
    edges = {agent: other for agent, other in edges.items() if agent != other}
    for asker in ring:
        assert cycle(asker, edges[asker], one_slot(edges)) == follow(asker, edges)
    assert len(follow(ring[0], edges)) == length + 1


@given(st.dictionaries(st.sampled_from(AGENTS), st.sampled_from(AGENTS), min_size=1))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_with_one_slot_each_it_is_a_plain_graph_search(edges):
    edges = {agent: other for agent, other in edges.items() if agent != other}
    for asker, asked in edges.items():
        assert cycle(asker, asked, one_slot(edges)) == follow(asker, edges)


def test_no_false_alarm_in_ten_thousand_acyclic_cases():
    rng = random.Random(5)
    for _ in range(10_000):
        order = rng.sample(AGENTS, rng.randint(2, len(AGENTS)))
        waiters = {}
        for place, agent in enumerate(order[:-1]):
            later = order[place + 1 :]
            attempts = [
                frozenset(rng.sample(later, rng.randint(1, min(3, len(later))))) for _ in range(rng.randint(1, 3))
            ]
            waiters[agent] = Waiter(can_answer=rng.random() < 0.2, attempts=attempts)
        asker = rng.choice(order[:-1])
        asked = rng.choice(sorted(frozenset().union(*waiters[asker].attempts)))
        assert cycle(asker, asked, waiters) is None


def test_an_agent_of_several_slots_is_stuck_only_when_each_of_them_is():
    ring = {"a": Waiter(False, [frozenset("b")]), "b": Waiter(False, [frozenset("a"), frozenset("c")])}
    assert cycle("a", "b", ring) is None
    ring["c"] = Waiter(False, [frozenset("a")])
    assert cycle("a", "b", ring) == ["a", "b", "a"]


def test_one_of_two_answers_is_not_enough():
    waiters = {"a": Waiter(False, [frozenset("bc")]), "b": Waiter(False, [frozenset("a")])}
    assert cycle("a", "b", waiters) == ["a", "b", "a"]
