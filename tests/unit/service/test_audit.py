"""What is kept of refused messages: each one, until a sender floods, and then their number."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire_service.audit import MESSAGES_AT_ONCE, Audit
from hivewire_service.core import Kept
from hivewire_service.store import Reject

BEGIN = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def refused(sender: str = "eve", kind: Kept = Kept.REPORT, number: int = 0) -> Reject:
    return Reject(f"hive.cmd.broker.complete.{sender}", sender, f"no {number}", b"%d" % number, kind)


COMMITS = st.lists(
    st.tuples(
        st.floats(0.0, 40.0), st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Kept))), max_size=60)
    ),
    max_size=20,
)
"""Seconds since the commit before, and who was refused what in this one."""


@given(COMMITS)
def test_the_entries_add_up_and_are_few(commits: list[tuple[float, list[tuple[str, Kept]]]]) -> None:
    audit, now = Audit(), BEGIN
    wanted: Counter[tuple[str, Kept]] = Counter()
    stored: Counter[tuple[str, Kept]] = Counter()
    alone: Counter[tuple[str, Kept]] = Counter()
    for pause_s, messages in commits:
        now += timedelta(seconds=pause_s)
        wanted.update(messages)
        entries = audit.entries([refused(sender, kind) for sender, kind in messages], now)
        keys = [(entry.sender, entry.kind, entry.minute) for entry in entries if entry.minute]
        assert len(keys) == len(set(keys))  # one statement may not change a row twice
        for entry in entries:
            stored[entry.sender, entry.kind] += entry.count
            alone[entry.sender, entry.kind] += entry.minute is None
    assert stored == wanted
    seconds = (now - BEGIN).total_seconds()
    for (_, kind), count in alone.items():
        at_once = {Kept.MESSAGE: MESSAGES_AT_ONCE, Kept.REPORT: 10, Kept.QUOTA: 0}[kind]
        assert count <= at_once + (10 * seconds + 1 if at_once else 0)


def test_a_flood_is_one_entry_with_the_first_as_an_example() -> None:
    entries = Audit().entries([refused(number=number) for number in range(500)], BEGIN)
    *alone, flood = entries
    assert [(entry.body, entry.count, entry.minute) for entry in alone] == [(b"%d" % n, 1, None) for n in range(10)]
    assert (flood.body, flood.reason, flood.count) == (b"10", "no 10", 490)
    assert flood.minute == BEGIN.replace(second=0)


def test_who_does_not_flood_is_kept_whole_beside_one_who_does() -> None:
    audit = Audit()
    audit.entries([refused("eve", number=number) for number in range(500)], BEGIN)
    entries = audit.entries([refused("eve", number=1), refused("ann", number=2)], BEGIN)
    assert {(entry.sender, entry.minute is None) for entry in entries} == {("eve", False), ("ann", True)}


@pytest.mark.parametrize(("kind", "alone"), [(Kept.MESSAGE, 500), (Kept.REPORT, 10), (Kept.QUOTA, 0)])
def test_what_could_not_be_understood_is_kept_the_longest(kind: Kept, alone: int) -> None:
    entries = Audit().entries([refused(kind=kind) for _ in range(500)], BEGIN)
    assert sum(entry.minute is None for entry in entries) == alone
    assert sum(entry.count for entry in entries) == 500
