"""Ids that were just made need no look into the tables; all others do."""

from datetime import UTC, datetime, timedelta

import pytest

from hivewire.ids import made_at_ms, new_id
from hivewire_broker.newness import DISTRUST, FRESH_S, Newness

LOADED = datetime(2026, 1, 1, tzinfo=UTC)
NOW = LOADED + timedelta(minutes=5)


def made(at: datetime) -> str:
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7abc-8def-0123456789ab"


@pytest.fixture
def newness() -> Newness:
    newness = Newness()
    newness.loaded(LOADED)
    return newness


def test_an_id_tells_when_it_was_made():
    before, after = (datetime.now(UTC).timestamp() * 1000, made_at_ms(new_id()))
    assert after is not None
    assert before - 1 <= after < before + 60_000


@pytest.mark.parametrize(
    "other", ["", "task-1", "019b76da-0000-4abc-8def-0123456789ab", "z" * 36, "0190-0000-0000-7abc-8def-0123456789ab"]
)
def test_other_ids_tell_nothing(newness, other):
    assert made_at_ms(other) is None
    assert not newness.is_new(other, NOW)


def test_an_id_made_just_now_is_new(newness):
    assert newness.is_new(made(NOW - timedelta(seconds=1)), NOW)


@pytest.mark.parametrize(
    "at",
    [NOW - timedelta(seconds=FRESH_S + 1), NOW + timedelta(seconds=2), LOADED, LOADED - timedelta(days=1)],
    ids=["made a while ago", "made later than now", "made when the state was loaded", "made before"],
)
def test_an_id_of_another_time_is_looked_for(newness, at):
    assert not newness.is_new(made(at), NOW)


def test_before_the_state_is_loaded_nothing_is_new():
    assert not Newness().is_new(made(NOW), NOW)


def test_after_a_second_load_nothing_is_taken_for_new_for_a_while(newness):
    newness.loaded(NOW)
    soon, later = NOW + timedelta(minutes=1), NOW + DISTRUST + timedelta(minutes=1)
    assert not newness.is_new(made(soon), soon)
    assert newness.is_new(made(later), later)
