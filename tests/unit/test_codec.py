"""The codec is total: whatever comes in, out comes a message or a reason."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire import codec
from hivewire.commands import CATALOGUE, command_type
from hivewire.commands.broker import Submit
from hivewire.envelope import Envelope
from hivewire.graph import GraphSpec
from hivewire_agent_gateway.door.frames import Heartbeat, Register

TYPES = {command_type(service, verb): data for service, verbs in CATALOGUE.items() for verb, data in verbs.items()}


def body(data: bytes = b'{"title":"t"}', **fields: str) -> bytes:
    rest = "".join(f',"{name}":"{value}"' for name, value in fields.items())
    return (
        b'{"specversion":"1.0","id":"1","type":"broker.submit","source":"/"' + rest.encode() + b',"data":' + data + b"}"
    )


def decoded(data: bytes) -> object:
    envelope = codec.decode_envelope(body(data))
    return envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, TYPES)


@given(st.binary())
def test_any_bytes_give_a_message_or_a_reason(junk: bytes) -> None:
    assert isinstance(codec.decode_envelope(junk), (Envelope, codec.Malformed))
    assert isinstance(decoded(junk), (Submit, codec.Malformed))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_as_data_gives_a_message_or_a_reason(value: object) -> None:
    assert isinstance(decoded(json.dumps(value).encode()), (Submit, codec.Malformed))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"title":"a\\u0000b"}', "NUL"),
        (b'{"title":"t","labels":{"a\\u0000":"b"}}', "NUL"),
        (b'{"title":"\\ud800"}', ""),
        (b'{"title":"\\udc00x"}', ""),
        (b'{"title":"t","payload":"\\ud800"}', ""),
        (b'{"title":"t","payload":"\xff"}', "UTF-8"),
        (b'{"title":"t","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"title":"t","payload":NaN}', ""),
        (b'{"title":"t","priority":11}', "<= 10"),
        (b'{"title":"t","priority":"5"}', ""),
        (b'{"title":"t","timeout_seconds":1e999}', "out of range"),
        (b'{"title":"t","max_retries":' + b"9" * 4000 + b"}", ""),
        (b'{"title":""}', "length"),
        (b'{"title":"t","id":"a.b"}', "regex"),
        (b'{"title":"t","id":"a*"}', "regex"),
        (b'{"title":"t","id":"a\\n"}', "regex"),
        (b'{"title":"t","id":"' + "\u6f22".encode() * 43 + b'"}', "128 bytes"),
        (b'{"title":"t","id":"\\u6f22' + b"\\u6f22" * 42 + b'"}', "128 bytes"),
        (b'{"title":"t","depends_on":["a","\xef\xbb\xbf"]}', "unprintable"),
        (b'{"title":"t","not_before":"0001-01-01T00:00:00+14:00"}', "year"),
        (b'{"title":"t","deadline":"9999-12-31T23:59:59-14:00"}', "year"),
        (b'{"title":"t","deadline":"2016-12-31T23:59:60Z"}', "RFC3339"),
        (b'{"title":"t","not_before":"2026-01-01T00:00:00"}', "timezone"),
        (b"{}", "title"),
    ],
)
def test_what_no_service_could_keep_is_refused(data: bytes, reason: str) -> None:
    result = decoded(data)
    assert isinstance(result, codec.Malformed)
    assert reason in result.reason
    assert "\n" not in result.reason


@pytest.mark.parametrize(
    "payload",
    [
        b'"a\\u0000b"',
        b"1e131071",
        b"1.10",
        b'{"a":1,"a":2}',
        b'"\\ud83d\\ude00"',
        b"123456789012345678901234567890",
        b" [ 1 ] ",
    ],
)
def test_opaque_data_is_kept_to_the_byte(payload: bytes) -> None:
    task = decoded(b'{"title":"t","payload":' + payload + b"}")
    assert isinstance(task, Submit)
    assert codec.text(task.payload).strip() == payload.decode().strip()


def test_nesting_that_msgspec_takes_is_looked_through_to_its_end() -> None:
    frame = b'{"type":"register","agent_id":"a","metadata":{"x":' + b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b"}}"
    result = codec.decode_as(frame, Register, "message")
    assert isinstance(result, codec.Malformed)
    assert "NUL" in result.reason


@pytest.mark.parametrize("name", ["a\\nb", "a\\u2028b", "\\u001b[2J", "x" * 500_000])
def test_a_reason_is_one_short_line_whatever_it_quotes(name: str) -> None:
    for body, kind in ((f'{{"{name}":1}}', GraphSpec), (f'{{"type":"{name}"}}', Register | Heartbeat)):
        result = codec.decode_as(body.encode(), kind, "message")  # type: ignore[arg-type]
        assert isinstance(result, codec.Malformed)
        assert result.reason.isprintable()
        assert len(result.reason) < 400


def test_unknown_type_and_version() -> None:
    envelope = codec.decode_envelope(body(type="broker.conquer"))
    assert isinstance(envelope, codec.Malformed | Envelope)
    assert isinstance(codec.decode_data(Envelope(id="1", type="broker.conquer", source="/"), TYPES), codec.Malformed)
    other = codec.decode_envelope(b'{"specversion":"0.3","id":"1","type":"a","source":"/"}')
    assert isinstance(other, codec.Malformed)
    assert "0.3" in other.reason


def test_envelope_round_trip() -> None:
    sent = Envelope(
        id="1", type="a.b", source="/x", time=datetime(2026, 1, 1, tzinfo=UTC), seq=4, data=msgspec.Raw(b'{"a":1}')
    )
    got = codec.decode_envelope(codec.encode(sent))
    assert isinstance(got, Envelope)
    assert codec.encode(got) == codec.encode(sent)
    assert json.loads(codec.encode(sent))["specversion"] == "1.0"
