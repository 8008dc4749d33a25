"""The envelope that every message wears: CloudEvents 1.0, structured JSON.

Source of the format: https://github.com/cloudevents/spec (v1.0.2); `causationid`, `correlationid`, `traceparent`
and `seq` are extension attributes.
"""

from datetime import datetime
from typing import Any

import msgspec

SPEC_VERSION = "1.0"
REPLY_OK = "reply.ok"
REPLY_REFUSED = "reply.refused"


class Envelope(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """One message.

    `type` names what `data` holds: `<service>.<verb>` for a command, `<entity>.<event>` for an event, `reply.ok` or
    `reply.refused` for an outcome, `inbox.<kind>` for what an agent must act on. `seq` is the gap-free number that
    the writer of an event gave it; `causationid` is the id of the command that caused it.
    """

    # A factory, because a plain default would be left out when encoding, and CloudEvents demands the field.
    specversion: str = msgspec.field(default_factory=lambda: SPEC_VERSION)
    id: str
    type: str
    source: str
    subject: str | None = None
    time: datetime | None = None
    causationid: str | None = None
    correlationid: str | None = None
    traceparent: str | None = None
    seq: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal, the same over NATS and HTTP; `status` is the HTTP status."""

    error: str
    status: int = 422
    detail: dict[str, Any] = {}
