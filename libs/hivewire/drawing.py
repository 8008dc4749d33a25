"""Draws a simulation's topology with its traffic: as SVG, and as lines for a terminal."""

import math
from collections.abc import Iterator
from html import escape
from typing import Final, NamedTuple

from hivewire.graph import ANYBODY, ORCHESTRATOR
from hivewire.simulation import SYSTEM, USER, Topology, Traffic

Place = tuple[float, float]

RADIUS_MIN: Final = 140.0
SPACING: Final = 100.0
"""Between neighbours on the circle, as long as they are few."""
SPACING_MIN: Final = 44.0
CROWD: Final = 16
"""More agents than these stand closer, with their names along the spokes."""
NODE_SHARE: Final = 0.2
"""A node's radius, of the space between neighbours."""
CHAR_WIDTH: Final = 6.6
GAP: Final = 8.0
"""Between a node and its name, and the length of an arrow's head."""
TOP: Final = 50.0
WIDTH_MAX: Final = 4.0
ASIDE: Final = 26.0
INWARDS: Final = 0.25
COUNTED_MAX: Final = 40
"""Ways beyond these show only what was blocked; the others say their numbers to whoever points at them."""
STYLE: Final = """\
text { font: 12px sans-serif; text-anchor: middle; dominant-baseline: middle; fill: #222 }
.title { font-size: 15px }
.hint { font-size: 11px; fill: #5f6368 }
.count, .halo { font-size: 11px }
.halo { stroke: #fff; stroke-width: 4; stroke-linejoin: round }
.node { fill: #e8f0fe; stroke: #3367d6; stroke-width: 1.5 }
.orchestrator { fill: #fef3d6; stroke: #b06000 }
.outside { fill: #f1f3f4; stroke: #80868b; stroke-dasharray: 3 2 }
.edge { stroke: #b8bdc3; fill: none }
.used { stroke: #188038 }
.blocked { stroke: #d93025; stroke-dasharray: 5 4; fill: none }
.head { fill: #b8bdc3 }
.head.used { fill: #188038; stroke: none }
.head.blocked { fill: #d93025; stroke: none }
"""
LEGEND: Final = "green: messages passed, the thicker the more; red: blocked; grey: never used"


