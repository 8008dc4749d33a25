"""Who may talk to whom: the rules of a communication graph, for the live hive and for simulations alike.

A message is allowed along an edge, from an agent that the graph marks as orchestrator, and to oneself. `*` as an end of
an edge stands for everybody. A graph without edges restricts nobody. A question follows the same rules, except that
nobody asks himself.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from hivewire import fields, limits

ANYBODY: Final = "*"
ORCHESTRATOR: Final = "orchestrator"


class Node(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An agent in the graph. The role `orchestrator` may speak to all."""

    id: fields.Token
    role: fields.Name | None = None


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`source` may speak to `target`; `bidirectional`: and the other way round."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    label: fields.Name | None = None
    bidirectional: bool = False


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A graph as it is written down."""

    nodes: Annotated[list[Node], msgspec.Meta(max_length=limits.GRAPH_NODES_MAX)] = []
    edges: Annotated[list[Edge], msgspec.Meta(max_length=limits.GRAPH_EDGES_MAX)] = []


class Graph:
    """The rules that a graph states."""

    def __init__(self, nodes: Iterable[Node], edges: Iterable[Edge]) -> None:
        self._orchestrators = {node.id for node in nodes if node.role == ORCHESTRATOR}
        self._ways: dict[str, set[str]] = {}
        for edge in edges:
            self._ways.setdefault(edge.source, set()).add(edge.target)
            if edge.bidirectional:
                self._ways.setdefault(edge.target, set()).add(edge.source)

    @classmethod
    def of(cls, spec: GraphSpec) -> "Graph":
        """The rules of a graph as it is written down."""
        return cls(spec.nodes, spec.edges)

    def blocks(self, sender: str, receiver: str) -> str | None:
        """Why `sender` may not speak to `receiver`, or to everybody (`*`); None: it may."""
        if not self._ways or sender == receiver or sender in self._orchestrators:
            return None
        for reached in (self._ways.get(sender, ()), self._ways.get(ANYBODY, ())):
            if receiver in reached or ANYBODY in reached:
                return None
        if receiver == ANYBODY:
            return f"only an orchestrator may speak to everybody, and {sender} is none"
        return f"the graph has no edge from {sender} to {receiver}"

    def reached_from(self, sender: str) -> set[str]:
        """The ends of the edges that lead from an agent; `*` is everybody."""
        return self._ways.get(sender, set()) | self._ways.get(ANYBODY, set())


def problem(spec: GraphSpec) -> str | None:
    """What is wrong with a graph, in one line: an id twice, or an edge whose end is no node."""
    ids: set[str] = set()
    for node in spec.nodes:
        if node.id in ids:
            return f"node {node.id!r} is there twice"
        ids.add(node.id)
    for edge in spec.edges:
        for end in (edge.source, edge.target):
            if end not in ids and end != ANYBODY:
                return f"the edge from {edge.source!r} to {edge.target!r} ends at {end!r}, which is no node"
    return None
