"""The targets of `make fuzz` hold for their seeds, and for what fuzzing once found."""

import pytest

from fuzz.targets import SEEDS, TARGETS

DEEP = b"[" * 900 + b'"\\u0000"' + b"]" * 900
FOUND = {
    "bridge_frames": [b'{"type":"register","agent_id":"a","metadata":{"x":' + DEEP + b"}}"],
    "moments": [b"99999999999d", b"0001-01-01T00:00:00+14:00", b"9" * 400 + b"s"],
    "progress": ["::progress \u0664\u0664".encode(), b"::progress " + b"9" * 4000],
    "weights": [b"[" * 100_000, b'{"a":' + b"[" * 100_000],
}


@pytest.mark.parametrize(
    ("target", "body"),
    [(name, body) for bodies in (SEEDS, FOUND) for name, found in bodies.items() for body in found],
)
def test_a_target_holds(target: str, body: bytes) -> None:
    TARGETS[target](body)
