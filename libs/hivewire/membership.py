"""Joining a hive under the right name, with credentials that are made on demand where the local operator may."""

from pathlib import Path

from hivewire import admin
from hivewire.connection import Connection
from hivewire.context import Context
from hivewire.credentials import Credentials
from hivewire.errors import BadUsage
from hivewire.subjects import AGENT_GATEWAY, OPERATOR, token
from hivewire.views import Credentials as Issued

PATIENCE_S = 5.0


async def join(
    context: Context, name: str | None = None, role: admin.Role = "publisher", patience_s: float | None = PATIENCE_S
) -> Connection:
    """Connect to the hive of `context`.

    Args:
        context: where the hive is, and the credentials at hand.
        name: who to be. None: whoever the credentials are for. Where they are the operator's, credentials of `role` are
            made for the name and kept in memory only.
        role: what the made credentials allow.
        patience_s: how long to try to reach NATS; None is for ever.

    Raises:
        BadUsage: the credentials are for somebody else.
        NotReachable: no server answered in time.
        RefusedError: the server does not take the credentials, or the operator's may not make others.
    """
    if name is not None:
        token(name, "name")
    own = Credentials.load(Path(context.nats_creds)) if context.nats_creds else None
    if own is not None and name is not None and own.name != name:
        if own.name != OPERATOR:
            raise BadUsage(f"the credentials in {own.file} are for {own.name!r}, not for {name!r}")
        own = await _issued(context, own, name, role)
    return await Connection.open(
        context.nats_url, own, hive=context.hive, name=name, patience_s=patience_s, tls=context.tls
    )


async def _issued(context: Context, operator: Credentials, name: str, role: admin.Role) -> Credentials:
    async with await Connection.open(context.nats_url, operator, hive=context.hive, tls=context.tls) as connection:
        issued = await issue(connection, name, role)
    return Credentials.parse(issued.creds)


async def issue(
    connection: Connection, name: str, role: admin.Role = "agent", expires_in_s: float | None = None
) -> Issued:
    """Have credentials made. Only an operator's connection may.

    Raises:
        BadUsage: the name cannot stand in a subject.
        RefusedError: the name or role cannot be had, or we are no operator.
        NotReachable: the agent gateway did not answer.
    """
    wanted = admin.IssueCredentials(name=token(name, "name"), role=role, expires_in_s=expires_in_s)
    return await connection.admin(AGENT_GATEWAY, "credentials", wanted, Issued)
