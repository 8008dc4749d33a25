"""What a service refuses is refused before it is sent, with the same words, and all else is sent."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.made import made_for
from hivewire import batch, codec, correlation, limits
from hivewire.commands import CATALOGUE, TYPES, command_type
from hivewire.commands.broker import Cancel, Submit
from hivewire.connection import Connection
from hivewire.envelope import Envelope
from hivewire.errors import RefusedError
from hivewire.subjects import Subjects
from hivewire_service.intake import Intake
from hivewire_service.stream_reader import Received

COMMANDS = [(service, verb) for service, verbs in CATALOGUE.items() for verb in verbs]
SENDER: Any = SimpleNamespace(_source="/hive/bob")
LONG = "x" * (limits.LABEL_CHARS_MAX + 1)


def struct_of(kind: type[msgspec.Struct], data: dict[str, Any]) -> msgspec.Struct:
    """A struct as a program builds it: nothing checks what it is given."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in data:
            value = data[field.encode_name]
            fields[field.name] = codec.raw(value) if field.type is msgspec.Raw else value
    return kind(**fields)


def refused_by_sdk(kind: str, data: object, key: str = "c1") -> str | None:
    try:
        Connection._encode(SENDER, kind, data, key)
    except RefusedError as error:
        return error.error if error.status == 400 else f"{error.status}"
    return None


def refused_by_service(service: str, verb: str, data: object, **envelope: Any) -> str | None:
    told = {"id": "c1"} | envelope
    body = codec.encode(Envelope(type=command_type(service, verb), source="/", data=codec.raw(data), **told))
    subject = Subjects("hive").command(service, verb, "bob")
    taken = Intake(Subjects("hive"), service, CATALOGUE[service]).take(Received("then", 1, 1, 0, subject, body, None))
    return taken.refusal.error if taken.refusal else None


@pytest.mark.parametrize(("service", "verb"), COMMANDS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_sdk_and_service_take_the_same(service: str, verb: str, drawn: st.DataObject) -> None:
    kind = CATALOGUE[service][verb]
    data = struct_of(kind, drawn.draw(made_for(kind)))
    assert refused_by_sdk(f"{service}.{verb}", data) == refused_by_service(service, verb, data)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_a_task_of_a_batch_is_refused_for_what_the_broker_would_say(drawn: st.DataObject) -> None:
    task = struct_of(Submit, drawn.draw(made_for(Submit)))
    assert isinstance(task, Submit)
    judged = codec.decode_as(codec.encode(task), Submit, "task")
    if isinstance(judged, Submit):
        assert batch.encoded(task, limits.MESSAGE_BYTES_MAX) == codec.encode(task)
    else:
        with pytest.raises(RefusedError) as refused:
            batch.encoded(task, limits.MESSAGE_BYTES_MAX)
        assert refused.value.error == judged.reason


def test_long_names_of_an_envelope_are_refused_by_both() -> None:
    cancel = Cancel("t")
    assert refused_by_sdk("broker.cancel", cancel, LONG) == refused_by_service("broker", "cancel", cancel, id=LONG)
    with correlation.correlated(LONG, LONG):
        told = refused_by_sdk("broker.cancel", cancel)
    assert told == refused_by_service("broker", "cancel", cancel, correlationid=LONG)
    assert told is not None
    assert "correlationid is longer" in told


def test_all_types_are_checked() -> None:
    assert set(TYPES) == {command_type(service, verb) for service, verb in COMMANDS}
