"""From a message of the command stream to a command that can be decided, or to the reason why not."""

from collections.abc import Iterator, Mapping

import msgspec

from hivewire import codec, limits
from hivewire.commands import checked, command_type
from hivewire.envelope import REPLY_OK, REPLY_REFUSED, Envelope, ErrorBody
from hivewire.ids import new_id
from hivewire.subjects import REPLY_HEADER, Subjects, is_reply_subject
from hivewire.subjects import Command as Address
from hivewire_service.core import Command, Kept, Refusal, Step
from hivewire_service.quota import Quotas, cost_of
from hivewire_service.roles import RESERVED_NAMES, Role
from hivewire_service.store import Reject
from hivewire_service.stream_reader import Received
from hivewire_service.topology import NANOSECONDS

SERVICE = RESERVED_NAMES[Role.SERVICE]
PEEKED_BYTES_MAX = 16 * 1024
"""The id is read out of a message that is refused for its sender's quota only if that is cheap."""


class Taken(msgspec.Struct, frozen=True):
    """A message of the command stream with what it says: a command, or a reject and the answer to its sender."""

    received: Received
    reply_to: str | None
    command: Command | None = None
    reject: Reject | None = None
    refusal: Refusal | None = None
    command_id: str = ""


class _Identified(msgspec.Struct):
    id: str = ""


class Intake:
    """Decodes the commands of one service. Total: whatever arrives is a command or a reject."""

    def __init__(
        self,
        subjects: Subjects,
        service: str,
        verbs: Mapping[str, type[msgspec.Struct]],
        commands_per_second: float = limits.COMMANDS_PER_SECOND,
    ) -> None:
        """`commands_per_second`: how many each sender may send for long."""
        self._subjects = subjects
        self._quotas = Quotas(commands_per_second)
        self._service = service
        self._verbs = verbs
        self._types = {command_type(service, verb): data for verb, data in verbs.items()}

    def over_quota(self, received: Received) -> Taken | None:
        """The refusal of a message whose sender sends more than it may; it is not decoded. To be asked once a message."""
        address = self._subjects.parse_command(received.subject)
        if address is None or address.sender == SERVICE:
            return None
        wait_s = self._quotas.take(address.sender, received.ns / NANOSECONDS, cost_of(len(received.body)))
        return self._refused(received, address.sender, wait_s) if wait_s else None

    def take(self, received: Received) -> Taken:
        """What a message says. The sender and the verb are those of the subject, which nats-server checked."""
        address = self._subjects.parse_command(received.subject)
        if address is None:
            return self._rejected(received, None, "", Refusal("no subject of a command", 400))
        reply_to = (received.headers or {}).get(REPLY_HEADER)
        if reply_to is not None and not is_reply_subject(reply_to, address.sender):
            reason = f"{REPLY_HEADER} {reply_to[:80]!r} is not under the sender's own reply prefix"
            return self._rejected(received, None, address.sender, Refusal(reason, 400))
        envelope = codec.decode_envelope(received.body)
        if isinstance(envelope, codec.Malformed):
            return self._rejected(received, reply_to, address.sender, Refusal(envelope.reason, 400))
        command = self._command(address, envelope)
        if isinstance(command, Refusal):
            return self._rejected(received, reply_to, address.sender, command, envelope.id)
        return Taken(received, reply_to, command=command, command_id=envelope.id)

    def _command(self, address: Address, envelope: Envelope) -> Command | Refusal:
        if address.verb not in self._verbs:
            return Refusal(f"unknown command {address.verb[:80]!r}", 404)
        if envelope.type != command_type(self._service, address.verb):
            return Refusal(f"type {envelope.type[:80]!r} does not fit the subject's verb {address.verb!r}", 400)
        data = checked(envelope, self._types)
        if isinstance(data, codec.Malformed):
            return Refusal(data.reason, 400)
        return Command(
            id=envelope.id,
            verb=address.verb,
            sender=address.sender,
            data=data,
            correlationid=envelope.correlationid,
            traceparent=envelope.traceparent,
        )

    def failed(self, taken: Taken, error: BaseException) -> Taken:
        """The same message as a reject: deciding or storing it failed with `error`."""
        sender = taken.command.sender if taken.command else taken.reject.sender if taken.reject else ""
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        refusal = Refusal(f"the command could not be carried out and was put among the rejects: {reason}", 500)
        reject = Reject(taken.received.subject, sender, reason, taken.received.body)
        return Taken(taken.received, taken.reply_to, reject=reject, refusal=refusal, command_id=taken.command_id)

    def _refused(self, received: Received, sender: str, wait_s: float) -> Taken:
        reply_to = (received.headers or {}).get(REPLY_HEADER)
        refusal = over_quota(sender, "commands", self._quotas.per_second, wait_s)
        reject = Reject(received.subject, sender, refusal.error, received.body, Kept.QUOTA)
        if reply_to is None or not is_reply_subject(reply_to, sender):
            return Taken(received, None, reject=reject, refusal=refusal)
        return Taken(received, reply_to, reject=reject, refusal=refusal, command_id=_peek_id(received.body))

    def _rejected(
        self, received: Received, reply_to: str | None, sender: str, refusal: Refusal, command_id: str = ""
    ) -> Taken:
        reject = Reject(received.subject, sender, refusal.error, received.body)
        return Taken(received, reply_to, reject=reject, refusal=refusal, command_id=command_id)


def rejects_of(taken: Taken, answer: Step | Refusal, outcome: object) -> Iterator[Reject]:
    """What is kept of a command that was decided: the whole of it, or those of its parts that were refused."""
    received = taken.received
    sender = taken.command.sender if taken.command else ""
    if isinstance(outcome, Refusal) and outcome.kept:
        yield Reject(received.subject, sender, outcome.error, received.body, outcome.kept)
    if isinstance(answer, Step):
        for refusal, body in answer.refused:
            if refusal.kept:
                yield Reject(received.subject, sender, refusal.error, body, refusal.kept)


def over_quota(sender: str, what: str, per_second: float, wait_s: float) -> Refusal:
    """The no to what is more than a sender may ask for, with when to ask again."""
    error = f"more than {per_second:g} {what} a second from {sender!r}: slow down"
    return Refusal(error, limits.TOO_MANY, {limits.RETRY_AFTER: round(wait_s, 3)})


def _peek_id(body: bytes) -> str:
    if len(body) > PEEKED_BYTES_MAX:
        return ""
    try:
        return msgspec.json.decode(body, type=_Identified).id
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        return ""


def reply_envelope(subjects: Subjects, service: str, command_id: str, answer: object) -> tuple[str, msgspec.Raw, bytes]:
    """A reply: its type, its encoded data and its whole body. A `Refusal` is a refusal, all else is fine."""
    if isinstance(answer, Refusal):
        kind, data = REPLY_REFUSED, codec.raw(ErrorBody(answer.error, answer.status, answer.detail))
    else:
        kind, data = REPLY_OK, codec.raw(answer)
    return kind, data, encode_reply(subjects, service, command_id, kind, data)


def encode_reply(subjects: Subjects, service: str, command_id: str, kind: str, data: msgspec.Raw) -> bytes:
    """The body of a reply whose data is encoded already."""
    return codec.encode(
        Envelope(
            id=new_id(),
            type=kind,
            source=f"/{subjects.hive}/{service}",
            causationid=command_id or None,
            data=data,
        )
    )