# --- SVG --------------------------------------------------------------------------------------------
def svg(topology: Topology) -> str:
    """A picture: agents on a circle, lines as thick as their traffic, blocked attempts dashed in red."""
    circle = _Circle(_names(topology))
    roles = {node.id: node.role for node in topology.graph.nodes}
    title = f"{topology.title}, tick {topology.tick}"
    width = max(circle.size, CHAR_WIDTH * len(LEGEND))
    height = circle.size + TOP
    box = f"{(circle.size - width) / 2:.0f} {-TOP:.0f} {width:.0f} {height:.0f}"
    ways = list(_ways(topology))
    counted = sum(1 for way, _ in ways if way.passed) <= COUNTED_MAX
    most = max((way.passed for way in topology.traffic), default=1) or 1
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{width:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
        f'<text class="title" x="{circle.size / 2:.0f}" y="{20 - TOP:.0f}">{escape(title)}</text>',
        f'<text class="hint" x="{circle.size / 2:.0f}" y="{40 - TOP:.0f}">{LEGEND}</text>',
        *(line for way, label in ways for line in _svg_way(circle, way, most, label)),
        *(line for name in circle.names for line in _svg_node(circle, name, roles.get(name))),
        *(line for way, _ in ways for line in _svg_count(circle, way, counted=counted)),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


class Curve(NamedTuple):
    """A Bezier curve; its arrow's tip is where it ends."""

    start: Place
    first_turn: Place
    last_turn: Place
    end: Place

    @property
    def line(self) -> str:
        """The path up to the arrow's head."""
        before = _towards(self.end, self.last_turn, GAP - 1)
        places = (self.start, self.first_turn, self.last_turn, before)
        return "M{} C{} {} {}".format(*(f"{x:.1f},{y:.1f}" for x, y in places))

    @property
    def head(self) -> str:
        """The arrow's head."""
        (x, y), (back_x, back_y) = self.end, _towards(self.end, self.last_turn, GAP)
        dx, dy = (x - back_x) / 2, (y - back_y) / 2
        return f"M{x:.1f},{y:.1f} L{back_x - dy:.1f},{back_y + dx:.1f} L{back_x + dy:.1f},{back_y - dx:.1f}z"

    @property
    def near_start(self) -> Place:
        """Where its number stands: nearer to the sender, where ways do not cross so much."""
        shares = (0.343, 0.441, 0.189, 0.027)
        return sum(s * x for s, (x, _) in zip(shares, self, strict=True)), sum(
            s * y for s, (_, y) in zip(shares, self, strict=True)
        )


class _Circle:
    """Where everybody stands."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.crowded = len(names) > CROWD
        spacing = SPACING_MIN if self.crowded else SPACING
        self.node = NODE_SHARE * spacing
        self._radius = max(RADIUS_MIN, spacing * len(names) / math.tau)
        self._angles = {name: math.tau * index / len(names) for index, name in enumerate(names)}
        margin = self.node + 3 * GAP + CHAR_WIDTH * max(map(len, names), default=0)
        self.size = 2 * (self._radius + margin)

    def place(self, name: str, outwards: float = 0.0) -> Place:
        """Where an agent is, or what stands so much further out."""
        radius, angle = self._radius + outwards, self._angles[name]
        return self.size / 2 + radius * math.sin(angle), self.size / 2 - radius * math.cos(angle)

    def way(self, sender: str, target: str) -> Curve:
        """A way from one to another, or back to itself."""
        one = self.place(sender)
        if sender == target:
            away = 3.4 * self.node
            angle = math.atan2(one[0] - self.size / 2, self.size / 2 - one[1])
            turns = [(one[0] + away * math.cos(angle + by), one[1] + away * math.sin(angle + by)) for by in (-0.8, 0.2)]
            return Curve(_towards(one, turns[0], self.node), turns[0], turns[1], _towards(one, turns[1], self.node))
        turn = self._turn(one, self.place(target))
        start, end = _towards(one, turn, self.node), _towards(self.place(target), turn, self.node)
        return Curve(start, _part(start, turn, 2 / 3), _part(end, turn, 2 / 3), end)

    def _turn(self, one: Place, other: Place) -> Place:
        """Where a way bends: to its left, so that two directions do not lie on one another, and among many agents
        towards the centre, past those that stand between."""
        inwards = INWARDS if self.crowded else 0.0
        aside = min(ASIDE, math.dist(one, other) / 5) / math.dist(one, other)
        x = (one[0] + other[0]) / 2 * (1 - inwards) + self.size / 2 * inwards
        y = (one[1] + other[1]) / 2 * (1 - inwards) + self.size / 2 * inwards
        return x + (other[1] - one[1]) * aside, y + (one[0] - other[0]) * aside


def _towards(start: Place, end: Place, distance: float) -> Place:
    return _part(start, end, distance / math.dist(start, end))


def _part(start: Place, end: Place, share: float) -> Place:
    """What lies on the way from one place to another, after that share of it."""
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _names(topology: Topology) -> list[str]:
    """Agents in their order, and whoever else spoke."""
    agents = [node.id for node in topology.graph.nodes]
    spoke = {end for way in topology.traffic for end in (way.sender, way.target)} - {ANYBODY}
    return [*agents, *sorted(spoke - set(agents))]


def _ways(topology: Topology) -> Iterator[tuple[Traffic, str | None]]:
    """Every way with its traffic and its edge's label: those of the graph first, then those that were tried besides."""
    traffic = {(way.sender, way.target): way for way in topology.traffic}
    drawn = set()
    for edge in topology.graph.edges:
        for ends in ((edge.source, edge.target), (edge.target, edge.source)):
            if (edge.bidirectional or ends == (edge.source, edge.target)) and ends not in drawn:
                drawn.add(ends)
                yield traffic.get(ends, Traffic(*ends, 0, 0)), edge.label
    for ends, way in traffic.items():
        if ends not in drawn and way.target != ANYBODY:
            yield way, None


def _svg_way(circle: _Circle, way: Traffic, most: int, label: str | None) -> Iterator[str]:
    curve = circle.way(way.sender, way.target)
    told = f"{way.sender} to {way.target}: {way.passed} passed, {way.blocked} blocked"
    hint = f"<title>{escape(f'{label}: {told}' if label else told)}</title>"
    if way.passed or not way.blocked:
        width = 1 + (WIDTH_MAX - 1) * way.passed / most
        used = " used" if way.passed else ""
        yield f'<path class="edge{used}" d="{curve.line}" stroke-width="{width:.1f}">{hint}</path>'
        yield f'<path class="head{used}" d="{curve.head}"/>'
    if way.blocked:
        yield f'<path class="blocked" d="{curve.line}" stroke-width="1.5">{hint}</path>'
        yield f'<path class="head blocked" d="{curve.head}"/>'


def _svg_count(circle: _Circle, way: Traffic, *, counted: bool) -> Iterator[str]:
    """How many passed and how many were blocked, on white."""
    passed = [f"{way.passed}"] if way.passed and counted else []
    blocked = [f"!{way.blocked}"] if way.blocked else []
    if passed or blocked:
        x, y = circle.way(way.sender, way.target).near_start
        for kind in ("halo", "count"):
            yield f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{" ".join(passed + blocked)}</text>'


def _svg_node(circle: _Circle, name: str, role: str | None) -> Iterator[str]:
    kind = "node outside" if name in {USER, SYSTEM} else f"node {ORCHESTRATOR}" if role == ORCHESTRATOR else "node"
    x, y = circle.place(name)
    yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{circle.node:.0f}"/>'
    x, y = circle.place(name, circle.node + GAP)
    dx, dy = x - circle.size / 2, y - circle.size / 2
    anchor = "middle" if abs(dx) < 1 and not circle.crowded else "start" if dx >= 0 else "end"
    turn = ""
    if circle.crowded:
        angle = math.degrees(math.atan2(dy, dx)) + (180 if dx < 0 else 0)
        turn = f' transform="rotate({angle:.1f} {x:.1f} {y:.1f})"'
    yield f'<text style="text-anchor: {anchor}" x="{x:.1f}" y="{y:.1f}"{turn}>{escape(name)}</text>'


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
        width = max(map(len, targets.values()), default=0)
        for place, (target, drawn) in enumerate(targets.items(), start=1):
            branch = "└" if place == len(targets) else "├"
            yield f"  {branch}{drawn:<{width}}{_counts(traffic.get((name, target)))}".rstrip()


def _counts(way: Traffic | None) -> str:
    if way is None:
        return ""
    passed = f"  {way.passed} passed" if way.passed else ""
    blocked = f"  {way.blocked} blocked" if way.blocked else ""
    return passed + blocked
