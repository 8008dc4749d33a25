"""Issuing NATS credentials. They are secret: the answer is stored nowhere, and neither is that it was asked."""

from datetime import UTC, datetime, timedelta

import asyncpg

from hivewire.admin import IssueCredentials
from hivewire.errors import BadUsage
from hivewire.views import Credentials
from hivewire_service.answer import Query
from hivewire_service.core import Refusal
from hivewire_service.identity import Issuer


def credentials(issuer: Issuer | None) -> Query:
    """The request for new credentials, answered by a gateway that holds the signing keys."""

    async def answer(_connection: asyncpg.Connection, request: IssueCredentials, _sender: str) -> Credentials | Refusal:
        if issuer is None:
            return Refusal("this agent gateway has no signing keys: start it with HIVEWIRE_KEYS_FILE", 422)
        return issue(issuer, request, datetime.now(UTC))

    return Query(IssueCredentials, answer)


def issue(issuer: Issuer, request: IssueCredentials, now: datetime) -> Credentials | Refusal:
    """New credentials, each with a key of its own."""
    expires = None if request.expires_in_s is None else now + timedelta(seconds=request.expires_in_s)
    try:
        creds = issuer.issue(request.role, request.name, expires)
    except BadUsage as error:
        return Refusal(str(error), 422)
    return Credentials(name=request.name, role=request.role, creds=creds)
