"""Draws a simulation's topology with its traffic: as SVG, and as lines for a terminal."""

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from hivewire.graph import ANYBODY, ORCHESTRATOR
from hivewire.simulation import SYSTEM, USER, Topology, Traffic

Place = tuple[float, float]

NODE_RADIUS: Final = 22.0
SPACING: Final = 110.0
"""Between neighbours on the circle."""
RADIUS_MIN: Final = 140.0
MARGIN: Final = 90.0
WIDTH_MAX: Final = 6.0
STYLE: Final = """\
text { font: 12px sans-serif; text-anchor: middle; fill: #222 }
.count { font-size: 10px; fill: #555 }
.node { fill: #e8f0fe; stroke: #3367d6; stroke-width: 1.5 }
.orchestrator { fill: #fef3d6; stroke: #b06000 }
.outside { fill: #f1f3f4; stroke: #80868b; stroke-dasharray: 3 2 }
.edge { stroke: #9aa0a6; fill: none }
.used { stroke: #188038 }
.blocked { stroke: #d93025; stroke-dasharray: 5 4; fill: none }
"""
ARROW: Final = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="#5f6368"/></marker></defs>'
)


# --- SVG --------------------------------------------------------------------------------------------
def svg(topology: Topology) -> str:
    """A picture: agents on a circle, lines as thick as their traffic, blocked attempts dashed in red."""
    names = _names(topology)
    radius = max(RADIUS_MIN, SPACING * len(names) / math.tau)
    size = 2 * (radius + MARGIN)
    places = {
        name: (
            size / 2 + radius * math.sin(math.tau * index / len(names)),
            size / 2 - radius * math.cos(math.tau * index / len(names)),
        )
        for index, name in enumerate(names)
    }
    roles = {node.id: node.role for node in topology.graph.nodes}
    title = f"{topology.title}, tick {topology.tick}"
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:.0f} {size:.0f}" width="{size:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
        ARROW,
        *_svg_ways(topology, places),
        *(_svg_node(name, roles.get(name, ""), places[name]) for name in names),
        f'<text x="{size / 2:.0f}" y="22">{escape(title)}</text>',
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _names(topology: Topology) -> list[str]:
    """Agents in their order, and whoever else spoke."""
    agents = [node.id for node in topology.graph.nodes]
    spoke = {end for way in topology.traffic for end in (way.sender, way.target)} - {ANYBODY}
    return [*agents, *sorted(spoke - set(agents))]


def _svg_ways(topology: Topology, places: dict[str, Place]) -> Iterator[str]:
    traffic = {(way.sender, way.target): way for way in topology.traffic}
    most = max((way.passed for way in topology.traffic), default=1) or 1
    drawn = set()
    for edge in topology.graph.edges:
        for ends in ((edge.source, edge.target), (edge.target, edge.source)):
            if (edge.bidirectional or ends == (edge.source, edge.target)) and ends not in drawn:
                drawn.add(ends)
                yield from _svg_way(traffic.get(ends, Traffic(*ends, 0, 0)), places, most, edge.label)
    for ends, way in traffic.items():
        if ends not in drawn and way.target != ANYBODY:
            yield from _svg_way(way, places, most, None)


def _svg_way(way: Traffic, places: dict[str, Place], most: int, label: str | None) -> Iterator[str]:
    path, middle = _path(places[way.sender], places[way.target])
    told = f"{way.sender} to {way.target}: {way.passed} passed, {way.blocked} blocked"
    hint = f"<title>{escape(f'{label}: {told}' if label else told)}</title>"
    if way.passed or not way.blocked:
        width = 1 + (WIDTH_MAX - 1) * way.passed / most if way.passed else 1
        kind = "edge used" if way.passed else "edge"
        yield f'<path class="{kind}" d="{path}" stroke-width="{width:.1f}" marker-end="url(#arrow)">{hint}</path>'
    if way.blocked:
        yield f'<path class="blocked" d="{path}" stroke-width="1.5" marker-end="url(#arrow)">{hint}</path>'
    count = " ".join(
        part for part in (f"{way.passed}" if way.passed else "", f"!{way.blocked}" if way.blocked else "") if part
    )
    if count:
        yield f'<text class="count" x="{middle[0]:.1f}" y="{middle[1]:.1f}">{count}</text>'


def _path(start: Place, end: Place) -> tuple[str, Place]:
    """A curve between two nodes, bent to its left so that two directions do not lie on one another."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1)
    if length == 0:
        top = y1 - NODE_RADIUS
        curve = f"M{x1 - 8:.1f} {top + 2:.1f}C{x1 - 40:.1f} {top - 45:.1f} {x1 + 40:.1f} {top - 45:.1f} {x1 + 8:.1f} {top + 2:.1f}"
        return curve, (x1, top - 38)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    bend = min(30.0, length / 6)
    mx, my = (x1 + x2) / 2 + dy * bend, (y1 + y2) / 2 - dx * bend
    x1, y1, x2, y2 = x1 + dx * NODE_RADIUS, y1 + dy * NODE_RADIUS, x2 - dx * NODE_RADIUS, y2 - dy * NODE_RADIUS
    return f"M{x1:.1f} {y1:.1f}Q{mx:.1f} {my:.1f} {x2:.1f} {y2:.1f}", ((x1 + x2 + 2 * mx) / 4, (y1 + y2 + 2 * my) / 4)


def _svg_node(name: str, role: str | None, place: Place) -> str:
    kind = "node outside" if name in {USER, SYSTEM} else f"node {ORCHESTRATOR}" if role == ORCHESTRATOR else "node"
    x, y = place
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{NODE_RADIUS:.0f}"/>'
        f'<text x="{x:.1f}" y="{y + NODE_RADIUS + 14:.1f}">{escape(name)}</text>'
    )


# --- terminal ---------------------------------------------------------------------------------------
def lines(topology: Topology) -> Iterator[str]:
    """Each agent with the ways that lead from it."""
    ways: dict[str, dict[str, str]] = {name: {} for name in _names(topology)}
    for edge in topology.graph.edges:
        label = f" ({edge.label})" if edge.label else ""
        ways[edge.source][edge.target] = f"──▶ {edge.target}{label}"
        if edge.bidirectional:
            ways[edge.target][edge.source] = f"◀─▶ {edge.source}{label}"
            ways[edge.source][edge.target] = f"◀─▶ {edge.target}{label}"
    traffic = {(way.sender, way.target): way for way in topology.traffic}
    for (sender, target), way in traffic.items():
        ways.setdefault(sender, {}).setdefault(target, f"··▶ {target}" if way.passed else f"──X {target}")
    roles = {node.id: node.role for node in topology.graph.nodes}
    yield f"{topology.title}, tick {topology.tick}" + (
        "" if topology.graph.edges else ": no edges, everybody may speak to everybody"
    )
    for name, targets in ways.items():
        if not targets and name not in roles:
            continue
        yield f"{name} [{roles[name]}]" if roles.get(name) else name
        for place, (target, drawn) in enumerate(targets.items(), start=1):
            branch = "└" if place == len(targets) else "├"
            yield f"  {branch}{drawn}{_counts(traffic.get((name, target)))}"


def _counts(way: Traffic | None) -> str:
    if way is None:
        return ""
    passed = f"  {way.passed} passed" if way.passed else ""
    blocked = f"  {way.blocked} blocked" if way.blocked else ""
    return passed + blocked
