from datetime import UTC, datetime, timedelta

import pytest

from hivewire.cli import parse
from hivewire.errors import BadUsage


def test_a_payload_is_passed_on_as_it_is_written(tmp_path):
    assert bytes(parse.payload('{"n": 1.10}')) == b'{"n": 1.10}'
    (tmp_path / "p.json").write_text("[1]\n")
    assert bytes(parse.payload(f"@{tmp_path}/p.json")) == b"[1]\n"


@pytest.mark.parametrize("text", ["text", "", "{", "[" * 100_000, "NaN", "@/surely/missing"])
def test_what_is_no_payload_is_bad_usage(text):
    with pytest.raises(BadUsage):
        parse.payload(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("5min", 300), ("1.5h", 5_400), ("7d", 604_800)]
)
def test_spans(text, seconds):
    assert parse.span_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1 week"])
def test_what_is_no_span_is_bad_usage(text):
    with pytest.raises(BadUsage):
        parse.span_s(text)


def test_moments():
    assert parse.moment("2026-05-01T12:00:00Z") == datetime(2026, 5, 1, 12, tzinfo=UTC)
    before = datetime.now(UTC)
    assert before <= parse.moment("1h") + timedelta(hours=1) <= datetime.now(UTC)
    with pytest.raises(BadUsage):
        parse.moment("yesterday")


def test_priorities_and_labels():
    assert [parse.priority(text) for text in ("7", "high")] == [7, "high"]
    assert parse.pairs(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(BadUsage, match="key=value"):
        parse.pairs(["a"])


def test_capabilities_are_given_one_by_one_or_with_commas():
    assert parse.capabilities(["a", "b, c d", ","]) == ["a", "b", "c d"]
    assert parse.capabilities(None) == []


@pytest.mark.parametrize("text", ["bob", "agent:", "user:bob", ""])
def test_who_is_meant_says_what_it_is(text):
    assert parse.target("phase:design") == "phase:design"
    with pytest.raises(BadUsage, match="write agent:"):
        parse.target(text)


@pytest.mark.parametrize("text", ["99999999999d", "0001-01-01", "9999-12-31T23:59:59-14:00", "9" * 400 + "s", ""])
def test_moments_beyond_what_can_be_reckoned_with_are_bad_usage(text):
    with pytest.raises(BadUsage):
        parse.moment(text)


def test_a_number_of_thousands_of_digits_is_no_priority():
    assert parse.priority("9" * 5_000) == "9" * 5_000
