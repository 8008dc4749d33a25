"""What a service answered: an outcome, a refusal, or that it has to be asked again. Pure."""

from typing import TypeVar

from hivewire import codec, limits
from hivewire.envelope import REPLY_OK, REPLY_REFUSED, Envelope, ErrorBody
from hivewire.errors import HivewireError, RefusedError

T = TypeVar("T")

UNAVAILABLE = 503


def outcome(envelope: Envelope, wanted: type[T]) -> T:
    """The body of an answer.

    Raises:
        RefusedError: the service said no.
        HivewireError: the answer is not what was expected.
    """
    if envelope.type == REPLY_OK:
        decoded = codec.decode_as(envelope.data, wanted, "the answer")
        if isinstance(decoded, codec.Malformed):
            raise HivewireError(f"{decoded.reason}: are client and services of the same version?")
        return decoded
    refusal = codec.decode_as(envelope.data, ErrorBody, "the refusal")
    if isinstance(refusal, codec.Malformed):
        raise HivewireError(f"{refusal.reason}: are client and services of the same version?")
    raise RefusedError(refusal.error, refusal.status, refusal.detail)


def passing_obstacle(envelope: Envelope) -> ErrorBody | None:
    """Why the service does not answer now although it will: the request is repeated. None: this is the answer."""
    if envelope.type != REPLY_REFUSED:
        return None
    refusal = codec.decode_as(envelope.data, ErrorBody, "the refusal")
    if isinstance(refusal, codec.Malformed):
        return None
    slow_down = refusal.status == limits.TOO_MANY and isinstance(refusal.detail.get(limits.RETRY_AFTER), (int, float))
    return refusal if refusal.status == UNAVAILABLE or slow_down else None
