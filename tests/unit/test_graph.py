import msgspec
import pytest

from hivewire.graph import Graph, GraphSpec, problem

SPEC = msgspec.convert(
    {
        "nodes": [{"id": "boss", "role": "orchestrator"}, {"id": "ann"}, {"id": "bob"}, {"id": "eve"}],
        "edges": [
            {"from": "ann", "to": "bob", "label": "asks"},
            {"from": "bob", "to": "eve", "bidirectional": True},
            {"from": "*", "to": "boss"},
        ],
    },
    GraphSpec,
)


@pytest.mark.parametrize(
    ("sender", "receiver", "allowed"),
    [
        ("ann", "bob", True),
        ("bob", "ann", False),
        ("eve", "bob", True),
        ("bob", "eve", True),
        ("boss", "ann", True),
        ("boss", "stranger", True),
        ("stranger", "boss", True),
        ("ann", "ann", True),
        ("ann", "eve", False),
    ],
)
def test_who_may_speak_to_whom(sender, receiver, allowed):
    reason = Graph.of(SPEC).blocks(sender, receiver)
    assert reason is None if allowed else reason == f"the graph has no edge from {sender} to {receiver}"


def test_everybody_to_everybody():
    spec = msgspec.convert({"edges": [{"from": "*", "to": "*"}]}, GraphSpec)
    assert problem(spec) is None
    assert Graph.of(spec).blocks("x", "y") is None


def test_without_edges_everything_is_allowed():
    spec = msgspec.convert({"nodes": [{"id": "a"}, {"id": "b"}]}, GraphSpec)
    assert Graph.of(spec).blocks("a", "b") is Graph.of(spec).blocks("a", "*") is None


def test_only_an_orchestrator_speaks_to_everybody():
    graph = Graph.of(SPEC)
    assert graph.blocks("boss", "*") is None
    assert graph.blocks("ann", "*") == "only an orchestrator may speak to everybody, and ann is none"


def test_whom_edges_lead_to():
    graph = Graph.of(SPEC)
    assert [graph.reached_from(name) for name in ("ann", "eve")] == [{"bob", "boss"}, {"bob", "boss"}]


def test_problems():
    assert problem(SPEC) is None
    twice = msgspec.convert({"nodes": [{"id": "a"}, {"id": "a"}]}, GraphSpec)
    assert problem(twice) == "node 'a' is there twice"
    loose = msgspec.convert({"nodes": [{"id": "a"}], "edges": [{"from": "a", "to": "b"}]}, GraphSpec)
    assert "'b', which is no node" in problem(loose)


def test_a_graph_is_read_back_equal():
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=GraphSpec) == SPEC
