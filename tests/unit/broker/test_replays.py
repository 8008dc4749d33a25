"""Replays of dead letters: how far they are, and when they end."""

from hivewire_broker.replays import ReplayMoved
from hivewire_service.core import Refusal


def test_a_replay_counts_lot_by_lot_until_nothing_is_left(hive):
    assert hive.ask("replay", id="r", owner="boss", rate=10.0).status == "running"
    hive.see(ReplayMoved("r", place=7, replayed=2, refused=0))
    hive.see(ReplayMoved("r", place=9, replayed=1, refused=1, done=True))
    replay = hive.broker.state.replays["r"]
    assert (replay.status, replay.replayed, replay.refused, replay.place) == ("completed", 3, 1, 9)
    assert hive.types("r") == ["started", "progressed", "progressed", "completed"]


def test_without_any_dead_letter_it_completes_at_once(hive):
    hive.ask("replay", id="r")
    hive.see(ReplayMoved("r", place=0, replayed=0, refused=0, done=True))
    assert hive.types("r") == ["started", "completed"]


def test_a_stopped_one_opens_no_more_and_stays_stopped(hive):
    hive.ask("replay", id="r")
    assert hive.ask("stop_replay", "r").status == "stopped"
    assert hive.ask("stop_replay", "r").status == "stopped"
    hive.see(ReplayMoved("r", place=7, replayed=2, refused=0, done=True))
    assert hive.types("r") == ["started", "stopped"]


def test_what_is_over_or_not_there_cannot_be_stopped(hive):
    hive.ask("replay", id="r")
    hive.see(ReplayMoved("r", place=0, replayed=0, refused=0, done=True))
    assert (hive.ask("stop_replay", "r").status, hive.ask("stop_replay", "x").status) == (409, 404)
    assert isinstance(hive.ask("replay", id="r"), Refusal)
