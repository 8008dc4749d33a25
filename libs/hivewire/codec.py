"""Bytes to typed messages and back. Decoding is total: it returns `Malformed` and never raises.

msgspec alone is not enough of a border: deep nesting raises RecursionError, broken UTF-8 raises UnicodeDecodeError
or passes unread inside opaque data, and NUL in a text is legal JSON that Postgres cannot store.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from hivewire import limits
from hivewire.envelope import SPEC_VERSION, Envelope
from hivewire.fields import ID_PATTERN
from hivewire.subjects import is_token

T = TypeVar("T")

REASON_CHARS_MAX: Final = 300
_encoder = msgspec.json.Encoder()
_envelopes = msgspec.json.Decoder(Envelope)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

EMPTY = msgspec.Raw(b"{}")


class Malformed(msgspec.Struct, frozen=True):
    """What could not be decoded, and why, in one line."""

    reason: str
    envelope: Envelope | None = None


def encode(value: object) -> bytes:
    """The JSON of a struct, an envelope or plain data."""
    return _encoder.encode(value)


def raw(value: object) -> msgspec.Raw:
    """`value` encoded once, to be embedded in an envelope and stored as it is."""
    return value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encoder.encode(value))


def text(value: msgspec.Raw) -> str:
    """Opaque JSON as the text that is stored."""
    return bytes(value).decode()


def decode_envelope(body: bytes) -> Envelope | Malformed:
    """The envelope of a message, its `data` still undecoded."""
    problem = _unfit_bytes(body)
    if problem:
        return Malformed(problem)
    envelope = _decode(_envelopes, body, "envelope")
    if isinstance(envelope, Malformed):
        return envelope
    if envelope.specversion != SPEC_VERSION:
        return Malformed(f"envelope: specversion {envelope.specversion[:20]!r} is not {SPEC_VERSION}", envelope)
    problem = _unfit_values(envelope, body)
    return Malformed(f"envelope: {problem}") if problem else envelope


def decode_data(envelope: Envelope, types: Mapping[str, type[T]]) -> T | Malformed:
    """The typed data of an envelope, chosen from `types` by the envelope's type."""
    wanted = types.get(envelope.type)
    if wanted is None:
        return Malformed(f"unknown type {envelope.type[:80]!r}", envelope)
    decoded = decode_as(envelope.data, wanted, envelope.type)
    return Malformed(decoded.reason, envelope) if isinstance(decoded, Malformed) else decoded


def decode_as(body: msgspec.Raw | bytes, wanted: type[T], what: str) -> T | Malformed:
    """One JSON value as `wanted`; `what` names it in the reason."""
    text = bytes(body)
    problem = _unfit_bytes(text)
    if problem:
        return Malformed(f"{what}: {problem}")
    decoded = _decode(_decoder(wanted), text, what)
    if isinstance(decoded, Malformed):
        return decoded
    problem = _unfit_values(decoded, text)
    return Malformed(f"{what}: {problem}") if problem else decoded


def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(wanted)
    if decoder is None:
        decoder = _decoders[wanted] = msgspec.json.Decoder(wanted)
    return decoder


def _decode(decode: msgspec.json.Decoder[T], body: bytes, what: str) -> T | Malformed:
    try:
        return decode.decode(body)
    except msgspec.DecodeError as error:
        return Malformed(f"{what}: {_in_one_line(str(error))}")
    except RecursionError:
        return Malformed(f"{what}: nested too deeply")
    except ValueError as error:
        return Malformed(f"{what}: {_in_one_line(str(error))}")


def _in_one_line(reason: str) -> str:
    """A reason as people can read it: msgspec quotes names of fields and tags as they came, however long."""
    if len(reason) > REASON_CHARS_MAX:
        reason = f"{reason[: REASON_CHARS_MAX // 2]}...{reason[-REASON_CHARS_MAX // 2 :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in reason)


def _unfit_bytes(body: bytes) -> str | None:
    if body.isascii():
        return None
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return None


def _unfit_values(value: object, body: bytes) -> str | None:
    """Why a part of `value` could not be kept: what msgspec's types do not say. Opaque parts stay JSON, where an escaped NUL
    is fine. A list of what is left to look at, since a stack would end before the nesting does."""
    if body.isascii() and not _is_suspect(body):
        return None
    left: list[Any] = [value]
    while left:
        item = left.pop()
        problem = _unfit_value(item)
        if problem:
            return problem
        left.extend(_parts(item))
    return None


def _is_suspect(body: bytes) -> bool:
    """Without one of these, pure ASCII holds nothing that only a look at each value would find."""
    return b"\\u" in body or b"0001-" in body or b"9999-" in body


def _unfit_value(item: object) -> str | None:
    match item:
        case str() if "\0" in item:
            return "a text contains the NUL character"
        case datetime() if not limits.YEAR_MIN <= item.year <= limits.YEAR_MAX:
            return f"the year of a moment is not within {limits.YEAR_MIN} and {limits.YEAR_MAX}"
        case msgspec.Struct():
            return _unfit_token(item)
    return None


def _unfit_token(struct: msgspec.Struct) -> str | None:
    for name in _token_fields(type(struct)):
        given = getattr(struct, name)
        for text in given if isinstance(given, list) else (given,):
            if isinstance(text, str) and not is_token(text):
                return f"{name} {text[:40]!r} has unprintable characters or more than {limits.TOKEN_BYTES_MAX} bytes"
    return None


def _parts(item: Any) -> Iterable[Any]:
    if isinstance(item, msgspec.Struct):
        return (getattr(item, name) for name in item.__struct_fields__)
    if isinstance(item, Mapping):
        return (part for pair in item.items() for part in pair)
    return item if isinstance(item, (list, tuple, set, frozenset)) else ()


@cache
def _token_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields that hold an id, or a list of ids."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return tuple(field.name for field in described.fields if _is_of_tokens(field.type))


def _is_of_tokens(kind: msgspec.inspect.Type) -> bool:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _is_of_tokens(inner)
        case msgspec.inspect.UnionType(types=kinds):
            return any(map(_is_of_tokens, kinds))
        case msgspec.inspect.ListType(item_type=inner):
            return _is_of_tokens(inner)
        case msgspec.inspect.StrType(pattern=pattern):
            return pattern == ID_PATTERN
    return False
