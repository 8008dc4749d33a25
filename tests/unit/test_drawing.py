from xml.etree import ElementTree as ET

import msgspec
import pytest

from hivewire import drawing
from hivewire.simulation import Topology

TOPOLOGY = {
    "simulation_id": "s",
    "title": "a <fleet>",
    "tick": 7,
    "graph": {
        "nodes": [{"id": "lead", "role": "orchestrator"}, {"id": "dev"}, {"id": "q&a"}],
        "edges": [
            {"from": "lead", "to": "dev", "bidirectional": True, "label": "plans"},
            {"from": "dev", "to": "q&a"},
        ],
    },
    "traffic": [
        {"from": "dev", "to": "lead", "passed": 3, "blocked": 0},
        {"from": "dev", "to": "dev", "passed": 1, "blocked": 0},
        {"from": "q&a", "to": "*", "passed": 0, "blocked": 1},
        {"from": "q&a", "to": "lead", "passed": 0, "blocked": 2},
        {"from": "user", "to": "lead", "passed": 1, "blocked": 0},
    ],
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def topology():
    return msgspec.convert(TOPOLOGY, Topology)


def test_the_terminal_shows_ways_traffic_and_what_was_blocked(topology):
    assert list(drawing.lines(topology)) == [
        "a <fleet>, tick 7",
        "lead [orchestrator]",
        "  └◀─▶ dev (plans)",
        "dev",
        "  ├◀─▶ lead (plans)  3 passed",
        "  ├──▶ q&a",
        "  └··▶ dev           1 passed",
        "q&a",
        "  ├──X *     1 blocked",
        "  └──X lead  2 blocked",
        "user",
        "  └··▶ lead  1 passed",
    ]


def test_the_picture_is_a_document_with_every_agent_and_every_way(topology):
    root = ET.fromstring(drawing.svg(topology))
    kinds = [element.get("class") for element in root.iter(f"{SVG}circle")]
    assert kinds == ["node orchestrator", "node", "node", "node outside"]
    told = {path.findtext(f"{SVG}title"): path.get("class") for path in root.iter(f"{SVG}path") if len(path)}
    assert told == {
        "plans: lead to dev: 0 passed, 0 blocked": "edge",
        "plans: dev to lead: 3 passed, 0 blocked": "edge used",
        "dev to q&a: 0 passed, 0 blocked": "edge",
        "dev to dev: 1 passed, 0 blocked": "edge used",
        "q&a to lead: 0 passed, 2 blocked": "blocked",
        "user to lead: 1 passed, 0 blocked": "edge used",
    }


def test_without_agents_there_is_still_a_picture():
    empty = Topology("s", "empty", 0, msgspec.convert({}, type(msgspec.convert(TOPOLOGY, Topology).graph)), [])
    assert list(drawing.lines(empty)) == ["empty, tick 0: no edges, everybody may speak to everybody"]
    ET.fromstring(drawing.svg(empty))
