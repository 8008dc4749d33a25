"""Bytes to typed messages and back. Decoding is total: it returns `Malformed` and never raises.

msgspec alone is not enough of a border: deep nesting raises RecursionError, broken UTF-8 raises UnicodeDecodeError
or passes unread inside opaque data, and NUL in a text is legal JSON that Postgres cannot store.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from hivewire.envelope import SPEC_VERSION, Envelope

T = TypeVar("T")

_NUL_ESCAPE = b"\\u0000"
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
    problem = _unfit_texts(envelope, body)
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
    problem = _unfit_texts(decoded, text)
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
        return Malformed(f"{what}: {error}")
    except RecursionError:
        return Malformed(f"{what}: nested too deeply")
    except ValueError as error:
        return Malformed(f"{what}: {error}")


def _unfit_bytes(body: bytes) -> str | None:
    if body.isascii():
        return None
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return None


def _unfit_texts(value: object, body: bytes) -> str | None:
    """Why Postgres could not store a text of `value`. Opaque parts are kept as JSON, where an escaped NUL is fine."""
    if _NUL_ESCAPE not in body:
        return None
    return "a text contains the NUL character" if _has_nul(value) else None


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, msgspec.Struct):
        return any(_has_nul(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, Mapping):
        return any(_has_nul(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_has_nul(item) for item in value)
    return False
